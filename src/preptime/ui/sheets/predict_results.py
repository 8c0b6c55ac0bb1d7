"""What became of a file: numbers, pictures, the answers row by row, and the file to take away."""

from __future__ import annotations

import polars as pl
import streamlit as st

from preptime.domain.prediction import BASES
from preptime.domain.verdict import Reason, rule
from preptime.scoring.columns import BASIS, READY_AT, REASON, SECONDS, model_column, quantile_column
from preptime.scoring.preview import Preview
from preptime.scoring.summary import MOST_MINUTES, Summary
from preptime.tables.columns import ROW
from preptime.ui import pictures, words
from preptime.ui.desk import Result
from preptime.ui.parts import figures, lead, links, notice, picture
from preptime.ui.theme import palette

MOST_SHOWN = 2_000
"""Rows of a table in the page. All are in the download."""

MOST_CHARACTERS = 80
"""Of a cell that a reason names."""

_MINUTE = 60
_CELLS = f"{ROW}_cells"
_SHOWN_FIRST = ("order_id", "restaurant_id", "order_acknowledged_at")


def draw_results(result: Result, seen: Preview) -> None:
    """Everything about a scored file."""
    document, summary = result.document, result.summary
    st.subheader("Predictions")
    _figures(result)
    links([(f"Download as {kind}", one.url) for kind, one in result.downloads.items()])
    if result.no_csv:
        notice(result.no_csv, "The parquet file holds everything.")
    lead(
        "The columns of your file, in their order, with the predictions behind them. In csv an apostrophe keeps text "
        "that a spreadsheet would run as a formula from running; parquet is exact."
    )
    if summary.predicted:
        _pictures(summary)
        _tables(result, seen)
    if document.refused:
        st.subheader("Rows without a prediction")
        _table(_refused(result, seen).collect(), sum(document.refused.values()), {})


def _figures(result: Result) -> None:
    document, summary = result.document, result.summary
    refused = document.rows - document.predicted
    first = summary.models.row(0, named=True) if summary.predicted else {"median": None, "mean": None}
    width = _middle(summary.widths)
    figures(
        [
            ("Predicted", f"{document.predicted:,}", f"of {words.counted(document.rows, 'row')}; {refused:,} without"),
            ("Half are ready within", words.minutes(_seconds(first["median"])), "median of the p50s"),
            ("Half of the intervals are under", words.minutes(_seconds(width)), "p10 to p90"),
            ("Bundle", document.bundle, "which answered"),
        ]
    )


def _pictures(summary: Summary) -> None:
    colours = palette()
    left, right = st.columns(2, gap="large")
    more = f"; the last bar holds all beyond {MOST_MINUTES - 2} minutes"
    with left:
        tail = more if summary.distribution["minutes"].to_list()[-1] == MOST_MINUTES - 2 else ""
        picture(
            "How long it takes",
            f"Orders by their answer (p50), two minutes a bar{tail}.",
            pictures.distribution(summary.distribution, "minutes to ready (p50)", colours),
        )
        picture(
            "By hour",
            "The median answer at each hour, on a bar from the median p10 to the median p90.",
            pictures.by_hour(summary.by_hour, colours),
        )
    with right:
        tail = more if summary.widths["minutes"].to_list()[-1] == MOST_MINUTES - 2 else ""
        picture(
            "How sure it is",
            f"Orders by the width of their interval, p10 to p90{tail}.",
            pictures.distribution(summary.widths, "minutes from p10 to p90", colours, color=colours.band),
        )
        basis = dict(summary.basis.iter_rows())
        stands = ", ".join(f"{name.replace('_', ' and ')} {basis[name]:,}" for name in BASES if name in basis)
        picture(
            "By restaurant",
            f"Those with most orders: the median answer on p10 to p90. Finest history behind all answers: {stands}.",
            pictures.by_restaurant(summary.by_restaurant.head(10), colours),
        )


def _tables(result: Result, seen: Preview) -> None:
    st.subheader("Order by order")
    find, basis = st.columns([2, 3])
    wanted = (find.text_input("Restaurant", key="find_restaurant", placeholder="its id; empty for all") or "").strip()
    chosen = basis.pills("History behind the answer", BASES, selection_mode="multi", key="find_basis")
    rows = _rows(result).filter(pl.col(REASON).is_null())
    if wanted:
        rows = rows.filter(pl.col("restaurant_id").cast(pl.String).str.strip_chars() == wanted)
    if chosen:
        rows = rows.filter(pl.col(BASIS).is_in(list(chosen)))
    found = int(rows.select(pl.len()).collect(engine="streaming").item())
    if not found:
        notice("No order is like that.")
        return
    names = ["default answer", *result.models]
    tabs = st.tabs(names, key="model_tab", on_change="rerun")
    for name, tab in zip(names, tabs, strict=True):
        if tab.open:
            with tab:
                if name == names[0]:
                    _default(rows, found, seen, result.summary)
                else:
                    _model(rows, found, seen, name, result.summary)


def _default(rows: pl.LazyFrame, found: int, seen: Preview, summary: Summary) -> None:
    several = summary.ready_days is not None and len(set(summary.ready_days)) > 1
    ours = {"row": pl.col(ROW), "ready at": _ready_at(several), "p50": pl.col(SECONDS) / _MINUTE}
    ours |= {f"p{level * 100:.0f}": pl.col(quantile_column(level)) / _MINUTE for level in (0.1, 0.8, 0.9)}
    shown = rows.head(MOST_SHOWN).select(_beside(ours | {"basis": pl.col(BASIS)}, seen))
    _table(_few(shown), found, dict.fromkeys(("p10", "p50", "p80", "p90"), "%.1f min"))


def _few(shown: pl.LazyFrame) -> pl.DataFrame:
    """The first rows of a large file, without reading on: otherwise than in a stream, all of it is in hand at once."""
    return shown.collect(engine="streaming")


def _model(rows: pl.LazyFrame, found: int, seen: Preview, name: str, summary: Summary) -> None:
    of = {row["model"]: row for row in summary.models.to_dicts()}
    lead(
        f"{name} alone: half within {of[name]['median']:.1f} minutes, on average {of[name]['mean']:.1f}; the default "
        f"answer {of['p50']['median']:.1f} and {of['p50']['mean']:.1f}. A point model says one number, the mean."
    )
    seconds = pl.col(model_column(name))
    ours = {
        "row": pl.col(ROW),
        name: seconds / _MINUTE,
        "default answer": pl.col(SECONDS) / _MINUTE,
        "difference": (seconds - pl.col(SECONDS)) / _MINUTE,
    }
    shown = rows.head(MOST_SHOWN).select(_beside(ours, seen))
    _table(_few(shown), found, {name: "%.1f min", "default answer": "%.1f min", "difference": "%+.1f min"})


def _refused(result: Result, seen: Preview) -> pl.LazyFrame:
    """The rows without a prediction; their reason names the cells, as far as the preview lists them."""
    meaning = {str(reason): rule(reason).meaning for reason in Reason}
    rows = _rows(result).filter(pl.col(REASON).is_not_null()).head(MOST_SHOWN)
    value = pl.format(" '{}'", pl.col("value").str.head(MOST_CHARACTERS))  # null for an empty cell
    faults = seen.faults.lazy().select(
        pl.col("row").cast(pl.UInt32).alias(ROW),
        pl.col("reason").alias(REASON),
        pl.concat_str("column", value, ignore_nulls=True).alias(_CELLS),
    )
    cells = faults.group_by(ROW, REASON).agg(pl.col(_CELLS).str.join(", "))
    named = rows.with_columns(pl.col(REASON).replace(meaning)).join(
        cells, on=[ROW, REASON], how="left", maintain_order="left"
    )
    reason = pl.concat_str(REASON, pl.format(": {}", pl.col(_CELLS)), ignore_nulls=True)
    return named.select(_beside({"row": pl.col(ROW), "reason": reason}, seen))


def _ready_at(several_days: bool) -> pl.Expr:
    """The restaurant's clock to the nearest minute, with the date where there are several; as text it sorts by time."""
    moment = pl.col(READY_AT).str.head(19).str.to_datetime("%Y-%m-%d %H:%M:%S")
    return moment.dt.offset_by("30s").dt.strftime("%Y-%m-%d %H:%M" if several_days else "%H:%M")


def _rows(result: Result) -> pl.LazyFrame:
    """Every row, numbered from 1 as in the file; no file has a column of that name."""
    return pl.scan_parquet(result.path, glob=False).with_row_index(ROW, 1)


def _beside(ours: dict[str, pl.Expr], seen: Preview) -> list[pl.Expr]:
    """Our columns among the file's: its number, what tells the order, our answers, the file's other columns.

    A column of the file that is called like one of ours says whose it is. Answers of an earlier scoring are left out.
    """
    own = {name: pl.col(name).alias(f"{name} (file)" if name in ours else name) for name in seen.columns}
    first = [own[name] for name in _SHOWN_FIRST if name in own]
    others = [own[name] for name in own if name not in _SHOWN_FIRST and not name.startswith("predict")]
    number, *answers = (expression.alias(name) for name, expression in ours.items())
    return [number, *first, *answers, *others]


def _table(rows: pl.DataFrame, found: int, formats: dict[str, str]) -> None:
    if found > len(rows):
        lead(f"The first {len(rows):,} of {found:,}; all are in the download.")
    config = {name: st.column_config.NumberColumn(format=kind) for name, kind in formats.items()}
    st.dataframe(rows, hide_index=True, column_config=config, placeholder=words.NOTHING)


def _middle(bars: pl.DataFrame) -> float | None:
    """The median of a histogram, to its bar's middle."""
    if not len(bars):
        return None
    cumulative = bars["orders"].cum_sum()
    place = int((cumulative * 2 >= cumulative[-1]).arg_max() or 0)
    return float(bars["minutes"][place]) + float(bars["width"][place]) / 2


def _seconds(minutes: float | None) -> float | None:
    return None if minutes is None else minutes * _MINUTE
