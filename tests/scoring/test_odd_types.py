"""Every instant, time zone, and type of Parquet gives each row a prediction or a reason, in every output format."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from preptime.bundle.bundle import Bundle
from preptime.domain.timestamps import EARLIEST_SECONDS, LATEST_SECONDS
from preptime.domain.validation_reasons import ValidationReason
from preptime.errors import DataError
from preptime.schema.schema import TAKE_HOME_SCHEMA
from preptime.scoring.preview import preview_file
from preptime.scoring.score_file import score_file
from preptime.scoring.scorer import PREDICTION_REASON
from preptime.scoring.summary import summarize
from preptime.sources.ingest import prepare_chunk, write_rejects
from preptime.sources.registry import open_source
from preptime.validation.audit import audit_orders
from preptime.validation.audit_report import render_text, summarize_audit

UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
ZONES = (None, "UTC", "+05:30", "-03:30", "+05:30:15", "Etc/GMT-14", "GMT+2", "Z", "Europe/London", "Not/AZone")
EXTREMES = (2**63 - 1, -(2**63), -(2**63) + 1, 0, -1, 10**18, 12 * 10**17, 2**53, 2**53 + 1)
GOOD_SECONDS = 1_435_706_640
UNPARSABLE_TIME = str(ValidationReason.UNPARSABLE_TIME)

pyarrow: Any = import_module("pyarrow")
parquet: Any = import_module("pyarrow.parquet")


def _write(path: Path, **columns: object) -> str:
    """Write valid orders, with some columns replaced by Arrow arrays."""
    rows = max(len(column) for column in columns.values()) if columns else 1  # type: ignore[arg-type]
    valid = {
        "order_id": [f"order-{row}" for row in range(rows)],
        "order_acknowledged_at": ["2015-06-20 19:00:00+01:00"] * rows,
        "order_value_gbp": [21.4] * rows,
        "restaurant_id": [1] * rows,
        "number_of_items": [3] * rows,
    }
    parquet.write_table(pyarrow.table(valid | columns), path)
    return str(path)


def _reasons(source: str, folder: Path, bundle: Bundle) -> dict[str, list[str | None]]:
    """Return the reasons of the rows from each reader and each output format."""
    reasons: dict[str, list[str | None]] = {}
    for file_format in ("csv", "parquet"):
        out = folder / f"scored.{file_format}"
        document = score_file(source, out, bundle)
        scored = pl.read_csv(out, infer_schema=False) if file_format == "csv" else pl.read_parquet(out)
        reasons[f"score to {file_format}"] = scored[PREDICTION_REASON].to_list()
        assert document.rows == len(scored)
    restaurants = bundle.history.restaurants
    rows = open_source(source).frame()
    audited = audit_orders(rows.with_columns(prep_time_seconds=600), restaurants, need_label=True)
    rejects = folder / "rejects.csv"
    assert write_rejects(audited, rejects) >= 0
    assert render_text(summarize_audit(audited, len(restaurants)))
    has_reason = (audited.reasons & ValidationReason.UNPARSABLE_TIME.bit) != 0
    reasons["check"] = [UNPARSABLE_TIME if bad else None for bad in has_reason]
    rejected = preview_file(source, restaurants, TAKE_HOME_SCHEMA).rejected_cells["row"].to_list()
    reasons["preview"] = [UNPARSABLE_TIME if row + 1 in rejected else None for row in range(len(rows))]
    storable = prepare_chunk(rows, restaurants, TAKE_HOME_SCHEMA).storable["order_key"].to_list()
    reasons["ingest"] = [None if order_id in storable else UNPARSABLE_TIME for order_id in rows["order_id"]]
    return reasons


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("unit", UNITS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=3)
@given(number=st.integers(-(2**63), 2**63 - 1))
def test_every_instant_has_the_same_reason_everywhere(
    tmp_path: Path, bundle: Bundle, unit: str, zone: str | None, number: int
) -> None:
    per_second = UNITS[unit]
    bounds = [EARLIEST_SECONDS * per_second, LATEST_SECONDS * per_second]
    numbers = [number, *EXTREMES, *bounds, *(bound - 1 for bound in bounds), GOOD_SECONDS * per_second]
    # Parquet has no seconds. Arrow refuses seconds whose milliseconds have more than 64 bits.
    limit = 2**63 // 1_000 - 1 if unit == "s" else 2**63
    numbers = [max(-limit, min(limit - 1, value)) for value in numbers]
    source = _write(
        tmp_path / "orders.parquet", order_acknowledged_at=pyarrow.array(numbers, pyarrow.timestamp(unit, zone))
    )
    # A restaurant in London has its naive times at most one hour after UTC.
    is_near_bound = [any(abs(value - bound) <= 3_600 * per_second for bound in bounds) for value in numbers]
    reasons = _reasons(source, tmp_path, bundle)
    expected = [None if bounds[0] <= value < bounds[1] else UNPARSABLE_TIME for value in numbers]
    for name, found in reasons.items():
        assert found == reasons["check"], name
        compared = [
            (left, right) for left, right, near in zip(found, expected, is_near_bound, strict=True) if zone or not near
        ]
        assert [left for left, _ in compared] == [right for _, right in compared], name


def test_every_date_has_the_same_reason_everywhere(tmp_path: Path, bundle: Bundle) -> None:
    days = pyarrow.array([2**31 - 1, -(2**31), 0, 16_617], pyarrow.int32()).cast(pyarrow.date32())
    source = _write(tmp_path / "orders.parquet", order_acknowledged_at=days)
    for name, reasons in _reasons(source, tmp_path, bundle).items():
        assert reasons == [UNPARSABLE_TIME] * 4, name


def test_instant_with_fixed_offset_is_predicted_as_utc(tmp_path: Path, bundle: Bundle) -> None:
    scored = []
    for zone in ("UTC", "+05:30", "Not/AZone"):
        times = pyarrow.array([GOOD_SECONDS * 10**6], pyarrow.timestamp("us", tz=zone))
        score_file(_write(tmp_path / "orders.parquet", order_acknowledged_at=times), tmp_path / "out.csv", bundle)
        scored.append((tmp_path / "out.csv").read_text(encoding="utf-8"))
    assert "2015-06-30 23:24:00+00:00" in scored[0]
    assert "2015-07-01 00:" in scored[0], "the predicted ready time is local time in London"
    assert scored[0] == scored[1] == scored[2]


ODD_COLUMNS: dict[str, dict[str, Any]] = {
    "duration": {"order_acknowledged_at": pyarrow.array([5], pyarrow.duration("us"))},
    "time": {"order_acknowledged_at": pyarrow.array([5], pyarrow.time64("us"))},
    "date64": {"order_acknowledged_at": pyarrow.array([date(2015, 6, 20)], pyarrow.date64())},
    "unsigned epoch": {"order_acknowledged_at": pyarrow.array([2**64 - 1], pyarrow.uint64())},
    "decimal epoch": {"order_acknowledged_at": pyarrow.array([Decimal(GOOD_SECONDS)])},
    "boolean": {"number_of_items": pyarrow.array([True])},
    "bytes": {"order_id": pyarrow.array([b"\xff\x00"])},
    "bytes value": {"order_value_gbp": pyarrow.array([b"\xff\x00"])},
    "struct": {"order_id": pyarrow.array([{"a": 1}]), "order_value_gbp": pyarrow.array([[1.0, 2.0]])},
    "map": {"extra": pyarrow.array([[("k", 1)]], pyarrow.map_(pyarrow.string(), pyarrow.int64()))},
    "category": {"city": pyarrow.array([[1]]), "country": pyarrow.array([{"a": b"\xff"}])},
    "dictionary": {"order_acknowledged_at": pyarrow.array(["2015-06-20 19:00:00"]).dictionary_encode()},
    "dictionary of times": {"extra": pyarrow.array([2**63 - 1], pyarrow.timestamp("us")).dictionary_encode()},
    "float16": {"order_value_gbp": pyarrow.array(np.array([3.5], "float16"))},
    "null": {"order_value_gbp": pyarrow.array([None], pyarrow.null())},
    "nested zone": {"extra": pyarrow.array([[0]], pyarrow.list_(pyarrow.timestamp("us", tz="+05:30")))},
    "uuid": {"order_id": pyarrow.array([b"0" * 16], pyarrow.uuid())},
    "json": {"extra": pyarrow.array(["{}"], pyarrow.json_())},
    "restaurant with time": {"restaurant_id": pyarrow.array([2**63 - 1], pyarrow.timestamp("us"))},
    "key with time": {"order_id": pyarrow.array([2**63 - 1], pyarrow.timestamp("us"))},
    "nested restaurant": {"restaurant_id": pyarrow.array([[1]])},
    "uint64": {"restaurant_id": pyarrow.array([2**64 - 1], pyarrow.uint64())},
}
NOT_IN_CSV = {
    "duration",
    "bytes",
    "bytes value",
    "struct",
    "map",
    "category",
    "nested zone",
    "uuid",
    "json",
    "nested restaurant",
}
NOT_IN_DATABASE = {"map", "nested zone", "json"}
UNSCORED = {
    "duration",
    "time",
    "unsigned epoch",
    "boolean",
    "bytes value",
    "struct",
    "null",
    "restaurant with time",
    "nested restaurant",
}


@pytest.mark.parametrize("name", ODD_COLUMNS)
def test_every_type_is_read_or_named_in_the_message(tmp_path: Path, bundle: Bundle, name: str) -> None:
    source = _write(tmp_path / "orders.parquet", **ODD_COLUMNS[name])
    document = score_file(source, tmp_path / "scored.parquet", bundle)
    assert document.predicted == (0 if name in UNSCORED else 1)
    assert sum(document.rejected.values()) == 1 - document.predicted
    assert summarize(tmp_path / "scored.parquet", ("rf", "xgb")).predicted == document.predicted
    if name in NOT_IN_CSV:
        with pytest.raises(DataError, match=r"CSV can't represent the column .*\.parquet"):
            score_file(source, tmp_path / "scored.csv", bundle)
    else:
        assert score_file(source, tmp_path / "scored.csv", bundle).predicted == document.predicted
    restaurants = bundle.history.restaurants
    assert preview_file(source, restaurants, TAKE_HOME_SCHEMA).predictable == document.predicted
    rows = open_source(source).frame().with_columns(prep_time_seconds=600)
    audited = audit_orders(rows, restaurants, need_label=True)
    assert write_rejects(audited, tmp_path / "rejects.csv") in {0, 1}
    assert render_text(summarize_audit(audited, len(restaurants)))
    if name in NOT_IN_DATABASE:
        with pytest.raises(DataError, match="The column extra has the type"):
            prepare_chunk(rows, restaurants, TAKE_HOME_SCHEMA)
    else:
        assert len(prepare_chunk(rows, restaurants, TAKE_HOME_SCHEMA).rejected) == 1
