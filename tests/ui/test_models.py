"""Tests of the page Models: its views, empty and damaged stores, and changes of the champion."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Protocol

import msgspec
import pytest
from streamlit.testing.v1 import AppTest

from preptime.bundle.champion_log import ChampionLog
from preptime.bundle.inventory import list_store
from preptime.bundle.store import Store
from preptime.errors import UsageError
from preptime.evaluation.overview import summarize_bundle
from preptime.evaluation.summary_text import format_minutes
from preptime.settings import Settings
from preptime.tracking.runs import TrackingSettings
from preptime.ui.login import allowed_keys
from preptime.ui.models import promotion
from tests.cli.conftest import damage_file
from tests.training.factories import copy_bundle
from tests.ui.browser import API_KEY, OPERATOR_KEY, key_entry
from tests.ui.page_rendering import html_bodies, page_text, render_page, table_column
from tests.ui.stores import FINGERPRINT_WITHOUT_REPORT, ORDERS, RESTAURANTS, clear_caches

pytestmark = pytest.mark.usefixtures("empty_caches")

SCHEMA_WITHOUT_RESTAURANTS_FILE = """\
[orders]
order_acknowledged_at = "order_acknowledged_at"
order_ready_at = "order_ready_at"
restaurant_id = "restaurant_id"
order_value = { column = "order_value_gbp", currency = "GBP" }
number_of_items = "number_of_items"

[restaurants]
time_zone = "Europe/London"
"""
OPERATOR_ENTRY = key_entry("olga", OPERATOR_KEY)


class OpenView(Protocol):
    """Renders the page with a view selected."""

    def __call__(self, view: str, **settings: str) -> AppTest: ...


@pytest.fixture
def open_view(store_copy: Path, monkeypatch: pytest.MonkeyPatch) -> OpenView:
    """Returns a function that renders the page with the trained store."""

    def open_with(view: str, **settings: str) -> AppTest:
        all_settings = {"PREPTIME_STORE": str(store_copy), "PREPTIME_OPERATOR_KEYS": OPERATOR_ENTRY} | settings
        at = render_page(monkeypatch, "models", **all_settings)
        return select_view(at, view)

    return open_with


def select_view(at: AppTest, view: str) -> AppTest:
    at.session_state["models-view"] = view
    at.run()
    assert not at.exception, at.exception
    return at


def log_of(root: Path) -> ChampionLog:
    return ChampionLog(Store.open(str(root)))


def champion_of(root: Path) -> str:
    entry = log_of(root).current()
    assert entry is not None
    return entry.bundle


def bundle_without_report(root: Path) -> str:
    manifests = list_store(Store.open(str(root))).manifests
    return next(manifest.id for manifest in manifests if manifest.data_fingerprint == FINGERPRINT_WITHOUT_REPORT)


def test_bundle_list_starts_with_the_champion(open_view: OpenView, store_copy: Path) -> None:
    listing = list_store(Store.open(str(store_copy)))
    at = open_view("Bundles")
    champion = champion_of(store_copy)
    shown = page_text(at)
    assert f"The champion: {champion}" in [heading.value for heading in at.subheader]
    champion_manifest = next(manifest for manifest in listing.manifests if manifest.id == champion)
    assert f"{format_minutes(summarize_bundle(champion_manifest).mae)} min" in shown
    assert table_column(at, "bundle", having="role") == [manifest.id for manifest in reversed(listing.manifests)]
    roles = dict(zip(table_column(at, "bundle", having="role"), table_column(at, "role", having="role"), strict=True))
    assert roles[champion] == "champion"
    assert sorted(str(role) for role in roles.values()) == ["", "champion", "previous champion"]


def test_bundle_details_show_the_table_and_all_charts(open_view: OpenView, store_copy: Path) -> None:
    at = open_view("Bundle details")
    shown = page_text(at)
    for title in (
        "Mean error",
        "Predicted vs. actual",
        "Distribution of errors",
        "Mean error by local hour",
        "Calibration of the quantiles",
        "Mean error by city",
        "Coverage of p10–p90 by city",
        "Feature importance",
    ):
        assert title in shown
    assert len(at.get("vega_lite_chart")) == 8
    assert table_column(at, "model", having="R²") == [
        "quantile (default)",
        "random forest",
        "live model",
        "restaurant lookup",
        "median of all orders",
    ]
    assert table_column(at, "couriers arrive at", having="courier:food 2:1") == [
        "predicted quantile",
        "live quantile",
        "p50 minus travel",
        "lookup's quantile",
        "constant",
    ]
    waiting, errors = (table_column(at, name, having=name) for name in ("courier:food 1:1", "mean error"))
    # At 1:1, the waiting cost of 1,000 orders is 1,000 times the mean error, here in minutes with one decimal.
    even = [float(str(cell).replace(",", "")) / 1_000 for cell in waiting]
    shown_errors = [float(str(errors[row]).split()[0]) for row in (0, 2, 0, 3, 4)]
    assert even == pytest.approx(shown_errors, abs=0.051)
    assert "Download the report" in [button.proto.label for button in at.get("download_button")]
    at.session_state["segment-dimension"] = "fallback_level"
    assert "Coverage of p10–p90 by fallback level" in page_text(at.run())
    at.session_state["labels"] = "within_label_limit"
    assert not at.run().exception


def test_bundle_without_a_report_shows_available_data(open_view: OpenView, store_copy: Path) -> None:
    at = open_view("Bundle details")
    at.selectbox("bundle").set_value(bundle_without_report(store_copy)).run()
    shown = page_text(at)
    assert "An earlier release trained it" in shown
    assert "Mean error by local hour" in shown
    assert "Predicted vs. actual ." not in shown
    assert not at.get("download_button")
    assert table_column(at, "kind", having="R²")[-1] == "baseline"


def test_weak_models_are_marked_in_details(open_view: OpenView, store_copy: Path) -> None:
    title = "random forest (not better than the global median)"
    at = open_view("Bundle details")
    assert title not in page_text(at)
    at.selectbox("bundle").set_value(bundle_without_report(store_copy)).run()
    assert f"{title}, quantile (default)" in page_text(at)
    assert table_column(at, "model", having="R²")[:2] == ["quantile (default)", title]
    at = open_view("Compare bundles")
    at.selectbox("second").set_value(bundle_without_report(store_copy)).run()
    assert title in page_text(at)


def test_comparison_of_two_bundles_names_different_days(open_view: OpenView, store_copy: Path) -> None:
    at = open_view("Compare bundles")
    first, second = (at.selectbox(key).value for key in ("first", "second"))
    assert (first, second) == (champion_of(store_copy), log_of(store_copy).entries()[0].bundle)
    shown = page_text(at)
    assert "The evaluation days differ" in shown
    assert "preptime bundles compare" in shown
    assert len(table_column(at, "metric", having="better bundle")) == 10
    assert "waiting cost, 2:1" in table_column(at, "metric", having="better bundle")
    at.selectbox("second").set_value(first).run()
    assert "You selected the same bundle twice." in page_text(at)


def test_bundles_without_a_comparison_are_compared_on_request(
    open_view: OpenView, store_copy: Path, trained_store: Path
) -> None:
    folder = trained_store.parent
    sources = {"PREPTIME_ORDERS": str(folder / ORDERS), "PREPTIME_RESTAURANTS": str(folder / RESTAURANTS)}
    at = open_view("Compare bundles", **sources)
    press(at, "Compare on the configured orders")
    first, second = (at.selectbox(key).value for key in ("first", "second"))
    shown = page_text(at)
    assert f"{first} compared with the champion {second}: " in shown
    assert "The champion didn't change." in shown
    assert "Waiting cost per 1,000 orders by courier:food cost, which isn't a rule: 1:1: " in shown
    assert "Significantly better than the better baseline" in table_column(at, "rule", having="rule")
    assert len(log_of(store_copy).entries()) == 2


def test_quick_bundle_has_no_metrics_for_the_right_reason(open_view: OpenView, store_copy: Path) -> None:
    store, champion = Store.open(str(store_copy)), champion_of(store_copy)
    window = msgspec.structs.replace(store.read_manifest(champion).window, gated_from=None, gated_through=None)
    quick = copy_bundle(store, champion, metrics={}, window=window)
    assert "Each bundle that wasn't trained with --quick is evaluated on" in page_text(open_view("Bundles"))
    at = open_view("Bundle details")
    at.selectbox("bundle").set_value(quick).run()
    assert "This bundle has no metrics: it was trained with --quick." in page_text(at)
    assert "can't read" not in page_text(at)
    assert "An earlier release" not in page_text(at)
    at = open_view("Compare bundles")
    at.selectbox("second").set_value(quick).run()
    assert f"Trained with --quick, so without metrics: {quick}. Only the details are compared." in page_text(at)


def test_bundles_are_compared_without_a_restaurants_file(
    open_view: OpenView, trained_store: Path, tmp_path: Path
) -> None:
    schema = tmp_path / "schema.toml"
    schema.write_text(SCHEMA_WITHOUT_RESTAURANTS_FILE)
    settings = {"PREPTIME_SCHEMA": str(schema), "PREPTIME_RESTAURANTS": ""}
    at = open_view("Compare bundles", **settings, PREPTIME_ORDERS=str(trained_store.parent / ORDERS))
    press(at, "Compare on the configured orders")
    assert "The champion didn't change." in page_text(at)
    clear_caches()
    shown = page_text(open_view("Compare bundles", **settings, PREPTIME_ORDERS=""))
    assert "--orders ORDERS" in shown
    assert "--restaurants" not in shown


def test_champion_log_shows_reasons_as_text(open_view: OpenView, store_copy: Path) -> None:
    at = open_view("Champion log")
    shown = page_text(at)
    assert "promoted manually 2015-06-14 05:00 UTC · olga · no. 2 riders *wait* in <b>Leeds</b>" in shown
    assert not any("<b>Leeds" in body for body in html_bodies(at))
    assert table_column(at, "no.", having="as-of date") == [2, 1]
    assert "Significantly better than the better baseline" in table_column(at, "rule", having="rule")
    results = [str(result) for result in table_column(at, "result", having="rule")]
    uncertainty = r"\([−+]\d\.\d\d min, standard error \d\.\d\d min, significant from \d\.\d\d min\)"
    assert any(re.search(uncertainty, result) for result in results)
    assert not any(re.search(r"\d s\b", result) for result in results)
    assert table_column(at, "compared with", having="standard error") == ["the restaurant lookup"]
    (difference,), (standard_error,) = (
        [str(cell) for cell in table_column(at, name, having="standard error")]
        for name in ("difference", "standard error")
    )
    assert re.fullmatch(r"−\d\.\d{3} min", difference)
    assert re.fullmatch(r"\d\.\d{3} min", standard_error)


def test_reason_of_an_operator_is_unchanged(open_view: OpenView, store_copy: Path) -> None:
    log = log_of(store_copy)
    first, second = log.entries()
    assert re.search(r"\d s\b", first.reason)
    log.override(first.bundle, reason="5 min 30 s in <b>x</b>", by="olga", at="2015-06-15T05:00Z")
    log.rollback(reason="p99 was 2 s, -4 s before", by="olga", at="2015-06-16T05:00Z")
    log.rollback(reason="Review: 387.8 s.", by="preptime", at="2015-06-17T05:00Z", comparison=first.comparison)
    at = open_view("Champion log")
    reasons = [str(reason) for reason in table_column(at, "reason", having="as-of date")]
    assert reasons[:3] == ["Review: 6.46 min.", "p99 was 2 s, -4 s before", "5 min 30 s in <b>x</b>"]
    assert not re.search(r"\d s\b", reasons[-1])
    assert "· no. 3 5 min 30 s in <b>x</b>" in page_text(at)
    log.override(second.bundle, reason="30 s menu", by="olga", at="2015-06-18T05:00Z")
    clear_caches()
    assert "(promoted manually). 30 s menu" in page_text(open_view("Bundles"))


def press(at: AppTest, label: str) -> None:
    next(button for button in at.button if button.label == label).click().run()


def promote(at: AppTest, bundle: str, reason: str) -> AppTest:
    at.text_input("operator-key").set_value(OPERATOR_KEY).run()
    at.selectbox("promotion-bundle").set_value(bundle)
    at.text_area("promotion-reason").set_value(reason)
    press(at, "Promote…")
    return at


def test_operator_promotes_after_confirmation_and_rolls_back(open_view: OpenView, store_copy: Path) -> None:
    before, other = champion_of(store_copy), log_of(store_copy).entries()[0].bundle
    at = promote(open_view("Change the champion"), other, "it was better on Fridays")
    assert f"Promote {other}?" in [heading.value for heading in at.subheader]
    assert f"It replaces {before} on" in page_text(at)
    assert champion_of(store_copy) == before
    at.button("change-confirm").click().run()
    entry = log_of(store_copy).current()
    assert entry is not None
    assert (entry.bundle, entry.action, entry.by, entry.reason) == (
        other,
        "override",
        "olga",
        "it was better on Fridays",
    )
    assert f"{other} is the champion now (log entry 3)." in page_text(at)
    at.session_state["change-kind"] = "rollback"
    at.run()
    at.text_area("rollback-reason").set_value("it was not")
    press(at, "Roll back…")
    at.button("change-confirm").click().run()
    entry = log_of(store_copy).current()
    assert entry is not None
    assert (entry.bundle, entry.action, entry.by) == (before, "rollback", "olga")


def test_alias_in_mlflow_follows_a_promotion(
    open_view: OpenView, store_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tests/tracking test `follow_champion` with a real server. Here, a function records its calls."""
    calls = []
    monkeypatch.setattr(
        promotion, "follow_champion", lambda store, settings: calls.append((champion_of(Path(store.url)), settings))
    )
    other = log_of(store_copy).entries()[0].bundle
    at = open_view("Change the champion", MLFLOW_TRACKING_URI="http://127.0.0.1:9", PREPTIME_MLFLOW_MODEL="kitchens")
    promote(at, other, "it was better on Fridays").button("change-confirm").click().run()
    assert calls == [(other, TrackingSettings("http://127.0.0.1:9", "preptime", "kitchens"))]


def test_cancel_changes_nothing(open_view: OpenView, store_copy: Path) -> None:
    other = log_of(store_copy).entries()[0].bundle
    at = promote(open_view("Change the champion"), other, "why not")
    at.button("change-cancel").click().run()
    assert "Promote a bundle manually" in [heading.value for heading in at.subheader]
    assert len(log_of(store_copy).entries()) == 2


def test_promotion_without_a_reason_is_rejected(open_view: OpenView, store_copy: Path) -> None:
    at = promote(open_view("Change the champion"), log_of(store_copy).entries()[0].bundle, "  ")
    assert "The reason is missing." in page_text(at)
    assert len(log_of(store_copy).entries()) == 2


def test_promotion_fails_after_a_concurrent_promotion(open_view: OpenView, store_copy: Path) -> None:
    log = log_of(store_copy)
    other = log.entries()[0].bundle
    at = promote(open_view("Change the champion"), bundle_without_report(store_copy), "it was better in number 2")
    log.override(other, reason="quicker", by="paul", at="")
    at.button("change-confirm").click().run()
    assert "Someone else promoted first" in page_text(at)
    assert champion_of(store_copy) == other


def test_promotion_of_a_damaged_bundle_shows_an_error(open_view: OpenView, store_copy: Path) -> None:
    other = log_of(store_copy).entries()[0].bundle
    damage_file(store_copy, other)
    at = promote(open_view("Change the champion"), other, "I know better")
    at.button("change-confirm").click().run()
    assert "model.onnx: expected SHA-256" in page_text(at)
    assert len(log_of(store_copy).entries()) == 2


def test_only_an_operator_key_opens_the_forms(open_view: OpenView) -> None:
    at = open_view("Change the champion", PREPTIME_API_KEYS=key_entry("dispatch", API_KEY))
    assert "Changing the champion requires an operator key." in page_text(at)
    for wrong_key in ("guess", API_KEY):
        at.text_input("operator-key").set_value(wrong_key).run()
        assert "This key isn't an operator key." in page_text(at)
        assert not at.button
    assert at.text_input("operator-key").proto.type == at.text_input("operator-key").proto.PASSWORD
    at.text_input("operator-key").set_value(OPERATOR_KEY).run()
    assert "Signed in as olga" in page_text(at)
    assert OPERATOR_KEY not in page_text(at)
    select_view(select_view(at, "Champion log"), "Change the champion")
    assert "Signed in as olga" in page_text(at)
    at.button("operator-sign-out").click().run()
    assert not at.button
    assert "Changing the champion requires an operator key." in page_text(at)


def test_without_operator_keys_the_champion_cannot_change(open_view: OpenView) -> None:
    at = open_view("Change the champion", PREPTIME_OPERATOR_KEYS="")
    assert "No operator key is configured" in page_text(at)
    assert not at.text_input
    assert not at.button


def test_example_key_is_rejected_on_a_public_address() -> None:
    entry = key_entry("olga", "change-me")
    assert allowed_keys(Settings(operator_keys=entry)) is None
    with pytest.raises(UsageError, match="the example key from the documentation"):
        allowed_keys(Settings(operator_keys=entry, ui_host="192.0.2.1"))


@pytest.mark.parametrize(
    "view", ["Bundles", "Bundle details", "Compare bundles", "Champion log", "Change the champion"]
)
def test_empty_store_shows_the_train_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, view: str) -> None:
    store = str(tmp_path / "nothing")
    at = select_view(
        render_page(monkeypatch, "models", PREPTIME_STORE=store, PREPTIME_OPERATOR_KEYS=OPERATOR_ENTRY), view
    )
    if view == "Change the champion":
        at.text_input("operator-key").set_value(OPERATOR_KEY).run()
    assert "preptime train" in page_text(at)


def test_unreadable_bundle_does_not_hide_others(open_view: OpenView, store_copy: Path) -> None:
    champion = champion_of(store_copy)
    path = store_copy / "bundles" / champion / "manifest.json"
    path.chmod(0o644)
    path.write_bytes(b"{}")
    at = open_view("Bundles")
    assert f"The champion {champion} can't be read." in page_text(at)
    assert len(table_column(at, "bundle", having="role")) == 2


def test_damaged_evaluation_shows_an_error_and_the_rest(open_view: OpenView, store_copy: Path) -> None:
    path = store_copy / "bundles" / champion_of(store_copy) / "evaluation.json"
    path.chmod(0o644)
    path.write_bytes(b"{}")
    shown = page_text(open_view("Bundle details"))
    assert "evaluation.json: expected SHA-256" in shown
    assert "Mean error by local hour" in shown


def test_unreadable_store_shows_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "bundles").write_text("no folder")
    at = render_page(monkeypatch, "models", PREPTIME_STORE=str(tmp_path / "models"))
    assert "Check that the store exists" in page_text(at)
    shutil.rmtree(tmp_path / "models")
