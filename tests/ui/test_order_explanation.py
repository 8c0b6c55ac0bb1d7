"""The explanation of one order on the page Predict: the waterfall chart, its sentence, and both sources."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import polars as pl
import pytest
import streamlit as st

from preptime.bundle.bundle import Bundle
from preptime.bundle.champion_log import ChampionLog
from preptime.bundle.store import Store
from preptime.client import Client
from preptime.domain.time_units import TIME_UNITS
from preptime.evaluation.charts import LIGHT
from preptime.ui.prediction_charts import explanation_waterfall
from preptime.ui.predictors import ApiPredictor, LocalPredictor
from tests.api.processes import PLAIN_KEY, SERVE_COMMAND, running_server
from tests.explanations.bundles import release_store
from tests.scoring.factories import order_cells, small_bundle
from tests.ui.page_rendering import chart_axes, page_text, render_page

ROW = pl.DataFrame([order_cells(restaurant_id="1", order_acknowledged_at="2015-06-15 19:00:00")])


def chart_rows(specification: str) -> list[dict[str, Any]]:
    """Return the rows of a chart with one data set."""
    (rows,) = json.loads(specification)["datasets"].values()
    return cast(list[dict[str, Any]], rows)


def explained_store(folder: Path) -> Bundle:
    """Put the bundle of this release into the store `models` of a folder, as the champion."""
    store, bundle_id = release_store(folder / "models")
    ChampionLog(store).override(bundle_id, reason="test", by="test", at="now")
    return Bundle.load(store.fetch(bundle_id))


def test_page_shows_why_an_order_has_its_prediction(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    explained_store(tmp_path)
    st.cache_resource.clear()
    at = render_page(monkeypatch, PREPTIME_STORE=str(tmp_path / "models"))
    assert "Why this prediction?" in [header.value for header in at.subheader]
    assert "than the average order" in page_text(at)
    assert ("start", "minutes") in chart_axes(at)
    st.cache_resource.clear()


def test_explanation_is_the_same_through_the_api(tmp_path: Path) -> None:
    bundle = explained_store(tmp_path)
    local = LocalPredictor(bundle).explain(ROW)
    assert local is not None
    assert local.base + sum(seconds for _, seconds in local.parts) == pytest.approx(local.p50, abs=1e-3)
    with running_server(tmp_path, SERVE_COMMAND) as server, Client(server.url, PLAIN_KEY) as client:
        server.wait_until("/readyz")
        remote = ApiPredictor(client, bundle.manifest.id, (), (), bundle.schema, 100, None).explain(ROW)
        assert remote is not None
        assert remote.sentence == local.sentence
        assert [title for title, _ in remote.parts] == [title for title, _ in local.parts]
        for (_, remote_seconds), (_, seconds) in zip(remote.parts, local.parts, strict=True):
            assert remote_seconds == pytest.approx(seconds, abs=1e-3)
    invalid = pl.DataFrame([order_cells(number_of_items="many")])
    assert LocalPredictor(bundle).explain(invalid) is None


def test_explanation_is_missing_without_trees(tmp_path: Path) -> None:
    assert LocalPredictor(small_bundle(Store.open(str(tmp_path)))).explain(ROW) is None


def test_waterfall_goes_from_the_average_to_the_order() -> None:
    parts = [("the basket", 60.0), ("restaurant", -300.0), ("rounding", 0.4), *((f"f{n}", 6.0 + n) for n in range(10))]
    chart = explanation_waterfall(900.0, parts, LIGHT)
    rows = chart_rows(chart.to_json())
    assert [row["title"] for row in rows] == [
        "The average order",
        "Restaurant",
        "The basket",
        *(f"F{n}" for n in range(9, 2, -1)),
        "3 others",
        "This order",
    ]
    assert [row["text"] for row in rows[:3]] == ["15.0 min", "−5.0 min", "+1.0 min"]
    assert [row["kind"] for row in rows[:3]] == ["total", "shorter", "longer"]
    ends = [(row["start"], row["end"]) for row in rows]
    assert ends[0] == (0.0, 15.0)
    assert all(start == previous[1] for (start, _), previous in zip(ends[1:-1], ends, strict=False))
    total = 900.0 + sum(seconds for _, seconds in parts)
    assert ends[-1] == (0.0, pytest.approx(total / 60))
    assert chart.to_dict()["padding"]["right"] == 55, "for the labels of the longest bars"
    hours = explanation_waterfall(7200.0, [("the basket", 3600.0)], LIGHT, TIME_UNITS["h"])
    assert chart_rows(hours.to_json())[1]["text"] == "+1.000 h"
