"""The API's numbers are those that `score` writes for the same rows, to the last digit that is told."""

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
TIMES = ("2015-06-17 {}:30:59.{}+01:00", "2015-06-17T{}:30:59.{}Z", "2015-06-17 {}:30:59.{}")


def some_rows(size: int) -> list[dict[str, str]]:
    """Orders of a file: known and unknown restaurants, times in three forms, a hole and a mistake here and there."""
    dice = np.random.default_rng(3)
    rows = []
    for place in range(size):
        time = TIMES[place % 3].format(f"{dice.integers(0, 24):02d}", f"{dice.integers(0, 1_000_000):06d}")
        cells = (
            f"A-{place}",
            time,
            f"{dice.gamma(2, 13):.2f}",
            str(dice.choice([10, 20, 30, 77])),
            str(dice.integers(0, 9)),
        )
        rows.append(dict(zip(COLUMNS, (*cells, ("France", "")[place % 2], ("", "Paris", "0")[place % 3]), strict=True)))
        if place % 17 == 5:
            rows[-1]["order_value_gbp"] = ("", "abc", "-4")[place % 3]
    return rows


def test_predictions_equal_the_scored_file(tmp_path: Path, serving: ActiveModel) -> None:
    rows = some_rows(400)
    source, out = tmp_path / "orders.csv", tmp_path / "scored.csv"
    with source.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    score_file(str(source), out, serving.bundle)
    with out.open(newline="", encoding="utf-8") as file:
        scored = list(csv.DictReader(file))
    http = http_client(make_service(serving).service, "front")
    response = http.post(PREDICTIONS_PATH, json={"orders": rows, "models": ["rf"]}, headers=HEADERS)
    found = cast(dict[str, list[dict[str, object]]], response.json)["predictions"]
    assert len(found) == len(scored) == len(rows)
    assert 20 < sum("error" in one for one in found) < 100
    for one, written in zip(found, scored, strict=True):
        assert one["order_id"] == written["order_id"]
        if "error" in one:
            assert cast(dict[str, str], one["error"])["code"] == written["prediction_reason"]
            continue
        assert one["fallback_level"] == written["prediction_fallback_level"]
        assert one["ready_at"] == written["predicted_ready_at"].replace(" ", "T")
        assert cast(dict[str, float], one["models"])["rf"] == told(written["predicted_rf_seconds"])
        for level in ("p10", "p50", "p80", "p90"):
            assert one[level] == told(written[f"predicted_{level}_seconds"])
        assert one["prep_time_seconds"] == round(float(np.float32(written["predicted_seconds"])))


def told(cell: str) -> float:
    """A float32 as csv has it, with the digits that the API tells."""
    return round(float(np.float32(cell)), SECONDS_DECIMALS)
