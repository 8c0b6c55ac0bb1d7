"""Every bundle of the store in a table, the champion before all."""

from __future__ import annotations

from dataclasses import asdict

import streamlit as st

from preptime.bundle.champions import Entry
from preptime.bundle.listing import Listing
from preptime.evaluation.overview import Overview, overview
from preptime.evaluation.verdict import NO_VALUE, in_minutes, in_percent
from preptime.ui.models.log import ACTIONS, moment
from preptime.ui.parts import figures as numbers
from preptime.ui.parts import lead, notice, problem
from preptime.ui.show import Column, facts, table
from preptime.ui.words import counted, said_in_minutes

_COLUMNS = (
    Column("bundle", "bundle"),
    Column("role", "role"),
    Column("kind", "kind"),
    Column("mae", "mean error", "minutes", "Of the default answer (p50), on the days its models had not seen"),
    Column("lookup_mae", "lookup's", "minutes", "Of the restaurant lookup on the same orders: what a model must beat"),
    Column("within_5_min", "within 5 min", "percent"),
    Column("coverage", "inside p10–p90", "percent", "80 % are promised"),
    Column("fitted_through", "fitted to", "date", "Only later days can compare it with another"),
    Column("evaluated", "figures are of"),
    Column("parent", "models of"),
)


def show(found: Listing) -> None:
    """The champion, then all bundles, newest first."""
    manifests = {one.id: one for one in found.manifests}
    champion = found.champion
    if champion is None:
        notice(
            "There is no champion yet: nothing serves.",
            "Train one: preptime train --store STORE --orders ORDERS --restaurants RESTAURANTS --date TODAY",
        )
    elif champion.bundle in manifests:
        _champion(champion, overview(manifests[champion.bundle]))
    else:
        problem(
            f"The champion {champion.bundle} cannot be read. {found.unreadable.get(champion.bundle, '')}".strip(),
            "Roll back, or promote another one, under “Change the champion”.",
        )
    rows = [_row(overview(one), found) for one in reversed(found.manifests)]
    if rows:
        st.subheader("All bundles")
        lead(
            f"{counted(len(rows), 'bundle')}, newest first. Each bundle's figures are of its own last days, which its "
            "models had not seen; bundles of other days met other orders."
        )
        table(rows, _COLUMNS, key="bundles")
    for bundle_id, why in found.unreadable.items():
        problem(f"{bundle_id} cannot be read.", why)


def figures(one: Overview) -> None:
    """The figures that people ask for first."""
    numbers(
        [
            ("mean error", f"{in_minutes(one.mae)} min", "of the default answer (p50)"),
            ("the lookup's", f"{in_minutes(one.lookup_mae)} min", "mean error of the restaurant lookup"),
            ("within five minutes", in_percent(one.within_5_min), "of the answers"),
            ("inside p10–p90", in_percent(one.coverage), "of the orders; 80 % are promised"),
        ]
    )


def _champion(entry: Entry, one: Overview) -> None:
    st.subheader(f"The champion: {one.bundle}")
    lead(f"It answers since {moment(entry.at)}: {ACTIONS[entry.action]}. {said_in_minutes(entry.reason)}")
    figures(one)
    told = {
        "knows what happened before": str(one.date),
        "fitted to": str(one.fitted_through),
        "figures are of": one.evaluated or NO_VALUE,
        "orders": NO_VALUE if one.orders is None else f"{one.orders:,}",
        "by": entry.by,
    }
    facts(told | ({"models of": one.parent} if one.parent else {}))


def _row(one: Overview, found: Listing) -> dict[str, object]:
    role = ""
    if found.champion and one.bundle == found.champion.bundle:
        role = "champion"
    elif found.returns_to and one.bundle == found.returns_to.bundle:
        role = "before it"
    return asdict(one) | {"role": role}
