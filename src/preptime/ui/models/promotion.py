"""The view "Change the champion": promotion and rollback with an operator key, a reason, and a confirmation."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Literal

import streamlit as st

from preptime.bundle.champion_log import ChampionLog, LogEntry
from preptime.bundle.inventory import StoreListing
from preptime.domain.time_units import TimeUnit
from preptime.errors import PreptimeError
from preptime.evaluation.overview import summarize_bundle
from preptime.evaluation.summary_text import format_time
from preptime.tracking.runs import TrackingSettings, follow_champion
from preptime.ui.components import caption, show_error, show_info, show_success
from preptime.ui.connections import DashboardContext, clear_champion_cache
from preptime.ui.formatting import error_message
from preptime.ui.login import session_key
from preptime.ui.models.bundle_list import clear_listing_cache

_PENDING_CHANGE = "pending-change"
_CHANGE_RESULT = "change-result"
_OPERATOR_KEY = "operator_key"

ChangeKind = Literal["promote", "rollback"]
_CHANGE_TITLES: dict[ChangeKind, str] = {"promote": "Promote a bundle", "rollback": "Roll back"}


@dataclass(frozen=True, slots=True)
class ChampionChange:
    """A requested change that isn't confirmed yet."""

    kind: ChangeKind
    bundle: str
    """The champion afterwards."""
    reason: str
    seen_entry: int
    """Number of the last log entry when the change was requested, 0 for an empty log."""


def show(context: DashboardContext, bundles: StoreListing) -> None:
    """Draw the forms for an operator, and the key field for other users."""
    result_message = st.session_state.pop(_CHANGE_RESULT, None)
    if result_message is not None:
        show_success(*result_message)
    operator_name = _require_operator(context)
    if operator_name is None:
        return
    pending_change = st.session_state.get(_PENDING_CHANGE)
    if isinstance(pending_change, ChampionChange):
        _confirmation_form(context, bundles, pending_change, operator_name)
    else:
        _choose_change(bundles)


def _require_operator(context: DashboardContext) -> str | None:
    """Return the operator's name from the sign-in key or the key entered here; else show a field for the key."""
    if not context.settings.operator_keys:
        show_info(
            "No operator key is configured, so you can't change the champion here.",
            "Create one with `preptime keys new NAME` and add its entry to PREPTIME_OPERATOR_KEYS. "
            "Or use the command line: preptime bundles promote, preptime bundles rollback.",
        )
        return None
    operator_name = context.operator_name(session_key()) or context.operator_name(
        str(st.session_state.get(_OPERATOR_KEY, ""))
    )
    if operator_name is not None:
        with st.container(horizontal=True, vertical_alignment="center"):
            caption(f"Signed in as {operator_name}. The champion log records this name.")
            if _OPERATOR_KEY in st.session_state and st.button("Sign out", key="operator-sign-out"):
                del st.session_state[_OPERATOR_KEY]
                st.rerun()
        return operator_name
    entered_key = st.text_input(
        "Operator key",
        type="password",
        key="operator-key",
        autocomplete="off",
        width=420,
        help="The key stays in this session's memory. It isn't shown, logged, or added to the URL.",
    )
    if not entered_key:
        show_info("Changing the champion requires an operator key.", "Enter it above. The log records its name.")
    elif context.operator_name(entered_key) is None:
        show_error("This key isn't an operator key.", "An API key for predictions can't change the champion.")
    else:
        st.session_state[_OPERATOR_KEY] = entered_key
        st.rerun()
    return None


def _choose_change(bundles: StoreListing) -> None:
    champion = bundles.champion
    kind = st.segmented_control(
        "Action",
        list(_CHANGE_TITLES),
        format_func=_CHANGE_TITLES.__getitem__,
        default="promote",
        required=True,
        key="change-kind",
    )
    if kind == "rollback":
        _rollback_form(champion, bundles.rollback_target)
    else:
        _promotion_form(champion, bundles)


def _promotion_form(champion: LogEntry | None, bundles: StoreListing) -> None:
    champion_id = champion.bundle if champion else None
    candidates = [summarize_bundle(item) for item in reversed(bundles.manifests) if item.id != champion_id]
    if not candidates:
        show_info("There is no other bundle to promote.", "Train one with `preptime train`.")
        return
    st.subheader("Promote a bundle manually")
    caption(
        "A manual promotion ignores the result of the comparison, but not verification. Hashes and golden orders are "
        "checked first, and a damaged bundle is rejected."
    )
    errors_by_bundle = {item.bundle: item.mae for item in candidates}
    units = {item.id: item.schema.target.time_unit for item in bundles.manifests}
    with st.form("promotion", border=False):
        bundle = st.selectbox(
            "Bundle",
            list(errors_by_bundle),
            format_func=lambda bundle_id: _bundle_option(bundle_id, errors_by_bundle[bundle_id], units[bundle_id]),
            key="promotion-bundle",
        )
        reason = st.text_area("Reason", key="promotion-reason", max_chars=500, help="The champion log records it.")
        if st.form_submit_button("Promote…", type="primary"):
            _store_pending_change(ChampionChange("promote", bundle, reason.strip(), champion.number if champion else 0))


def _bundle_option(bundle_id: str, mae: float | None, unit: TimeUnit) -> str:
    return f"{bundle_id} · mean error {format_time(mae, unit)} {unit.short}"


def _rollback_form(champion: LogEntry | None, target: LogEntry | None) -> None:
    if champion is None or target is None:
        show_info("There is no previous champion to roll back to.", "Promote a bundle instead.")
        return
    st.subheader("Undo the latest promotion")
    caption(f"The champion is {champion.bundle}. After a rollback, it's {target.bundle}, its predecessor.")
    with st.form("rollback", border=False):
        reason = st.text_area("Reason", key="rollback-reason", max_chars=500, help="The champion log records it.")
        if st.form_submit_button("Roll back…", type="primary"):
            _store_pending_change(ChampionChange("rollback", target.bundle, reason.strip(), champion.number))


def _store_pending_change(change: ChampionChange) -> None:
    if not change.reason:
        show_error("The reason is missing.", "Enter a reason. The champion log records it.")
        return
    st.session_state[_PENDING_CHANGE] = change
    st.rerun()


def _confirmation_form(
    context: DashboardContext, bundles: StoreListing, change: ChampionChange, operator_name: str
) -> None:
    champion_id = bundles.champion.bundle if bundles.champion else "no bundle"
    action_label = "Promote" if change.kind == "promote" else "Roll back to"
    with st.container(border=True):
        st.subheader(f"{action_label} {change.bundle}?")
        caption(
            f"It replaces {champion_id} on all servers within seconds, without a restart. The log records: "
            f"{operator_name}, “{change.reason}”."
        )
        confirm_column, cancel_column = st.columns(2)
        if confirm_column.button(
            f"Yes, {action_label.lower()} it", type="primary", key="change-confirm", width="stretch"
        ):
            _apply_change(context, change, operator_name)
        if cancel_column.button("Cancel", key="change-cancel", width="stretch"):
            del st.session_state[_PENDING_CHANGE]
            st.rerun()


def _tracking_settings(context: DashboardContext) -> TrackingSettings:
    settings = context.settings
    return TrackingSettings(settings.mlflow_tracking_uri, settings.mlflow_experiment_name, settings.mlflow_model)


def _apply_change(context: DashboardContext, change: ChampionChange, operator_name: str) -> None:
    log = ChampionLog(context.store)
    timestamp = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    del st.session_state[_PENDING_CHANGE]
    try:
        with st.spinner("Verifying the bundle"):
            if change.kind == "promote":
                entry = log.override(
                    change.bundle,
                    reason=change.reason,
                    by=operator_name,
                    at=timestamp,
                    expected_number=change.seen_entry,
                )
            else:
                entry = log.rollback(
                    reason=change.reason, by=operator_name, at=timestamp, expected_number=change.seen_entry
                )
            follow_champion(context.store, _tracking_settings(context))
    except PreptimeError as error:
        show_error(*error_message(error))
        return
    finally:
        clear_champion_cache()
        clear_listing_cache()
    st.session_state[_CHANGE_RESULT] = (
        f"{entry.bundle} is the champion now (log entry {entry.number}).",
        "Servers load it within seconds.",
    )
    st.rerun()
