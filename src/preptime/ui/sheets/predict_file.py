"""A file of orders on the page Predict: brought, looked at, and predicted."""

from __future__ import annotations

import datetime as dt
import io

import numpy as np
import streamlit as st

from preptime.domain.verdict import rule
from preptime.errors import DataError, PreptimeError
from preptime.features.directory import Directory, Vocabularies
from preptime.scoring.download import csv_chunks
from preptime.scoring.preview import HEAD_ROWS, MOST_REFUSED, VERDICT, Preview, preview
from preptime.scoring.sample import sample_orders
from preptime.scoring.summary import summarize
from preptime.ui import words
from preptime.ui.access import Access
from preptime.ui.asking import LOCAL, Asked, explained, known_directory
from preptime.ui.desk import MOST_UPLOAD_MB, Result, Upload, desk, forget_upload
from preptime.ui.downloads import downloads
from preptime.ui.parts import good, lead, notice, problem, progress_bar
from preptime.ui.sheets.predict_results import draw_results

_FIELD = "upload_field"
_SAMPLE_DAY = dt.date(2015, 7, 1)
"""The day of a sample where no champion says which morning it knows."""


def draw_file(asked: Asked | None, mode: str, reach: Access) -> None:
    """Bring, look, predict, look."""
    directory = known_directory(reach)
    upload = _brought(directory, reach)
    if upload is None:
        return
    with upload.named():
        seen = _looked_at(upload, directory)
        _verdict(upload, seen, knows_restaurants=directory is not None)
        result = upload.results.get(mode)
        with st.container(horizontal=True):
            asks = False
            if result is None and asked is not None and seen.predictable:
                label = f"Predict {words.counted(seen.predictable, 'order')}"
                asks = st.button(label, type="primary", key="predict", icon=":material/timer:")
            st.button("Take the file away", key="take_away", on_click=desk().clear)
        if asks and asked is not None:
            upload.results[mode] = _predicted(upload, asked, mode, reach)
            st.rerun()
    if result is not None:
        draw_results(result, seen)


def _brought(directory: Directory | None, reach: Access) -> Upload | None:
    """What lies on the desk: what was just uploaded, the sample, or what lay there before."""
    own, sample = st.columns([3, 2], gap="large", vertical_alignment="top")
    with own:
        # Streamlit holds an uploaded file in memory for as long as its field is there; this one goes when the file
        # lies on the desk, and another takes its place.
        field = int(st.session_state.get(_FIELD, 0))
        key = f"orders_file_{field}"
        given = st.file_uploader(
            f"Orders as csv or parquet, up to {MOST_UPLOAD_MB} MB", type=["csv", "parquet"], key=key
        )
    if given is not None:
        desk().take(given.name, given)
        forget_upload(given)
        del st.session_state[key]  # which holds a copy of its own
        st.session_state[_FIELD] = field + 1
        st.rerun()
    with sample:
        lead("No file at hand? Fifty orders to try it with; two of them are wrong on purpose.")
        day = _SAMPLE_DAY if directory is None else reach.bundle().manifest.date
        content = sample_orders(directory, day).write_csv().encode()
        with st.container(horizontal=True):
            if st.button("Try the sample", key="try_sample"):
                desk().take("sample-orders.csv", io.BytesIO(content))
            st.download_button("Download it", content, "sample-orders.csv", "text/csv", key="sample", on_click="ignore")
    return desk().upload


def _looked_at(upload: Upload, directory: Directory | None) -> Preview:
    """The verdict on every row, reached once."""
    if upload.preview is None:
        with progress_bar() as progress:
            upload.preview = preview(str(upload.path), directory or _NOBODY, progress=progress)
    return upload.preview


def _verdict(upload: Upload, seen: Preview, *, knows_restaurants: bool) -> None:
    size = words.size(upload.size)
    refused = seen.rows - seen.predictable
    facts = f"{upload.name}: {words.counted(seen.rows, 'order')}, {size}."
    strangers = ""
    if knows_restaurants and seen.strangers:
        strangers = (
            f"{words.counted(seen.strangers, 'order')} of restaurants not known yet: answered from coarser history."
        )
    if not refused:
        good(f"{facts} All of them can be predicted.", strangers)
    else:
        because = "; ".join(f"{rule(reason).meaning.lower()}: {count:,}" for reason, count in seen.refused.items())
        say = notice if seen.predictable else problem
        say(f"{facts} {refused:,} cannot be predicted.", f"{because[:1].upper()}{because[1:]}. {strangers}")
    with st.expander(f"Preview with verdicts, the first {min(HEAD_ROWS, seen.rows):,} rows", key="preview"):
        st.dataframe(
            seen.head,
            hide_index=True,
            placeholder=words.NOTHING,
            column_config={VERDICT: st.column_config.TextColumn(pinned=True, width="medium")},
        )
    if refused:
        shown = seen.faults["row"].n_unique()
        which = "" if shown == refused else f", the first {MOST_REFUSED:,}"
        with st.expander(f"The {words.counted(refused, 'row')} without a prediction{which}", key="refused"):
            st.dataframe(seen.faults, hide_index=True, placeholder=words.NOTHING)


def _predicted(upload: Upload, asked: Asked, mode: str, reach: Access) -> Result:
    """The file, scored into a parquet file beside it."""
    out = upload.path.with_name("local.parquet" if mode == LOCAL else "api.parquet")
    try:
        with progress_bar() as progress:
            document = asked.score(upload.path, out, progress)
    except PreptimeError as error:
        raise explained(error, reach) from error
    no_csv = ""
    try:
        csv_chunks(out)
    except DataError as error:
        no_csv = error.facts
    kinds = ("parquet",) if no_csv else ("csv", "parquet")
    offered = {kind: downloads().offer(out, kind, upload.name) for kind in kinds}
    return Result(out, document, summarize(out, asked.models), asked.models, offered, no_csv)


_NOBODY = Directory(
    Vocabularies((), (), (), ("UTC",)), np.zeros(0, np.int64), *(np.zeros(0, np.int32) for _ in range(4))
)
"""Restaurants where none is known: whether a cell can be read needs no more."""
