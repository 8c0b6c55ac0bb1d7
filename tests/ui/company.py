"""The second company on disk, for tests of the dashboard, and every text that a page shows."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from preptime.bundle.champion_log import resolve_bundle_id
from preptime.bundle.manifest import REPORT_FILE
from preptime.bundle.store import Store
from preptime.monitoring.document import encode
from preptime.schema.toml_file import parse_schema
from preptime.sources.results import MONITORING_FILE, ResultsFolder
from preptime.training.train import train
from preptime.ui.app_pages import data, models, monitoring
from preptime.validation.audit import audit_orders
from preptime.validation.restaurants import read_restaurants
from tests.monitoring.example import fired
from tests.scoring.delivery import SCHEMA_TOML, delivery_frames
from tests.scoring.factories import PLAN
from tests.training.factories import ACTOR, override_champion, quick_plan
from tests.ui.page_rendering import html_bodies, page_text, render_page, table_rows


def write_company(folder: Path, schema_text: str = SCHEMA_TOML) -> Path:
    """Write the company's schema, orders, restaurants, monitoring results, and a store with a champion."""
    orders, restaurants = delivery_frames()
    orders.write_csv(folder / "orders.csv", separator=";")
    restaurants.write_csv(folder / "stores.csv", separator=";")
    (folder / "schema.toml").write_text(schema_text, encoding="utf-8")
    schema = parse_schema(schema_text)
    index = read_restaurants(restaurants, schema)
    audited = audit_orders(orders, index, need_label=True, schema=schema)
    store = Store.open(str(folder / "models"))
    date = PLAN.start + dt.timedelta(days=12)
    trained = train(audited, index, date, store, ACTOR, plan=quick_plan(), allow_promotion=False, with_report=True)
    override_champion(store, trained.bundle, date)
    document = fired()
    ResultsFolder(folder / "results").write(document.date, MONITORING_FILE, encode(document))
    return folder


def settings(company: Path) -> dict[str, str]:
    """Return the settings of the company's dashboard."""
    return {
        "PREPTIME_STORE": str(company / "models"),
        "PREPTIME_SCHEMA": str(company / "schema.toml"),
        "PREPTIME_ORDERS": str(company / "orders.csv"),
        "PREPTIME_RESTAURANTS": str(company / "stores.csv"),
        "PREPTIME_RESULTS": str(company / "results"),
    }


def training_report(company: Path) -> str:
    """Return the report of the champion as HTML."""
    store = Store.open(str(company / "models"))
    return store.read_file(store.read_manifest(resolve_bundle_id(store, None)), REPORT_FILE).decode()


def all_text(at: AppTest) -> str:
    """Return every text that the page shows: HTML, titles, labels, tables, and charts."""
    widgets = [*at.selectbox, *at.number_input, *at.text_input, *at.button, *at.toggle, *at.multiselect, *at.tabs]
    labels = [str(getattr(widget, name, "")) for widget in widgets for name in ("label", "help", "placeholder")]
    titles = [str(element.value) for element in (*at.title, *at.subheader)]
    uploaders = [element.proto.label for element in at.get("file_uploader")]
    charts = [str(chart.proto) for chart in at.get("vega_lite_chart")]
    return " ".join([page_text(at), *html_bodies(at), *labels, *titles, *uploaders, *charts, str(table_rows(at))])


def each_view(monkeypatch: pytest.MonkeyPatch, company: Path) -> Iterator[tuple[str, AppTest]]:
    """Yield each view of the dashboard: its name and the rendered page."""
    at = render_page(monkeypatch, **settings(company))
    yield "predict", at
    for tab in ("Upload a file", "Data dictionary"):
        at.session_state["predict_tab"] = tab
        yield tab, at.run()
    for page, key, views in (
        ("models", "models-view", models.VIEWS),
        ("data", "data-view", data.VIEWS),
        ("monitoring", "monitoring-view", monitoring.VIEWS),
    ):
        at = render_page(monkeypatch, page, **settings(company))
        for view in views:
            at.session_state[key] = view
            yield f"{page}, {view}", at.run()
