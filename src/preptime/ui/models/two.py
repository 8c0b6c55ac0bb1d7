"""Two bundles side by side: what each says of itself, and a comparison on the same orders where the log has one."""

from __future__ import annotations

import streamlit as st

from preptime.bundle.listing import Listing
from preptime.bundle.manifest import Manifest
from preptime.evaluation.aggregates import FEW_ORDERS
from preptime.evaluation.documents import BacktestDocument, SegmentName
from preptime.evaluation.overview import Difference, overview, pair, segment_pairs
from preptime.evaluation.pictured import evaluation_of
from preptime.evaluation.verdict import NO_VALUE, in_minutes, in_percent
from preptime.training.promote import Comparison
from preptime.ui.access import Access
from preptime.ui.models import charts
from preptime.ui.models.log import comparison_of, rules
from preptime.ui.models.one import choose
from preptime.ui.parts import failures, good, lead, notice
from preptime.ui.segments import CUTS, choose_cut
from preptime.ui.show import Column, picture, table
from preptime.ui.words import said_in_minutes

_NAMES = {
    "mae": "mean error",
    "median_ae": "half within",
    "rmse": "RMSE",
    "r2": "R²",
    "bias": "bias",
    "within_5_min": "within five minutes",
    "coverage": "inside p10–p90",
}
_CUTS: tuple[SegmentName, ...] = ("city", "type_of_food", "hour")
_SHOWN = 16


def show(access: Access, found: Listing) -> None:
    """Two bundles that somebody picks."""
    left, right = st.columns(2)
    with left:
        first = choose(found, "One bundle", "first")
    with right:
        second = choose(found, "Another", "second", first=_beside(found)) if first else None
    if first is None or second is None:
        return
    if first.id == second.id:
        notice("These are the same bundle.", "Pick another one beside it, or train a second one: preptime train.")
        return
    _compared(access, found, first, second)
    documents = evaluation_of(first), evaluation_of(second)
    _facts(first, second)
    if documents[0] is None or documents[1] is None:
        notice("One of them tells no scores that this preptime can read.", "Only their facts are compared.")
        return
    _figures(documents[0], documents[1], (first.id, second.id))
    _segments(documents[0], documents[1], (first.id, second.id))


def _beside(found: Listing) -> str | None:
    """What the champion is first looked at beside: the one before it, else the newest other."""
    if found.returns_to:
        return found.returns_to.bundle
    serving = found.champion.bundle if found.champion else None
    return next((one.id for one in reversed(found.manifests) if one.id != serving), None)


def _compared(access: Access, found: Listing, first: Manifest, second: Manifest) -> None:
    """How the two did on the same orders: as the log has it, or as somebody asks for it now."""
    if (first.parent or first.id) == (second.parent or second.id):
        notice("Their models are the same: one is a refresh of the other's, with another morning's history.")
        return
    met = [(entry.number, told) for entry in found.log if (told := comparison_of(entry)) and _are(told, first, second)]
    if met:
        number, comparison = met[-1]
        tell = good if comparison.won else notice
        tell(
            f"They met on {comparison.orders:,} orders that neither had seen (no. {number} of the log). "
            f"{said_in_minutes(comparison.sentence)}"
        )
    elif access.settings.orders and access.settings.restaurants:
        _ask(access, first, second)
    else:
        notice(
            "The log holds no comparison of these two on the same orders.",
            f"preptime bundles compare {first.id} {second.id} --orders ORDERS --restaurants RESTAURANTS",
        )


def _are(comparison: Comparison, first: Manifest, second: Manifest) -> bool:
    return {comparison.challenger, comparison.champion} == {first.id, second.id}


def _ask(access: Access, first: Manifest, second: Manifest) -> None:
    """A comparison on the configured orders, made when somebody asks: it takes a moment."""
    lead("The log holds no comparison of these two on the same orders; the configured orders can tell.")
    if not st.button("Compare on orders neither has seen", key=f"compare-{first.id}-{second.id}"):
        return
    from preptime.tables.directory import read_directory
    from preptime.tables.open import open_table
    from preptime.training.compare import compare_on

    with failures(), st.spinner("Asking both bundles, day by day"):
        found = compare_on(
            open_table(access.settings.orders),
            read_directory(open_table(access.settings.restaurants).frame()),
            access.bundle(first.id),
            access.bundle(second.id),
        )
        tell = good if found.won else notice
        tell(said_in_minutes(found.sentence), "Nothing was promoted.")
        rules(found)


def _facts(first: Manifest, second: Manifest) -> None:
    one, other = overview(first), overview(second)
    named = (
        ("kind", one.kind, other.kind),
        ("models of", one.parent or one.bundle, other.parent or other.bundle),
        ("knows what happened before", str(one.date), str(other.date)),
        ("learned from", *(f"{m.window.first_day} to {m.window.last_day}" for m in (first, second))),
        ("figures are of", one.evaluated or NO_VALUE, other.evaluated or NO_VALUE),
        ("models", ", ".join(first.models), ", ".join(second.models)),
        ("features", str(len(first.features)), str(len(second.features))),
        ("data", first.data_fingerprint, second.data_fingerprint),
    )
    st.subheader("What they are")
    table(
        [{"fact": name, "first": mine, "second": theirs} for name, mine, theirs in named],
        (Column("fact", "fact"), Column("first", first.id), Column("second", second.id)),
        key="pair-facts",
    )


def _figures(first: BacktestDocument, second: BacktestDocument, names: tuple[str, str]) -> None:
    found = pair(first, second)
    st.subheader("What they say of themselves")
    if found.same_days:
        lead("Both figures are of the same days, which neither had seen.")
    else:
        lead(
            f"Mind the days: the figures of {names[0]} are of {first.first_day} to {first.last_day}, those of "
            f"{names[1]} of {second.first_day} to {second.last_day}. They met other orders, so this says which week "
            "was easier as much as which bundle is better."
        )
    table(
        [
            {
                "figure": _NAMES.get(one.metric.name, one.metric.name),
                "first": _shown(one, one.first),
                "second": _shown(one, one.second),
                "better": {"first": names[0], "second": names[1], "neither": NO_VALUE}[one.better],
                "meaning": one.metric.meaning,
            }
            for one in found.differences
        ],
        (
            Column("figure", "figure"),
            Column("first", names[0]),
            Column("second", names[1]),
            Column("better", "closer to the best"),
            Column("meaning", "meaning"),
        ),
        key="pair-figures",
    )


def _segments(first: BacktestDocument, second: BacktestDocument, names: tuple[str, str]) -> None:
    cut = choose_cut(_CUTS, key="pair-cut")
    rows = segment_pairs(first, second, cut)[:_SHOWN]
    if not rows:
        notice(f"There is no {CUTS[cut]} that both have figures of.")
        return
    picture(
        f"Mean error by {CUTS[cut]}",
        f"Two marks a row, one a bundle; the farther left, the closer its answers; under {FEW_ORDERS} orders pale. The "
        f"{len(rows)} with most orders.",
        lambda width, palette: charts.pairs(rows, names, width, palette),
    )


def _shown(one: Difference, value: float | None) -> str:
    if value is None:
        return NO_VALUE
    if one.metric.unit == "s":
        return f"{in_minutes(value, 2)} min"
    return in_percent(value) if one.metric.unit == "share" else f"{value:.3f}"
