"""Every bundle of the store in a table, the champion before all."""

from __future__ import annotations

from dataclasses import asdict

import streamlit as st

from preptime.bundle.champions import LogEntry
from preptime.bundle.listing import StoreListing
from preptime.evaluation.overview import BundleSummary, summarize_bundle
from preptime.evaluation.verdict import NO_VALUE, format_minutes, format_percent
from preptime.ui.models.log import ACTION_LABELS, format_timestamp
from preptime.ui.parts import caption, show_error, show_info
from preptime.ui.parts import metric_cards as numbers
from preptime.ui.show import Column, data_table, definition_list
from preptime.ui.words import format_count, seconds_to_minutes_in_text

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


def show(bundles: StoreListing) -> None:
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
