"""Promote and roll back: with an operator's key, a reason and a second look, as the command line does it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Literal

import streamlit as st

from preptime.bundle.champions import ChampionLog, Entry
from preptime.bundle.listing import Listing
from preptime.errors import PreptimeError
from preptime.evaluation.overview import overview
from preptime.evaluation.verdict import in_minutes
from preptime.ui.access import Access, forget_champion
from preptime.ui.door import key_shown
from preptime.ui.models.reading import forget_stock
from preptime.ui.parts import good, lead, notice, problem
from preptime.ui.words import failure

_ASKED = "change-asked"
_DONE = "change-done"
_KEY = "key_of_the_operator"

Kind = Literal["promote", "rollback"]
_KINDS: dict[Kind, str] = {"promote": "Promote a bundle", "rollback": "Roll back"}


@dataclass(frozen=True, slots=True)
class Change:
    """What somebody wants, until they say so a second time."""

    kind: Kind
    bundle: str
    """The champion afterwards."""
    reason: str
    seen: int
    """Number of the champion they looked at; 0 for none."""


def show(access: Access, found: Listing) -> None:
    """The forms, for an operator; what is missing, for everybody else."""
    told = st.session_state.pop(_DONE, None)
    if told is not None:
        good(*told)
    operator = _operator(access)
    if operator is None:
        return
    asked = st.session_state.get(_ASKED)
    if isinstance(asked, Change):
        _confirm(access, found, asked, operator)
    else:
        _ask(found)


def _operator(access: Access) -> str | None:
    """The operator's name, by the key at the door or the one given here."""
    if not access.settings.operator_keys:
        notice(
            "No operator's key is configured, so nobody can change the champion from this page.",
            "`preptime keys new NAME` makes one; its line goes into PREPTIME_OPERATOR_KEYS. "
            "Or use the command line: preptime bundles promote, preptime bundles rollback.",
        )
        return None
    name = access.operator(key_shown()) or access.operator(str(st.session_state.get(_KEY, "")))
    if name is not None:
        with st.container(horizontal=True, vertical_alignment="center"):
            lead(f"You act as {name}: the log will say so.")
            if _KEY in st.session_state and st.button("Put the key away", key="operator-away"):
                del st.session_state[_KEY]
                st.rerun()
        return name
    shown = st.text_input(
        "Operator's key",
        type="password",
        key="operator-key",
        autocomplete="off",
        width=420,
        help="It stays in this session's memory and is neither shown, logged nor put into the address.",
    )
    if not shown:
        notice("Who may change the champion has an operator's key.", "Give it above; the log will hold its name.")
    elif access.operator(shown) is None:
        problem("That is no operator's key.", "A key that asks for predictions does not change what is served.")
    else:
        st.session_state[_KEY] = shown
        st.rerun()
    return None


def _ask(found: Listing) -> None:
    champion = found.champion
    kind = st.segmented_control(
        "What to do", list(_KINDS), format_func=_KINDS.__getitem__, default="promote", required=True, key="change-kind"
    )
    if kind == "rollback":
        _ask_rollback(champion, found.returns_to)
    else:
        _ask_promotion(champion, found)


def _ask_promotion(champion: Entry | None, found: Listing) -> None:
    serving = champion.bundle if champion else None
    others = [overview(one) for one in reversed(found.manifests) if one.id != serving]
    if not others:
        notice("There is no other bundle to promote.", "`preptime train` makes one.")
        return
    st.subheader("Promote a bundle past the comparison")
    lead(
        "A person may know more than the comparison. Verification is never passed over: hashes and golden orders are "
        "checked first, and a damaged bundle is refused whatever the reason."
    )
    errors = {one.bundle: one.mae for one in others}
    with st.form("promotion", border=False):
        bundle = st.selectbox(
            "Bundle",
            list(errors),
            format_func=lambda name: f"{name} · mean error {in_minutes(errors[name])} min",
            key="promoted",
        )
        reason = st.text_area("Reason", key="promotion-reason", max_chars=500, help="It stays in the champion log.")
        if st.form_submit_button("Promote…", type="primary"):
            _remember(Change("promote", bundle, reason.strip(), champion.number if champion else 0))


def _ask_rollback(champion: Entry | None, target: Entry | None) -> None:
    if champion is None or target is None:
        notice("There is no earlier champion to go back to.", "Promote a bundle instead.")
        return
    st.subheader("Undo the latest promotion")
    lead(f"{champion.bundle} serves now; {target.bundle}, the champion before it, would serve again.")
    with st.form("rollback", border=False):
        reason = st.text_area("Reason", key="rollback-reason", max_chars=500, help="It stays in the champion log.")
        if st.form_submit_button("Roll back…", type="primary"):
            _remember(Change("rollback", target.bundle, reason.strip(), champion.number))


def _remember(change: Change) -> None:
    if not change.reason:
        problem("No reason is given.", "Say why: it stays in the log of champions.")
        return
    st.session_state[_ASKED] = change
    st.rerun()


def _confirm(access: Access, found: Listing, change: Change, operator: str) -> None:
    serving = found.champion.bundle if found.champion else "nothing"
    verb = "Promote" if change.kind == "promote" else "Go back to"
    with st.container(border=True):
        st.subheader(f"{verb} {change.bundle}?")
        lead(
            f"It will serve instead of {serving}, everywhere, within seconds and without a restart. The log will say: "
            f"{operator}, “{change.reason}”."
        )
        yes, no = st.columns(2)
        if yes.button(f"Yes, {verb.lower()} it", type="primary", key="change-yes", width="stretch"):
            _change(access, change, operator)
        if no.button("No, leave it as it is", key="change-no", width="stretch"):
            del st.session_state[_ASKED]
            st.rerun()


def _change(access: Access, change: Change, operator: str) -> None:
    log = ChampionLog(access.store)
    at = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    del st.session_state[_ASKED]
    try:
        with st.spinner("Verifying the bundle"):
            if change.kind == "promote":
                entry = log.override(change.bundle, reason=change.reason, by=operator, at=at, seen=change.seen)
            else:
                entry = log.rollback(reason=change.reason, by=operator, at=at, seen=change.seen)
    except PreptimeError as error:
        problem(*failure(error))
        return
    finally:
        forget_champion()
        forget_stock()
    st.session_state[_DONE] = (
        f"{entry.bundle} is the champion now: no. {entry.number} of the log.",
        "Servers pick it up by themselves within seconds.",
    )
    st.rerun()
