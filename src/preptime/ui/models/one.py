"""One bundle: its backtest table with both baselines, and the pictures of its training run."""

from __future__ import annotations

import msgspec
import streamlit as st

from preptime.bundle.listing import Listing
from preptime.bundle.manifest import REPORT, Manifest
from preptime.bundle.store import Store
from preptime.evaluation import aggregates, charts
from preptime.evaluation.documents import BacktestDocument, SegmentName
from preptime.evaluation.evaluated import LABEL_SETS, LabelSet
from preptime.evaluation.overview import overview
from preptime.evaluation.pictured import Pictured, evaluation_of
from preptime.evaluation.scores import REGRESSION_MIN_ORDERS
from preptime.evaluation.sentences import (
    calibration_sentence,
    density_sentence,
    errors_sentence,
    hours_sentence,
    middle_rows,
)
from preptime.evaluation.verdict import verdict
from preptime.ui.models import charts as own
from preptime.ui.models.learned import learned
from preptime.ui.models.reading import pictured, report
from preptime.ui.models.stock import figures
from preptime.ui.parts import failures, lead, notice
from preptime.ui.segments import CUTS, choose_cut, pictures_by, table_by
from preptime.ui.show import Column, facts, picture, table
from preptime.ui.words import counted, size

_LABELS: dict[LabelSet, str] = {"up_to_3h": "labels up to 3 h", "inside_fence": "labels inside the outlier fence"}
_CUTS: tuple[SegmentName, ...] = ("city", "type_of_food", "items", "basis")
_SCORES = (
    Column("name", "answer"),
    Column("kind", "kind"),
    Column("mae", "mean error", "minutes"),
    Column("within_5_min", "within 5 min", "percent", "Answers at most five minutes off, either way"),
    Column("median_ae", "half within", "minutes", "Half of the answers are closer than this"),
    Column("bias", "bias", "minutes", "Mean of predicted minus actual: below 0 the food came later than said"),
    Column("r2", "R²", "r", "Share of the labels' variance explained"),
    Column("rmse", "RMSE", "minutes", "Root of the mean squared error: the long delays decide it"),
)


def choose(found: Listing, label: str, key: str, *, first: str | None = None) -> Manifest | None:
    """A bundle that somebody picks, `first` or the champion before all; nothing where no manifest can be read."""
    serving = found.champion.bundle if found.champion else None
    ordered = sorted(found.manifests, key=lambda one: (one.id == first, one.id == serving, one.date), reverse=True)
    if not ordered:
        notice("There is no bundle to look at yet.", "`preptime train` makes one.")
        return None
    names = [one.id for one in ordered]
    chosen = st.selectbox(
        label,
        names,
        format_func=lambda name: f"{name} (champion)" if name == serving else name,
        key=key,
    )
    return ordered[names.index(chosen)]


def show(store: Store, found: Listing) -> None:
    """Everything a bundle says of its training run."""
    manifest = choose(found, "Bundle", "bundle")
    if manifest is None:
        return
    document, kept = evaluation_of(manifest), None
    with failures():
        kept = pictured(store, manifest)
    _head(store, manifest, document)
    if document is None:
        notice("This bundle's manifest tells no scores that this preptime can read.", "Its models are not affected.")
    else:
        _scores(document)
    _answers(manifest, kept)
    if document is not None and document.segments:
        _hours_and_calibration(document)
        _segments(document)
    if kept is not None:
        learned(kept)


def _head(store: Store, manifest: Manifest, document: BacktestDocument | None) -> None:
    one = overview(manifest)
    figures(one)
    if document is not None:
        lead(" ".join(verdict(document)))
    window = manifest.window
    whole = sum(file.size_bytes for file in manifest.files.values())
    told = {
        "learned from": f"{window.first_day} to {window.last_day}",
        "evaluated on": one.evaluated or "nothing",
        "models": ", ".join(manifest.models),
        "features": str(len(manifest.features)),
        "data": manifest.data_fingerprint,
        "size": f"{size(whole)} in {counted(len(manifest.files), 'file')}",
    }
    if manifest.parent:
        told = {"kind": f"refresh: models and figures of {manifest.parent}, history of {manifest.date}"} | told
    facts(told)
    with failures():
        content = report(store, manifest)
        if content is not None:
            st.download_button(
                "Download its report",
                content,
                f"{manifest.id}-{REPORT}",
                "text/html",
                key="report",
                help="One file with these pictures, to hand on. It needs no network.",
            )


def _scores(document: BacktestDocument) -> None:
    st.subheader("Each model beside both baselines")
    labels = st.segmented_control(
        "Labels", LABEL_SETS, format_func=_LABELS.__getitem__, default=LABEL_SETS[0], required=True, key="labels"
    )
    rows = [row for row in document.scores if row.labels == labels]
    orders = rows[0].n if rows else 0
    lead(
        f"{counted(orders, 'order')} from {document.first_day} to {document.last_day}, which no model had seen. The "
        f"default answer is {document.default_model}'s p50."
    )
    left, right = st.columns([3, 2])
    with left:
        shown = [msgspec.structs.asdict(row) | {"name": row.name.replace("_", " ")} for row in rows]
        table(shown, _SCORES, key="scores")
    with right:
        picture(
            "Mean error",
            "The shorter the bar, the closer the answers; a model that does not beat both baselines is no use.",
            lambda width, palette: own.scores(rows, document.default_model, width, palette),
        )


def _answers(manifest: Manifest, kept: Pictured | None) -> None:
    if kept is None or kept.answers is None:
        more = " Its report has these pictures." if REPORT in manifest.files else ""
        notice(
            "What predicted against actual, the errors and the importance are drawn from is not in this bundle.",
            f"An earlier release made it; bundles trained from now on keep it.{more}",
        )
        return
    found = kept.answers
    left, right = st.columns(2)
    with left:
        picture(
            "Predicted against actual",
            density_sentence(found),
            lambda width, palette: charts.predicted_against_actual(
                aggregates.cell_rows(found.cells), middle_rows(found), found.limit_minutes, width, palette
            ),
        )
    with right:
        picture(
            "How far off, and to which side",
            errors_sentence(found),
            lambda width, palette: charts.error_distribution(
                aggregates.error_rows(found.errors, found.orders), next(iter(found.errors)), width, palette
            ),
        )


def _hours_and_calibration(document: BacktestDocument) -> None:
    hours = aggregates.segment_rows(document.segments, ("hour",))
    calibration = aggregates.calibration_rows(document.segments, REGRESSION_MIN_ORDERS)
    left, right = st.columns(2)
    with left:
        picture(
            "Mean error by local hour",
            hours_sentence(hours),
            lambda width, palette: charts.hours(hours, width, palette),
        )
    with right:
        picture(
            "Calibration: what a quantile claims and what it keeps",
            calibration_sentence(calibration),
            lambda width, palette: charts.calibration(calibration, width, palette),
        )


def _segments(document: BacktestDocument) -> None:
    st.subheader("By segment")
    cut = choose_cut(_CUTS, key="cut")
    pictures_by(document.segments, cut)
    with st.expander(f"Every {CUTS[cut]} as a table"):
        table_by(document.segments, cut, key="segments")
