"""What the page reads of the store, kept for a while: bundles never change, the log only grows.

The champion log: a time line of who served, by whose decision and why, and the same as a table.

Every bundle of the store in a table, the champion before all.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass
from html import escape

import msgspec
import streamlit as st

from preptime.bundle.champion_log import Action, LogEntry
from preptime.bundle.inventory import StoreListing, list_store
from preptime.bundle.manifest import REPORT_FILE, Manifest
from preptime.bundle.store import Store
from preptime.evaluation.overview import BundleSummary, summarize_bundle
from preptime.evaluation.report_data import ReportData, read_report_data
from preptime.evaluation.summary_text import NO_VALUE, format_minutes, format_percent
from preptime.training.comparison import Comparison
from preptime.ui.components import Column, caption, data_table, definition_list, show_error, show_info
from preptime.ui.components import metric_cards as numbers
from preptime.ui.formatting import format_count, seconds_to_minutes_in_text

CACHE_SECONDS = 5
"""Between two looks at the store."""


def read_listing(store: Store) -> StoreListing:
    """Every bundle and the champion log. Raises `StoreError`."""
    return _load_listing(store.url)


def clear_listing_cache() -> None:
    """Look anew at the next question: somebody has just changed the champion."""
    _load_listing.clear()


def load_report_data(store: Store, manifest: Manifest) -> ReportData | None:
    """What a bundle's pictures are drawn from, if it keeps that. Raises `StoreError`, `BundleVerificationError`."""
    return _load_report_data(store.url, _ManifestKey(manifest))


def read_report(store: Store, manifest: Manifest) -> bytes | None:
    """The report of the training run, if the bundle carries one. Raises likewise."""
    return store.read_file(manifest, REPORT_FILE) if REPORT_FILE in manifest.files else None


@st.cache_resource(ttl=CACHE_SECONDS, max_entries=4, show_spinner="Reading the store")
def _load_listing(store_url: str) -> StoreListing:
    return list_store(Store.open(store_url), read_manifest=_cached_manifest)


@st.cache_resource(max_entries=2_000, show_spinner=False)
def _load_manifest(store_url: str, bundle_id: str) -> Manifest:
    return Store.open(store_url).read_manifest(bundle_id)


def _cached_manifest(store: Store, bundle_id: str) -> Manifest:
    return _load_manifest(store.url, bundle_id)


@dataclass(frozen=True)
class _ManifestKey:
    """A manifest, which its id stands for."""

    manifest: Manifest


@st.cache_resource(max_entries=20, show_spinner=False, hash_funcs={_ManifestKey: lambda known: known.manifest.id})
def _load_report_data(store_url: str, manifest_key: _ManifestKey) -> ReportData | None:
    return read_report_data(Store.open(store_url), manifest_key.manifest)


ACTION_LABELS: dict[Action, str] = {
    "promote": "won its comparison",
    "refresh": "today's history",
    "override": "promoted by a person",
    "rollback": "rolled back to",
}
"""What each kind of promotion is called."""

TIMELINE_ENTRIES = 8
"""How many promotions the time line shows; the table has them all."""

_LOG_COLUMNS = (
    Column("number", "no.", "count"),
    Column("at", "when"),
    Column("bundle", "champion from then on"),
    Column("how", "how"),
    Column("by", "by"),
    Column("reason", "reason", "long"),
    Column("date", "logical date", "date", "The morning from which it is the champion"),
    Column("previous", "instead of"),
)


def show_log(bundles: StoreListing) -> None:
    """The log, latest first."""
    if not bundles.entries:
        show_info("Nothing has been promoted yet.", "`preptime train` promotes the first bundle that beats the lookup.")
        return
    st.subheader("Who served, and why")
    caption(
        f"The latest of {format_count(len(bundles.entries), 'promotion')}, newest first. Nothing is ever taken out of this log."
    )
    _timeline(bundles.entries[-TIMELINE_ENTRIES:][::-1])
    st.subheader("Every promotion")
    data_table([_row(entry) for entry in reversed(bundles.entries)], _LOG_COLUMNS, key="log")
    _comparison_section(bundles.entries)


def format_timestamp(timestamp: str) -> str:
    """A moment of the log as people read it; as it stands where it is none."""
    try:
        return f"{dt.datetime.fromisoformat(timestamp).astimezone(dt.UTC):%Y-%m-%d %H:%M} UTC"
    except ValueError:
        return timestamp or "at an untold time"


def _timeline(entries: tuple[LogEntry, ...]) -> None:
    items = "".join(
        f'<li class="{entry.action}"><b>{escape(entry.bundle)}</b> <i>{escape(ACTION_LABELS[entry.action])}</i>'
        f"<span>{escape(format_timestamp(entry.at))} · {escape(entry.by)} · no. {entry.number}</span>"
        f"<p>{escape(seconds_to_minutes_in_text(entry.reason))}</p></li>"
        for entry in entries
    )
    st.html(f'<ol class="timeline">{items}</ol>')


def _row(entry: LogEntry) -> dict[str, object]:
    return msgspec.structs.asdict(entry) | {
        "how": ACTION_LABELS[entry.action],
        "at": format_timestamp(entry.at),
        "reason": seconds_to_minutes_in_text(entry.reason),
    }


def _comparison_section(log: tuple[LogEntry, ...]) -> None:
    """The comparison behind a promotion, rule by rule."""
    comparisons_by_number = {
        entry.number: comparison for entry in reversed(log) if (comparison := read_comparison(entry)) is not None
    }
    if not comparisons_by_number:
        return
    st.subheader("The comparison behind a promotion")
    selected_number = st.selectbox(
        "Promotion",
        list(comparisons_by_number),
        format_func=lambda entry_number: f"no. {entry_number}: {comparisons_by_number[entry_number].challenger}",
        key="comparison-entry",
    )
    show_comparison(comparisons_by_number[selected_number])


def show_comparison(comparison: Comparison) -> None:
    """What a comparison was about, and each of its rules."""
    baseline_text = (
        f"the champion {comparison.champion}" if comparison.champion else "the lookup alone: there was no champion"
    )
    days_text = f" from {comparison.first_day} to {comparison.last_day}" if comparison.first_day else ""
    caption(
        f"{comparison.challenger} against {baseline_text}, on {format_count(comparison.orders, 'order')}{days_text} that neither had seen."
    )
    data_table(
        [
            {
                "rule": check.rule,
                "found": seconds_to_minutes_in_text(check.result),
                "held": "✓ held" if check.passed else "✗ not held",
            }
            for check in comparison.checks
        ],
        (Column("rule", "rule"), Column("found", "found", "long"), Column("held", "")),
        key="checks",
    )


def read_comparison(entry: LogEntry) -> Comparison | None:
    """The comparison that led to a promotion, where there was one that this code can read."""
    if entry.comparison is None:
        return None
    try:
        return msgspec.convert(entry.comparison, Comparison, strict=False)
    except msgspec.ValidationError:
        return None


_COLUMNS = (
    Column("bundle", "bundle"),
    Column("role", "role"),
    Column("kind", "kind"),
    Column("mae", "mean error", "minutes", "Of the default answer (p50), on the days its models had not seen"),
    Column("lookup_mae", "lookup's", "minutes", "Of the restaurant lookup on the same orders: what a model must beat"),
    Column("within_5_min", "within 5 min", "percent"),
    Column("coverage", "inside p10–p90", "percent", "80 % are promised"),
    Column("fitted_through", "fitted to", "date", "Only later days can compare it with another"),
    Column("evaluated_days", "figures are of"),
    Column("parent", "models of"),
)


def show_list(bundles: StoreListing) -> None:
    """The champion, then all bundles, newest first."""
    manifests_by_id = {manifest.id: manifest for manifest in bundles.manifests}
    champion = bundles.champion
    if champion is None:
        show_info(
            "There is no champion yet: nothing serves.",
            "Train one: preptime train --store STORE --orders ORDERS --restaurants RESTAURANTS --date TODAY",
        )
    elif champion.bundle in manifests_by_id:
        _champion_section(champion, summarize_bundle(manifests_by_id[champion.bundle]))
    else:
        show_error(
            f"The champion {champion.bundle} cannot be read. {bundles.unreadable.get(champion.bundle, '')}".strip(),
            "Roll back, or promote another one, under “Change the champion”.",
        )
    rows = [_table_row(summarize_bundle(manifest), bundles) for manifest in reversed(bundles.manifests)]
    if rows:
        st.subheader("All bundles")
        caption(
            f"{format_count(len(rows), 'bundle')}, newest first. Each bundle's figures are of its own last days, which its "
            "models had not seen; bundles of other days met other orders."
        )
        data_table(rows, _COLUMNS, key="bundles")
    for bundle_id, reason in bundles.unreadable.items():
        show_error(f"{bundle_id} cannot be read.", reason)


def bundle_metrics(bundle_overview: BundleSummary) -> None:
    """The figures that people ask for first."""
    numbers(
        [
            ("mean error", f"{format_minutes(bundle_overview.mae)} min", "of the default answer (p50)"),
            (
                "the lookup's",
                f"{format_minutes(bundle_overview.lookup_mae)} min",
                "mean error of the restaurant lookup",
            ),
            ("within five minutes", format_percent(bundle_overview.within_5_min), "of the answers"),
            ("inside p10–p90", format_percent(bundle_overview.coverage), "of the orders; 80 % are promised"),
        ]
    )


def _champion_section(entry: LogEntry, bundle_overview: BundleSummary) -> None:
    st.subheader(f"The champion: {bundle_overview.bundle}")
    caption(
        f"It answers since {format_timestamp(entry.at)}: {ACTION_LABELS[entry.action]}. {seconds_to_minutes_in_text(entry.reason)}"
    )
    bundle_metrics(bundle_overview)
    details = {
        "knows what happened before": str(bundle_overview.date),
        "fitted to": str(bundle_overview.fitted_through),
        "figures are of": bundle_overview.evaluated_days or NO_VALUE,
        "orders": NO_VALUE if bundle_overview.orders is None else f"{bundle_overview.orders:,}",
        "by": entry.by,
    }
    definition_list(details | ({"models of": bundle_overview.parent} if bundle_overview.parent else {}))


def _table_row(bundle_overview: BundleSummary, bundles: StoreListing) -> dict[str, object]:
    role = ""
    if bundles.champion and bundle_overview.bundle == bundles.champion.bundle:
        role = "champion"
    elif bundles.rollback_target and bundle_overview.bundle == bundles.rollback_target.bundle:
        role = "before it"
    return asdict(bundle_overview) | {"role": role}
