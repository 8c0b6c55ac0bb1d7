"""The API's predictions equal those that `preptime score` writes for the same rows, to the last returned digit."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import cast

import numpy as np

from preptime.api.active_model import SECONDS_DECIMALS, ActiveModel
from preptime.api.handler import PREDICTIONS_PATH
from preptime.scoring.score_file import score_file
from tests.api.factories import HEADERS, http_client, make_service

COLUMNS = (
    "order_id",
    "order_acknowledged_at",
    "order_value_gbp",
    "restaurant_id",
    "number_of_items",
    "country",
    "city",
)
TIMESTAMP_FORMATS = (
    "2015-06-17 {}:30:59.{}+01:00",
    "2015-06-17T{}:30:59.{}Z",
    "2015-06-17 {}:30:59.{}",
    "2015-06-17 {}:30:59.{}-07:00",
    "14345{}059.{}",
)


def make_rows(size: int) -> list[dict[str, str]]:
    """Return orders with known and unknown restaurants, every form of timestamps, and some invalid values."""
    rng = np.random.default_rng(3)
    rows = []
    for index in range(size):
        time = TIMESTAMP_FORMATS[index % len(TIMESTAMP_FORMATS)].format(
            f"{rng.integers(0, 24):02d}", f"{rng.integers(0, 1_000_000):06d}"
        )
        cells = (
            f"A-{index}",
            time,
            f"{rng.gamma(2, 13):.2f}",
            str(rng.choice([10, 20, 30, 77])),
            str(rng.integers(0, 9)),
        )
        rows.append(dict(zip(COLUMNS, (*cells, ("France", "")[index % 2], ("", "Paris", "0")[index % 3]), strict=True)))
        if index % 17 == 5:
            rows[-1]["order_value_gbp"] = ("", "abc", "-4")[index % 3]
    return rows


def test_predictions_equal_the_scored_file(tmp_path: Path, active_model: ActiveModel) -> None:
    rows = make_rows(400)
    source, output = tmp_path / "orders.csv", tmp_path / "scored.csv"
    with source.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    score_file(str(source), output, active_model.bundle)
    with output.open(newline="", encoding="utf-8") as file:
        scored = list(csv.DictReader(file))
    http = http_client(make_service(active_model).service, "fast_path")
    response = http.post(PREDICTIONS_PATH, json={"orders": rows, "models": ["rf"]}, headers=HEADERS)
    predictions = cast(dict[str, list[dict[str, object]]], response.json)["predictions"]
    assert len(predictions) == len(scored) == len(rows)
    assert 20 < sum("error" in prediction for prediction in predictions) < 100
    for prediction, written in zip(predictions, scored, strict=True):
        assert prediction["order_id"] == written["order_id"]
        if "error" in prediction:
            assert cast(dict[str, str], prediction["error"])["code"] == written["prediction_reason"]
            continue
        assert prediction["fallback_level"] == written["prediction_fallback_level"]
        assert prediction["ready_at"] == written["predicted_ready_at"].replace(" ", "T")
        assert cast(dict[str, float], prediction["models"])["rf"] == rounded_seconds(written["predicted_rf_seconds"])
        for level in ("p10", "p50", "p80", "p90"):
            assert prediction[level] == rounded_seconds(written[f"predicted_{level}_seconds"])
        assert prediction["prep_time_seconds"] == round(float(np.float32(written["predicted_seconds"])))


def rounded_seconds(cell: str) -> float:
    """Return a float32 of the file with the decimals of the API."""
    return round(float(np.float32(cell)), SECONDS_DECIMALS)
