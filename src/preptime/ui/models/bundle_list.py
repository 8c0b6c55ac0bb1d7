"""The views "Bundles" and "Champion log" of the page Models, and cached access to the store."""

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
from preptime.domain.time_units import TimeUnit
from preptime.evaluation.overview import BundleSummary, summarize_bundle
from preptime.evaluation.report_data import ReportData, read_report_data
from preptime.evaluation.summary_text import NO_VALUE, format_percent, format_time, waiting_cost_text
from preptime.formatting import format_count, with_minus_signs
from preptime.training.comparison import REFERENCE_TITLES, Comparison, read_comparison
from preptime.ui.components import (
    Column,
    caption,
    data_table,
    definition_list,
    metric_cards,
    show_error,
    show_info,
    within_column,
)
from preptime.ui.formatting import document_text

CACHE_SECONDS = 5
"""Interval between two listings of the store."""


def read_listing(store: Store) -> StoreListing:
    """Return all bundles and the champion log. Raises `StoreError`."""
    return _load_listing(store.url)


def clear_listing_cache() -> None:
    """Make the next `read_listing` read the store again, after a change of the champion."""
    _load_listing.clear()


def load_report_data(store: Store, manifest: Manifest) -> ReportData | None:
    """Return the data of a bundle's charts, or None without it. Raises `StoreError`, `BundleVerificationError`."""
    return _load_report_data(store.url, _ManifestKey(manifest))


def read_report(store: Store, manifest: Manifest) -> bytes | None:
    """Return the training report, or None without one. Raises `StoreError`, `BundleVerificationError`."""
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
    """A manifest that the cache identifies by its bundle ID."""

    manifest: Manifest


@st.cache_resource(max_entries=20, show_spinner=False, hash_funcs={_ManifestKey: lambda key: key.manifest.id})
def _load_report_data(store_url: str, manifest_key: _ManifestKey) -> ReportData | None:
    return read_report_data(Store.open(store_url), manifest_key.manifest)


ACTION_LABELS: dict[Action, str] = {
    "promote": "promoted after its comparison",
    "refresh": "refreshed with newer history",
    "override": "promoted manually",
    "rollback": "rolled back to",
}
"""The text for each kind of log entry."""

TIMELINE_ENTRIES = 8
"""Maximum entries of the timeline. The table shows all entries."""

_LOG_COLUMNS = (
    Column("number", "no.", "count"),
    Column("at", "when", "code"),
    Column("bundle", "new champion", "code"),
    Column("action", "action"),
    Column("by", "by"),
    Column("reason", "reason", "long"),
    Column("date", "as-of date", "date", "The date for which the bundle became the champion"),
    Column("previous", "previous champion", "code"),
)


def show_log(bundles: StoreListing, unit: TimeUnit) -> None:
    """Draw the champion log, newest first."""
    if not bundles.entries:
        show_info(
            "No bundle has been promoted yet.", "`preptime train` promotes the first bundle that beats the lookup."
        )
        return
    st.subheader("Latest promotions")
    caption(
        f"Promotions: {len(bundles.entries):,}. The timeline shows the latest {TIMELINE_ENTRIES}, newest first. "
        "Entries are never deleted."
    )
    _timeline(bundles.entries[-TIMELINE_ENTRIES:][::-1], unit)
    st.subheader("All promotions")
    data_table([_row(entry, unit) for entry in reversed(bundles.entries)], _LOG_COLUMNS, key="log")
    _comparison_section(bundles.entries, unit)


def format_timestamp(timestamp: str) -> str:
    """Return a timestamp of the log in UTC, or the original text if it isn't an ISO 8601 timestamp."""
    try:
        return f"{dt.datetime.fromisoformat(timestamp).astimezone(dt.UTC):%Y-%m-%d %H:%M} UTC"
    except ValueError:
        return timestamp or "unknown time"


def _timeline(entries: tuple[LogEntry, ...], unit: TimeUnit) -> None:
    items = "".join(
        f'<li class="{entry.action}"><b>{escape(entry.bundle)}</b> <i>{escape(ACTION_LABELS[entry.action])}</i>'
        f"<span>{escape(format_timestamp(entry.at))} · {escape(entry.by)} · no. {entry.number}</span>"
        f"<p>{escape(_reason_text(entry, unit))}</p></li>"
        for entry in entries
    )
    st.html(f'<ol class="timeline">{items}</ol>')


def _row(entry: LogEntry, unit: TimeUnit) -> dict[str, object]:
    return msgspec.structs.asdict(entry) | {
        "action": ACTION_LABELS[entry.action],
        "at": format_timestamp(entry.at),
        "reason": _reason_text(entry, unit),
    }


def _reason_text(entry: LogEntry, unit: TimeUnit) -> str:
    """Return the reason of an entry. The text of an operator is unchanged. Only preptime's own entries are compared."""
    is_own = entry.action in {"promote", "refresh"} or entry.comparison is not None
    return document_text(entry.reason, unit) if is_own else entry.reason


def _comparison_section(log: tuple[LogEntry, ...], unit: TimeUnit) -> None:
    """Draw the comparison that led to the selected promotion."""
    comparisons_by_number = {
        entry.number: comparison for entry in reversed(log) if (comparison := read_comparison(entry)) is not None
    }
    if not comparisons_by_number:
        return
    st.subheader("Comparison of a promotion")
    selected_number = st.selectbox(
        "Promotion",
        list(comparisons_by_number),
        format_func=lambda entry_number: f"no. {entry_number}: {comparisons_by_number[entry_number].challenger}",
        key="comparison-entry",
    )
    show_comparison(comparisons_by_number[selected_number], unit)


def show_comparison(comparison: Comparison, unit: TimeUnit, *, key: str = "logged") -> None:
    """Draw what a comparison compared, and the result of each of its rules. `key` must be unique on the page."""
    baseline_text = (
        f"the champion {comparison.champion}" if comparison.champion else "the lookup (there was no champion)"
    )
    days_text = f" from {comparison.first_day} to {comparison.last_day}" if comparison.first_day else ""
    reduced_text = ", a reduced set of models," if comparison.reduced else ""
    caption(
        f"{comparison.challenger}{reduced_text} compared with {baseline_text}: "
        f"{format_count(comparison.orders, 'order')}{days_text}. They weren't used for fitting."
    )
    if comparison.differences:
        _difference_table(comparison, unit, key)
    data_table(
        [
            {
                "rule": document_text(check.rule, unit),
                "result": document_text(check.result, unit),
                "status": "✓ passed" if check.passed else "✗ failed",
            }
            for check in comparison.checks
        ],
        (Column("rule", "rule"), Column("result", "result", "long"), Column("status", "status")),
        key=f"checks-{key}",
    )
    if comparison.waiting_costs:
        waiting = document_text(waiting_cost_text(comparison.waiting_costs), unit)
        caption(f"Waiting cost per 1,000 orders by courier:food cost, which isn't a rule: {waiting}")


_DIFFERENCE_DIGITS = 3
_DIFFERENCE_COLUMNS = (
    Column("reference", "compared with"),
    Column("orders", "orders", "count"),
    Column("days", "days", "count"),
    Column("mae", "mean error"),
    Column("reference_mae", "its mean error"),
    Column("difference", "difference", help="Below 0, the challenger is better"),
    Column("standard_error", "standard error", help="Of the difference, paired by day. It needs two days"),
)


def _difference_table(comparison: Comparison, unit: TimeUnit, key: str) -> None:
    """Draw the difference between the mean errors, and its standard error, with more decimals than other times."""
    data_table(
        [
            {
                "reference": REFERENCE_TITLES[difference.reference],
                "orders": difference.orders,
                "days": difference.days,
                **{
                    name: NO_VALUE if seconds is None else with_minus_signs(unit.text(seconds, _DIFFERENCE_DIGITS))
                    for name, seconds in (
                        ("mae", difference.mae),
                        ("reference_mae", difference.reference_mae),
                        ("difference", difference.difference),
                        ("standard_error", difference.standard_error),
                    )
                },
            }
            for difference in comparison.differences
        ],
        _DIFFERENCE_COLUMNS,
        key=f"differences-{key}",
    )


_BUNDLE_COLUMNS = (
    Column("bundle", "bundle", "code"),
    Column("role", "role"),
    Column("kind", "kind"),
    Column("mae", "mean error", "duration", "Of the default prediction (p50), on days not used for training"),
    Column(
        "lookup_mae", "lookup's mean error", "duration", "Of the restaurant lookup on the same orders, the baseline"
    ),
)
_OTHER_COLUMNS = (
    Column("coverage", "inside p10–p90", "percent", "Expected: 80%"),
    Column("fitted_through", "fitted through", "date", "Only later days can compare it with another bundle"),
    Column("evaluated_days", "evaluated on"),
    Column("parent", "models from", "code"),
)


def show_list(bundles: StoreListing, unit: TimeUnit) -> None:
    """Draw the champion, then all bundles, newest first."""
    manifests_by_id = {manifest.id: manifest for manifest in bundles.manifests}
    champion = bundles.champion
    if champion is None:
        show_info(
            "The store has no champion yet, so nothing is served.",
            "Train one: preptime train --store STORE --orders ORDERS --restaurants RESTAURANTS --date TODAY",
        )
    elif champion.bundle in manifests_by_id:
        _champion_section(champion, summarize_bundle(manifests_by_id[champion.bundle]), unit)
    else:
        show_error(
            f"The champion {champion.bundle} can't be read. {bundles.unreadable.get(champion.bundle, '')}".strip(),
            "In the view Change the champion, roll back or promote another bundle.",
        )
    rows = [_table_row(summarize_bundle(manifest), bundles) for manifest in reversed(bundles.manifests)]
    if rows:
        st.subheader("All bundles")
        are_all_evaluated = all(manifest.metrics for manifest in bundles.manifests)
        evaluated = "Each bundle" if are_all_evaluated else "Each bundle that wasn't trained with --quick"
        caption(
            f"{format_count(len(rows), 'bundle')}, newest first. {evaluated} is evaluated on its own last days, which "
            "weren't used for training. Metrics of different days are from different orders."
        )
        columns = (*_BUNDLE_COLUMNS, within_column(unit), *_OTHER_COLUMNS)
        data_table(rows, columns, key="bundles", unit=unit)
    for bundle_id, reason in bundles.unreadable.items():
        show_error(f"The bundle {bundle_id} can't be read.", reason)


def bundle_metrics(bundle_overview: BundleSummary, unit: TimeUnit) -> None:
    """Draw the metric cards of a bundle."""
    metric_cards(
        [
            ("mean error", f"{format_time(bundle_overview.mae, unit)} {unit.short}", "of the default prediction (p50)"),
            (
                "lookup's mean error",
                f"{format_time(bundle_overview.lookup_mae, unit)} {unit.short}",
                "of the restaurant lookup",
            ),
            (f"within {unit.five_minutes}", format_percent(bundle_overview.within_5_min), "of the predictions"),
            ("inside p10–p90", format_percent(bundle_overview.coverage), "of the orders (expected: 80%)"),
        ]
    )


def _champion_section(entry: LogEntry, bundle_overview: BundleSummary, unit: TimeUnit) -> None:
    st.subheader(f"The champion: {bundle_overview.bundle}")
    caption(f"Champion since {format_timestamp(entry.at)} ({ACTION_LABELS[entry.action]}). {_reason_text(entry, unit)}")
    bundle_metrics(bundle_overview, unit)
    details = {
        "as of": str(bundle_overview.date),
        "fitted through": str(bundle_overview.fitted_through),
        "evaluated on": bundle_overview.evaluated_days or NO_VALUE,
        "orders": NO_VALUE if bundle_overview.orders is None else f"{bundle_overview.orders:,}",
        "by": entry.by,
    }
    definition_list(details | ({"models from": bundle_overview.parent} if bundle_overview.parent else {}))


def _table_row(bundle_overview: BundleSummary, bundles: StoreListing) -> dict[str, object]:
    return asdict(bundle_overview) | {"role": _role(bundle_overview.bundle, bundles)}


def _role(bundle_id: str, bundles: StoreListing) -> str:
    if bundles.champion and bundle_id == bundles.champion.bundle:
        return "champion"
    is_previous = bundles.rollback_target and bundle_id == bundles.rollback_target.bundle
    return "previous champion" if is_previous else ""
