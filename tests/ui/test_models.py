"""The page Models: what it shows of a store, what it says of an empty or damaged one, and who may change it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Protocol

import pytest
from streamlit.testing.v1 import AppTest

from preptime.bundle.champion_log import ChampionLog
from preptime.bundle.inventory import list_store
from preptime.bundle.store import Store
from preptime.errors import UsageError
from preptime.evaluation.overview import summarize_bundle
from preptime.evaluation.summary_text import format_minutes
from preptime.settings import Settings
from preptime.ui.login import allowed_keys
from tests.cli.conftest import damage
from tests.ui.browser import API_KEY, OPERATOR_KEY, setting
from tests.ui.chart_rendering import bodies, column, drawn, said
from tests.ui.stores import FIRST_RELEASE, ORDERS, RESTAURANTS

pytestmark = pytest.mark.usefixtures("fresh")

OPERATORS = setting("olga", OPERATOR_KEY)


class Open(Protocol):
    """Opens the page at a view."""

    def __call__(self, view: str, **settings: str) -> AppTest: ...


@pytest.fixture
def open_at(stocked: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """The page with that store, at a view."""

    def opened(view: str, **settings: str) -> AppTest:
        given = {"PREPTIME_STORE": str(stocked), "PREPTIME_OPERATOR_KEYS": OPERATORS} | settings
        at = drawn(monkeypatch, "models", **given)
        return look(at, view)

    return opened


def look(at: AppTest, view: str) -> AppTest:
    at.session_state["models-view"] = view
    at.run()
    assert not at.exception, at.exception
    return at


def log_of(root: Path) -> ChampionLog:
    return ChampionLog(Store.open(str(root)))


def serving(root: Path) -> str:
    entry = log_of(root).current()
    assert entry is not None
    return entry.bundle


def test_bundles_are_listed_with_the_champion_before_all(open_at: Open, stocked: Path) -> None:
    found = list_store(Store.open(str(stocked)))
    at = open_at("Bundles")
    champion = serving(stocked)
    shown = said(at)
    assert f"The champion: {champion}" in [one.value for one in at.subheader]
    champion_manifest = next(one for one in found.manifests if one.id == champion)
    assert f"{format_minutes(summarize_bundle(champion_manifest).mae)} min" in shown
    assert column(at, "bundle", having="role") == [one.id for one in reversed(found.manifests)]
    roles = dict(zip(column(at, "bundle", having="role"), column(at, "role", having="role"), strict=True))
    assert roles[champion] == "champion"
    assert sorted(str(role) for role in roles.values()) == ["", "before it", "champion"]


def test_one_bundle_shows_its_table_and_all_its_pictures(open_at: Open, stocked: Path) -> None:
    at = open_at("Bundle details")
    shown = said(at)
    for title in (
        "Mean error",
        "Predicted against actual",
        "How far off, and to which side",
        "Mean error by local hour",
        "Calibration: what a quantile claims and what it keeps",
        "Mean error by city",
        "Coverage of p10–p90 by city",
        "Feature importance",
    ):
        assert title in shown
    assert len(at.get("vega_lite_chart")) == 8
    assert column(at, "answer", having="R²") == ["quantile", "rf", "restaurant lookup", "global median"]
    assert "Download its report" in [one.proto.label for one in at.get("download_button")]
    at.session_state["segment-dimension"] = "fallback_level"
    assert "Coverage of p10–p90 by fallback level" in said(at.run())
    at.session_state["labels"] = "within_label_limit"
    assert not at.run().exception


def test_a_bundle_of_the_first_release_is_shown_with_what_it_has(open_at: Open) -> None:
    at = open_at("Bundle details")
    at.selectbox("bundle").set_value(FIRST_RELEASE).run()
    shown = said(at)
    assert "An earlier release made it" in shown
    assert "Mean error by local hour" in shown
    assert "Predicted against actual ." not in shown
    assert not at.get("download_button")
    assert column(at, "kind", having="R²")[-1] == "baseline"


def test_two_bundles_stand_side_by_side_and_other_days_are_told(open_at: Open, stocked: Path) -> None:
    at = open_at("Compare bundles")
    first, second = (at.selectbox(key).value for key in ("first", "second"))
    assert (first, second) == (serving(stocked), log_of(stocked).entries()[0].bundle)
    shown = said(at)
    assert "Mind the days" in shown
    assert "preptime bundles compare" in shown
    assert len(column(at, "figure", having="closer to the best")) == 7
    at.selectbox("second").set_value(first).run()
    assert "These are the same bundle." in said(at)


def test_two_that_never_met_are_compared_when_somebody_asks(open_at: Open, stocked: Path, trained_store: Path) -> None:
    folder = trained_store.parent
    tables = {"PREPTIME_ORDERS": str(folder / ORDERS), "PREPTIME_RESTAURANTS": str(folder / RESTAURANTS)}
    at = open_at("Compare bundles", **tables)
    press(at, "Compare on orders neither has seen")
    first, second = (at.selectbox(key).value for key in ("first", "second"))
    shown = said(at)
    assert f"{first} against the champion {second}, on " in shown
    assert "Nothing was promoted." in shown
    assert "Better than the restaurant lookup" in column(at, "rule", having="rule")
    assert len(log_of(stocked).entries()) == 2


def test_the_log_is_a_time_line_whose_words_are_text(open_at: Open, stocked: Path) -> None:
    at = open_at("Champion log")
    shown = said(at)
    assert "promoted by a person 2015-06-14 05:00 UTC · olga · no. 2 riders *wait* in <b>Leeds</b>" in shown
    assert not any("<b>Leeds" in body for body in bodies(at))
    assert column(at, "no.", having="logical date") == [2, 1]
    assert "Better than the restaurant lookup" in column(at, "rule", having="rule")
    assert all(" s" not in str(found) for found in column(at, "found", having="rule"))


def press(at: AppTest, label: str) -> None:
    next(one for one in at.button if one.label == label).click().run()


def promote(at: AppTest, bundle: str, reason: str) -> AppTest:
    at.text_input("operator-key").set_value(OPERATOR_KEY).run()
    at.selectbox("promotion-bundle").set_value(bundle)
    at.text_area("promotion-reason").set_value(reason)
    press(at, "Promote…")
    return at


def test_an_operator_promotes_with_a_reason_after_a_second_look_and_rolls_back(open_at: Open, stocked: Path) -> None:
    before, other = serving(stocked), log_of(stocked).entries()[0].bundle
    at = promote(open_at("Change the champion"), other, "it was better on Fridays")
    assert f"Promote {other}?" in [one.value for one in at.subheader]
    assert f"instead of {before}" in said(at)
    assert serving(stocked) == before
    at.button("change-confirm").click().run()
    entry = log_of(stocked).current()
    assert entry is not None
    assert (entry.bundle, entry.action, entry.by, entry.reason) == (
        other,
        "override",
        "olga",
        "it was better on Fridays",
    )
    assert f"{other} is the champion now: no. 3 of the log." in said(at)
    at.session_state["change-kind"] = "rollback"
    at.run()
    at.text_area("rollback-reason").set_value("it was not")
    press(at, "Roll back…")
    at.button("change-confirm").click().run()
    entry = log_of(stocked).current()
    assert entry is not None
    assert (entry.bundle, entry.action, entry.by) == (before, "rollback", "olga")


def test_a_second_thought_changes_nothing(open_at: Open, stocked: Path) -> None:
    other = log_of(stocked).entries()[0].bundle
    at = promote(open_at("Change the champion"), other, "why not")
    at.button("change-cancel").click().run()
    assert "Promote a bundle past the comparison" in [one.value for one in at.subheader]
    assert len(log_of(stocked).entries()) == 2


def test_without_a_reason_nothing_is_even_asked(open_at: Open, stocked: Path) -> None:
    at = promote(open_at("Change the champion"), log_of(stocked).entries()[0].bundle, "  ")
    assert "No reason is given." in said(at)
    assert len(log_of(stocked).entries()) == 2


def test_who_was_overtaken_is_told_and_changes_nothing(open_at: Open, stocked: Path) -> None:
    log = log_of(stocked)
    other = log.entries()[0].bundle
    at = promote(open_at("Change the champion"), FIRST_RELEASE, "I looked at number 2")
    log.override(other, reason="quicker", by="paul", at="")
    at.button("change-confirm").click().run()
    assert "Someone else promoted first" in said(at)
    assert serving(stocked) == other


def test_a_damaged_bundle_is_refused_in_a_sentence(open_at: Open, stocked: Path) -> None:
    other = log_of(stocked).entries()[0].bundle
    damage(stocked, other)
    at = promote(open_at("Change the champion"), other, "I know better")
    at.button("change-confirm").click().run()
    assert "model.onnx: expected SHA-256" in said(at)
    assert len(log_of(stocked).entries()) == 2


def test_only_an_operators_key_opens_the_forms_and_no_key_is_shown(open_at: Open) -> None:
    at = open_at("Change the champion", PREPTIME_API_KEYS=setting("dispatch", API_KEY))
    assert "Who may change the champion has an operator's key." in said(at)
    for wrong in ("guess", API_KEY):
        at.text_input("operator-key").set_value(wrong).run()
        assert "That is no operator's key." in said(at)
        assert not at.button
    assert at.text_input("operator-key").proto.type == at.text_input("operator-key").proto.PASSWORD
    at.text_input("operator-key").set_value(OPERATOR_KEY).run()
    assert "You act as olga" in said(at)
    assert OPERATOR_KEY not in said(at)
    look(look(at, "Champion log"), "Change the champion")
    assert "You act as olga" in said(at)
    at.button("operator-sign-out").click().run()
    assert not at.button
    assert "Who may change the champion has an operator's key." in said(at)


def test_without_a_configured_key_nobody_changes_anything(open_at: Open) -> None:
    at = open_at("Change the champion", PREPTIME_OPERATOR_KEYS="")
    assert "No operator's key is configured" in said(at)
    assert not at.text_input
    assert not at.button


def test_the_examples_key_is_no_operators_where_others_can_reach_the_page() -> None:
    known = setting("olga", "change-me")
    assert allowed_keys(Settings(operator_keys=known)) is None
    with pytest.raises(UsageError, match="the key of the examples"):
        allowed_keys(Settings(operator_keys=known, ui_host="192.0.2.1"))


@pytest.mark.parametrize(
    "view", ["Bundles", "Bundle details", "Compare bundles", "Champion log", "Change the champion"]
)
def test_an_empty_store_says_what_fills_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, view: str) -> None:
    store = str(tmp_path / "nothing")
    at = look(drawn(monkeypatch, "models", PREPTIME_STORE=store, PREPTIME_OPERATOR_KEYS=OPERATORS), view)
    if view == "Change the champion":
        at.text_input("operator-key").set_value(OPERATOR_KEY).run()
    assert "preptime train" in said(at)


def test_a_bundle_that_cannot_be_read_hides_no_other(open_at: Open, stocked: Path) -> None:
    champion = serving(stocked)
    path = stocked / "bundles" / champion / "manifest.json"
    path.chmod(0o644)
    path.write_bytes(b"{}")
    at = open_at("Bundles")
    assert f"The champion {champion} cannot be read." in said(at)
    assert len(column(at, "bundle", having="role")) == 2


def test_a_damaged_evaluation_is_told_and_the_rest_is_shown(open_at: Open, stocked: Path) -> None:
    path = stocked / "bundles" / serving(stocked) / "evaluation.json"
    path.chmod(0o644)
    path.write_bytes(b"{}")
    shown = said(open_at("Bundle details"))
    assert "evaluation.json: expected SHA-256" in shown
    assert "Mean error by local hour" in shown


def test_a_store_that_cannot_be_read_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "bundles").write_text("no folder")
    at = drawn(monkeypatch, "models", PREPTIME_STORE=str(tmp_path / "models"))
    assert "Check that it exists" in said(at)
    shutil.rmtree(tmp_path / "models")
