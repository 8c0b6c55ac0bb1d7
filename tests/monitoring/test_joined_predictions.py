"""Predictions and outcomes joined by order key: late, repeated, missing, from the batch, and from the API."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from preptime.api.active_model import ActiveModel
from preptime.api.predict import predict, read_take_home_request, read_vertex_request
from preptime.api.service import PredictionRecord
from preptime.bundle.store import Store
from preptime.errors import DataError
from preptime.monitoring.daily_metrics import DailyCounts, OrderMetrics, segment_metrics
from preptime.monitoring.document import DateRange
from preptime.monitoring.outcomes import hash_keys, to_day_number
from preptime.monitoring.recorded_predictions import (
    BUNDLE_COLUMN,
    FALLBACK_LEVEL_COLUMN,
    NO_FALLBACK_LEVEL,
    QUANTILE_COLUMNS,
    read_predictions,
)
from preptime.scoring import scorer
from preptime.sources.prediction_logs import PredictionLogFolder
from preptime.validation.audit import audit_orders
from preptime.validation.duplicates import order_keys
from tests.api.company import COMPANY_ORDER, COMPANY_SCHEMA, put_company_bundle
from tests.api.factories import load_active_model, make_active_model
from tests.monitoring.factories import FIRST, PredictionFolders, make_order, read_known_outcomes, with_outcome

JUNE_20 = dt.date(2015, 6, 20)


@pytest.fixture
def folders(tmp_path: Path) -> PredictionFolders:
    """Folders without predictions."""
    return PredictionFolders(tmp_path)


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> ActiveModel:
    """A real bundle that predictions."""
    return make_active_model(tmp_path_factory.mktemp("store"))


def log_predictions(
    folders: PredictionFolders,
    serving: ActiveModel,
    orders: list[dict[str, object]],
    *,
    time: float = 1e9,
    route: str = "v1",
) -> None:
    """Write what the API logs for these orders: its response in its record, as one line of its file."""
    if route == "take_home":
        result = predict(
            msgspec.json.encode({"json_data": msgspec.json.encode(orders).decode()}),
            serving,
            100,
            read_take_home_request,
        )
    elif route == "vertex":
        result = predict(msgspec.json.encode({"instances": orders}), serving, 100, read_vertex_request)
    else:
        result = predict(msgspec.json.encode({"orders": orders}), serving, 100)
    record = PredictionRecord(
        time=time,
        request_id="r",
        key_name="dispatch",
        endpoint=route,
        bundle=serving.bundle.manifest.id,
        orders=result.orders,
        response=result.body,
    )
    folders.log.mkdir(exist_ok=True)
    with (folders.log / "predictions-2015-06-20-77-abcdef.jsonl").open("ab") as lines:
        lines.write(record.to_json_line() + b"\n")


def test_partition_columns_match_scorer() -> None:
    assert tuple(map(scorer.quantile_column, (0.1, 0.5, 0.8, 0.9))) == QUANTILE_COLUMNS
    assert (scorer.FALLBACK_LEVEL, scorer.PREDICTION_BUNDLE) == (FALLBACK_LEVEL_COLUMN, BUNDLE_COLUMN)


def test_join_matches_prediction_and_outcome(folders: PredictionFolders) -> None:
    folders.write_predictions(JUNE_20, [make_order(0), make_order(5, restaurant=30)])
    joined = folders.join_orders(
        pl.DataFrame([with_outcome(make_order(5, restaurant=30), 900), with_outcome(make_order(0), 700)])
    )
    assert joined.has_prediction.all()
    assert joined.actual.tolist() == [700.0, 900.0]
    assert joined.predicted.tolist() == [600.0, 600.0]
    assert joined.without_outcome.is_empty()


def test_join_keeps_unmatched_predictions_and_outcomes(folders: PredictionFolders) -> None:
    folders.write_predictions(JUNE_20, [make_order(0), make_order(1)])
    joined = folders.join_orders(pl.DataFrame([with_outcome(make_order(0)), with_outcome(make_order(2))]))
    assert joined.has_prediction.tolist() == [True, False]
    assert joined.evaluated.tolist() == [True, False]
    assert joined.without_outcome["day"].to_list() == [to_day_number(JUNE_20)]


def test_join_finds_late_outcome_on_later_date(folders: PredictionFolders) -> None:
    """The order is acknowledged on June 20 at 19:00 and is ready 28 hours later."""
    folders.write_predictions(JUNE_20, [make_order(0)])
    orders = pl.DataFrame([with_outcome(make_order(0), 28 * 3600)])
    assert len(folders.join_orders(orders, dt.date(2015, 6, 21)).without_outcome) == 1
    assert len(folders.join_orders(orders, dt.date(2015, 6, 22)).without_outcome) == 0
    # It has a prediction, but its label is over three hours, so it isn't evaluated.
    joined = folders.join_orders(orders, dt.date(2015, 6, 22))
    assert (joined.has_prediction.tolist(), joined.evaluated.tolist()) == ([True], [False])


def test_join_counts_repeated_order_once(folders: PredictionFolders) -> None:
    folders.write_predictions(JUNE_20, [make_order(0, order_id="A-1")])
    repeated = pl.DataFrame(
        [with_outcome(make_order(0, order_id="A-1"), 700), with_outcome(make_order(0, order_id="A-1"), 700)]
    )
    assert len(folders.join_orders(repeated)) == 1


def test_join_open_row_does_not_hide_outcome(folders: PredictionFolders) -> None:
    """The same order is first open and then has an outcome. The outcome counts."""
    folders.write_predictions(JUNE_20, [make_order(0, order_id="A-1")])
    joined = folders.join_orders(
        pl.DataFrame(
            [with_outcome(make_order(0, order_id="A-1"), None), with_outcome(make_order(0, order_id="A-1"), 700)]
        )
    )
    assert (joined.has_prediction.tolist(), joined.actual.tolist(), joined.evaluated.tolist()) == (
        [True],
        [700.0],
        [True],
    )


def test_read_outcomes_excludes_open_orders() -> None:
    audited = read_known_outcomes(pl.DataFrame([with_outcome(make_order(0), None), with_outcome(make_order(1), 600)]))
    assert len(audited.outcomes) == 1
    assert len(audited.audited_days) == 1


def test_join_prefers_api_prediction_to_batch(folders: PredictionFolders, serving: ActiveModel) -> None:
    both, batch_only = make_order(0), make_order(1)
    folders.write_predictions(JUNE_20, [both, batch_only])
    log_predictions(folders, serving, [both, make_order(2)])
    predictions = folders.predictions()
    assert (len(predictions), predictions.in_both, predictions.repeated) == (3, 1, 0)
    joined = folders.join_orders(
        pl.DataFrame([with_outcome(both), with_outcome(batch_only), with_outcome(make_order(2))])
    )
    assert joined.from_api.tolist() == [True, False, True]
    assert joined.bundle_ids[joined.bundle_code[0]] == serving.bundle.manifest.id
    assert joined.predicted[0] != 600.0
    assert joined.predicted[1] == 600.0


def test_read_predictions_first_repeated_counts(
    folders: PredictionFolders, serving: ActiveModel, tmp_path: Path
) -> None:
    slower = make_active_model(tmp_path, shift=300.0)
    log_predictions(folders, slower, [make_order(0)], time=2_000.0)
    log_predictions(folders, serving, [make_order(0)], time=1_000.0)
    predictions = folders.predictions()
    assert predictions.repeated == 1
    assert predictions.frame["bundle"].to_list() == [serving.bundle.manifest.id]


@pytest.mark.parametrize("route", ["v1", "vertex", "take_home"])
def test_read_predictions_reads_every_api_route(folders: PredictionFolders, serving: ActiveModel, route: str) -> None:
    """The types of this package for the API's log read what the API writes."""
    orders = [make_order(0), make_order(1, number_of_items=-3), make_order(2, restaurant=999)]
    log_predictions(folders, serving, orders, route=route)
    frame = folders.predictions().frame
    assert len(frame) == 2  # every route rejects the order with -3 items
    p50 = sorted(frame[QUANTILE_COLUMNS[1]].to_list())
    assert all(seconds > 0 for seconds in p50)
    has_interval = not frame[QUANTILE_COLUMNS[0]].is_nan().any()
    assert has_interval == (route != "take_home")
    joined = folders.join_orders(
        pl.DataFrame([with_outcome(make_order(0)), with_outcome(make_order(2, restaurant=999))])
    )
    assert joined.has_prediction.all()


def test_join_pruned_bundle_has_no_fallback_level(folders: PredictionFolders, serving: ActiveModel) -> None:
    """The take-home route logs no level, and the history that would give it was pruned."""
    log_predictions(folders, serving, [make_order(0), make_order(1)], route="take_home")
    orders = pl.DataFrame([with_outcome(make_order(0))])
    joined = folders.join_orders(orders)
    assert joined.fallback_level.tolist() == [NO_FALLBACK_LEVEL]
    counts = DailyCounts.from_joined(joined, read_known_outcomes(orders), to_day_number(FIRST), 7)
    assert (counts.with_prediction.sum(), counts.by_fallback_level.sum()) == (2, 0)
    segments = segment_metrics(joined, OrderMetrics.from_joined(joined), np.ones(1, bool))
    assert "fallback_level" not in {segment.segment for segment in segments}


@pytest.mark.parametrize(
    "spelling",
    [
        make_order(0),
        make_order(0, order_acknowledged_at="2015-06-20T19:00:00+01:00"),
        make_order(0, order_acknowledged_at="2015-06-20T18:00:00Z"),
        make_order(0, order_acknowledged_at=1_434_823_200),
        make_order(0, order_acknowledged_at=1_434_823_200_000),
        make_order(0, order_acknowledged_at=1_434_823_200.0),
        make_order(0, restaurant_id="10", number_of_items="2", order_value_gbp="20.50"),
        make_order(0, restaurant_id=10.0, number_of_items=2.0),
    ],
)
def test_join_finds_outcome_for_any_spelling(
    folders: PredictionFolders, serving: ActiveModel, spelling: dict[str, object]
) -> None:
    log_predictions(folders, serving, [spelling])
    assert folders.join_orders(pl.DataFrame([with_outcome(make_order(0))])).has_prediction.tolist() == [True]


@pytest.mark.parametrize(("logged_id", "stored_id"), [("A-1", "A-1"), (17, "17"), (17.0, "17"), (17, 17)])
def test_join_matches_by_order_id_alone(
    folders: PredictionFolders, serving: ActiveModel, logged_id: object, stored_id: object
) -> None:
    """With an ID, no other field has to agree. The order's value can change later."""
    log_predictions(folders, serving, [make_order(0, order_id=logged_id)])
    orders = pl.DataFrame([with_outcome(make_order(0, order_id=stored_id, order_value_gbp=99.0))])
    assert folders.join_orders(orders).has_prediction.tolist() == [True]


def test_read_predictions_uses_the_schema_of_the_bundle(folders: PredictionFolders, tmp_path: Path) -> None:
    """Orders have text, numbers with a point, and an epoch. The file has text with a decimal comma."""
    store = Store.open(str(tmp_path / "models"))
    serving = load_active_model(store, put_company_bundle(store))
    written = [
        COMPANY_ORDER | {"created": f"20/06/2015 08:{minute:02d} PM", "cents": cents, "temperature": 21.5}
        for minute, cents in ((0, "21,5"), (1, "2.140"), (2, "300"))
    ]
    logged = [written[0] | {"cents": 21.5}, written[1] | {"created": 1_434_823_260}, written[2] | {"store": " S-10 "}]
    log_predictions(folders, serving, logged)
    restaurants = serving.bundle.history.restaurants
    frame = pl.DataFrame([{name: str(value) for name, value in order.items()} for order in written])
    audited = audit_orders(frame, restaurants, need_label=False, schema=COMPANY_SCHEMA).frame
    days = DateRange(first=JUNE_20, last=JUNE_20)
    schemas = {serving.bundle.manifest.id: COMPANY_SCHEMA}
    predictions = read_predictions(
        folders.results, PredictionLogFolder(folders.log), restaurants, days, schema_of=lambda bundle: schemas[bundle]
    )
    assert sorted(predictions.frame["key"].to_list()) == sorted(hash_keys(order_keys(audited)).tolist())


def test_read_predictions_counts_unreadable_lines(folders: PredictionFolders, serving: ActiveModel) -> None:
    log_predictions(folders, serving, [make_order(0)])
    path = next(folders.log.iterdir())
    path.write_bytes(path.read_bytes() + path.read_bytes()[:50] + b"\n\xff\xfe\n[]\n")
    (folders.log / "notes.txt").write_text("no log")
    predictions = folders.predictions()
    assert (len(predictions), predictions.unreadable_lines) == (1, 3)


def test_read_predictions_counts_orders_without_key(folders: PredictionFolders, serving: ActiveModel) -> None:
    log_predictions(folders, serving, [make_order(0)])
    path = next(folders.log.iterdir())
    path.write_bytes(path.read_bytes().replace(b'"restaurant_id":10', b'"restaurant_id":null'))
    predictions = folders.predictions()
    assert (len(predictions), predictions.unidentified) == (0, 1)


def test_read_predictions_names_damaged_partition(folders: PredictionFolders) -> None:
    folders.write_predictions(JUNE_20, [make_order(0)])
    folders.write_predictions(dt.date(2015, 6, 19), [make_order(0, day=19)])
    path = folders.results.path(JUNE_20, "predictions.parquet")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(
        DataError, match=r"date=2015-06-20/predictions\.parquet isn't a valid predictions file.*--date 2015-06-20"
    ):
        folders.predictions()


def test_read_predictions_below_wildcard_folder(tmp_path: Path) -> None:
    """The characters of wildcards in a path have no meaning."""
    folders = PredictionFolders(tmp_path / "r[1]")
    folders.write_predictions(JUNE_20, [make_order(0)])
    folders.write_predictions(dt.date(2015, 6, 19), [make_order(0, day=19)])
    assert len(folders.predictions()) == 2


def test_read_predictions_names_partition_without_columns(folders: PredictionFolders) -> None:
    path = folders.results.path(JUNE_20, "predictions.parquet")
    path.parent.mkdir(parents=True)
    pl.DataFrame({"order_key": ["a"]}).write_parquet(path)
    with pytest.raises(DataError, match=r"date=2015-06-20/predictions\.parquet isn't a valid predictions file"):
        folders.predictions()


def test_join_without_predictions(folders: PredictionFolders) -> None:
    assert len(folders.predictions()) == 0
    joined = folders.join_orders(pl.DataFrame([with_outcome(make_order(0))]))
    assert not joined.has_prediction.any()


def test_read_predictions_uses_restaurant_time_zone(folders: PredictionFolders, serving: ActiveModel) -> None:
    """00:30 in Paris is still the day before in London and in UTC."""
    paris = make_order(0, restaurant=30, order_acknowledged_at="2015-06-20T22:30:00Z")
    london = make_order(0, restaurant=10, order_acknowledged_at="2015-06-20T22:30:00Z")
    log_predictions(folders, serving, [paris, london])
    days = dict(folders.predictions().frame.select("day", "bundle").group_by("day").len().iter_rows())
    assert days == {to_day_number(dt.date(2015, 6, 20)): 1, to_day_number(dt.date(2015, 6, 21)): 1}
