"""Answers and outcomes meet by order key: late, twice, alone, from the batch and from the API."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import msgspec
import polars as pl
import pytest

from preptime.api.active_model import ActiveModel
from preptime.api.predict import predict, read_take_home_request, read_vertex_request
from preptime.api.service import PredictionRecord
from preptime.errors import DataError
from preptime.monitoring.outcomes import to_day_number
from preptime.monitoring.recorded_predictions import BUNDLE_COLUMN, FALLBACK_LEVEL_COLUMN, QUANTILE_COLUMNS
from preptime.scoring import scorer
from tests.api.factories import make_active_model
from tests.monitoring.factories import Place, done, known, order

JUNE_20 = dt.date(2015, 6, 20)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Nothing answered yet."""
    return Place(tmp_path)


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> ActiveModel:
    """A real bundle that answers."""
    return make_active_model(tmp_path_factory.mktemp("store"))


def logged(
    place: Place, serving: ActiveModel, orders: list[dict[str, object]], *, time: float = 1e9, to: str = "v1"
) -> None:
    """What the API writes for these orders: its own answer in its own record, on one line of a file of its name."""
    if to == "demo":
        answer = predict(
            msgspec.json.encode({"json_data": msgspec.json.encode(orders).decode()}),
            serving,
            100,
            read_take_home_request,
        )
    elif to == "vertex":
        answer = predict(msgspec.json.encode({"instances": orders}), serving, 100, read_vertex_request)
    else:
        answer = predict(msgspec.json.encode({"orders": orders}), serving, 100)
    record = PredictionRecord(
        time=time,
        request_id="r",
        key_name="dispatch",
        endpoint=to,
        bundle=serving.bundle.manifest.id,
        orders=answer.orders,
        response=answer.body,
    )
    place.log.mkdir(exist_ok=True)
    with (place.log / "predictions-2015-06-20-77-abcdef.jsonl").open("ab") as lines:
        lines.write(record.to_json_line() + b"\n")


def test_the_columns_of_a_partition_are_those_that_scoring_writes() -> None:
    assert tuple(map(scorer.quantile_column, (0.1, 0.5, 0.8, 0.9))) == QUANTILE_COLUMNS
    assert (scorer.FALLBACK_LEVEL, scorer.PREDICTION_BUNDLE) == (FALLBACK_LEVEL_COLUMN, BUNDLE_COLUMN)


def test_an_answer_meets_its_outcome(place: Place) -> None:
    place.predicted(JUNE_20, [order(0), order(5, restaurant=30)])
    joined = place.joined(pl.DataFrame([done(order(5, restaurant=30), 900), done(order(0), 700)]))
    assert joined.has_prediction.all()
    assert joined.actual.tolist() == [700.0, 900.0]
    assert joined.predicted.tolist() == [600.0, 600.0]
    assert joined.without_outcome.is_empty()


def test_an_outcome_without_an_answer_and_an_answer_without_an_outcome_are_both_kept(place: Place) -> None:
    place.predicted(JUNE_20, [order(0), order(1)])
    joined = place.joined(pl.DataFrame([done(order(0)), done(order(2))]))
    assert joined.has_prediction.tolist() == [True, False]
    assert joined.evaluated.tolist() == [True, False]
    assert joined.without_outcome["day"].to_list() == [to_day_number(JUNE_20)]


def test_an_outcome_that_comes_late_is_found_on_a_later_morning(place: Place) -> None:
    """Acknowledged on the 20th at 19:00, ready 28 hours later."""
    place.predicted(JUNE_20, [order(0)])
    orders = pl.DataFrame([done(order(0), 28 * 3600)])
    assert len(place.joined(orders, dt.date(2015, 6, 21)).without_outcome) == 1
    assert len(place.joined(orders, dt.date(2015, 6, 22)).without_outcome) == 0
    # It is answered, and over three hours: not evaluated.
    joined = place.joined(orders, dt.date(2015, 6, 22))
    assert (joined.has_prediction.tolist(), joined.evaluated.tolist()) == ([True], [False])


def test_an_order_delivered_twice_counts_once(place: Place) -> None:
    place.predicted(JUNE_20, [order(0, order_id="A-1")])
    again = pl.DataFrame([done(order(0, order_id="A-1"), 700), done(order(0, order_id="A-1"), 700)])
    assert len(place.joined(again)) == 1


def test_a_row_that_came_before_its_outcome_does_not_hide_it(place: Place) -> None:
    """The same order first open, then with its outcome: the outcome counts."""
    place.predicted(JUNE_20, [order(0, order_id="A-1")])
    joined = place.joined(pl.DataFrame([done(order(0, order_id="A-1"), None), done(order(0, order_id="A-1"), 700)]))
    assert (joined.has_prediction.tolist(), joined.actual.tolist(), joined.evaluated.tolist()) == (
        [True],
        [700.0],
        [True],
    )


def test_an_order_still_open_is_no_outcome() -> None:
    found = known(pl.DataFrame([done(order(0), None), done(order(1), 600)]))
    assert len(found.outcomes) == 1
    assert len(found.audited_days) == 1


def test_the_api_and_the_batch_answer_the_same_order_and_it_counts_once_with_the_apis_answer(
    place: Place, serving: ActiveModel
) -> None:
    both, batch_only = order(0), order(1)
    place.predicted(JUNE_20, [both, batch_only])
    logged(place, serving, [both, order(2)])
    answers = place.answers()
    assert (len(answers), answers.in_both, answers.repeated) == (3, 1, 0)
    joined = place.joined(pl.DataFrame([done(both), done(batch_only), done(order(2))]))
    assert joined.from_api.tolist() == [True, False, True]
    assert joined.bundle_ids[joined.bundle_code[0]] == serving.bundle.manifest.id
    assert joined.predicted[0] != 600.0
    assert joined.predicted[1] == 600.0


def test_asked_twice_the_first_answer_counts(place: Place, serving: ActiveModel, tmp_path: Path) -> None:
    slower = make_active_model(tmp_path, shift=300.0)
    logged(place, slower, [order(0)], time=2_000.0)
    logged(place, serving, [order(0)], time=1_000.0)
    answers = place.answers()
    assert answers.repeated == 1
    assert answers.frame["bundle"].to_list() == [serving.bundle.manifest.id]


@pytest.mark.parametrize("to", ["v1", "vertex", "demo"])
def test_every_route_of_the_api_is_understood(place: Place, serving: ActiveModel, to: str) -> None:
    """The types here are not the API's; what it writes today has to be read by them."""
    orders = [order(0), order(1, number_of_items=-3), order(2, restaurant=999)]
    logged(place, serving, orders, to=to)
    frame = place.answers().frame
    assert len(frame) == 2  # the order of -3 items was refused, by all of them
    p50 = sorted(frame[QUANTILE_COLUMNS[1]].to_list())
    assert all(seconds > 0 for seconds in p50)
    has_interval = not frame[QUANTILE_COLUMNS[0]].is_nan().any()
    assert has_interval == (to != "demo")
    joined = place.joined(pl.DataFrame([done(order(0)), done(order(2, restaurant=999))]))
    assert joined.has_prediction.all()


@pytest.mark.parametrize(
    "spelling",
    [
        order(0),
        order(0, order_acknowledged_at="2015-06-20T19:00:00+01:00"),
        order(0, order_acknowledged_at="2015-06-20T18:00:00Z"),
        order(0, order_acknowledged_at=1_434_823_200),
        order(0, order_acknowledged_at=1_434_823_200_000),
        order(0, order_acknowledged_at=1_434_823_200.0),
        order(0, restaurant_id="10", number_of_items="2", order_value_gbp="20.50"),
        order(0, restaurant_id=10.0, number_of_items=2.0),
    ],
)
def test_however_a_client_spells_an_order_its_outcome_is_found(
    place: Place, serving: ActiveModel, spelling: dict[str, object]
) -> None:
    logged(place, serving, [spelling])
    assert place.joined(pl.DataFrame([done(order(0))])).has_prediction.tolist() == [True]


@pytest.mark.parametrize(("asked", "kept"), [("A-1", "A-1"), (17, "17"), (17.0, "17"), (17, 17)])
def test_an_order_id_is_enough(place: Place, serving: ActiveModel, asked: object, kept: object) -> None:
    """With an id nothing else has to agree: the value may have been changed since."""
    logged(place, serving, [order(0, order_id=asked)])
    orders = pl.DataFrame([done(order(0, order_id=kept, order_value_gbp=99.0))])
    assert place.joined(orders).has_prediction.tolist() == [True]


def test_half_a_line_is_counted_and_passed_over(place: Place, serving: ActiveModel) -> None:
    logged(place, serving, [order(0)])
    path = next(place.log.iterdir())
    path.write_bytes(path.read_bytes() + path.read_bytes()[:50] + b"\n\xff\xfe\n[]\n")
    (place.log / "notes.txt").write_text("no log")
    answers = place.answers()
    assert (len(answers), answers.unreadable_lines) == (1, 3)


def test_an_answer_to_an_order_that_nothing_identifies_is_counted(place: Place, serving: ActiveModel) -> None:
    logged(place, serving, [order(0)])
    path = next(place.log.iterdir())
    path.write_bytes(path.read_bytes().replace(b'"restaurant_id":10', b'"restaurant_id":null'))
    answers = place.answers()
    assert (len(answers), answers.unidentified) == (0, 1)


def test_a_damaged_partition_is_named(place: Place) -> None:
    place.predicted(JUNE_20, [order(0)])
    place.predicted(dt.date(2015, 6, 19), [order(0, day=19)])
    path = place.results.path(JUNE_20, "predictions.parquet")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"date=2015-06-20/predictions\.parquet cannot be read.*--date 2015-06-20"):
        place.answers()


def test_a_partition_of_another_making_is_named(place: Place) -> None:
    path = place.results.path(JUNE_20, "predictions.parquet")
    path.parent.mkdir(parents=True)
    pl.DataFrame({"order_key": ["a"]}).write_parquet(path)
    with pytest.raises(DataError, match=r"date=2015-06-20/predictions\.parquet cannot be read"):
        place.answers()


def test_nothing_answered_is_nothing(place: Place) -> None:
    assert len(place.answers()) == 0
    joined = place.joined(pl.DataFrame([done(order(0))]))
    assert not joined.has_prediction.any()


def test_days_are_those_of_the_restaurants_own_clock(place: Place, serving: ActiveModel) -> None:
    """Half past midnight in Paris is the day before in London, and in UTC."""
    paris = order(0, restaurant=30, order_acknowledged_at="2015-06-20T22:30:00Z")
    london = order(0, restaurant=10, order_acknowledged_at="2015-06-20T22:30:00Z")
    logged(place, serving, [paris, london])
    days = dict(place.answers().frame.select("day", "bundle").group_by("day").len().iter_rows())
    assert days == {to_day_number(dt.date(2015, 6, 20)): 1, to_day_number(dt.date(2015, 6, 21)): 1}
