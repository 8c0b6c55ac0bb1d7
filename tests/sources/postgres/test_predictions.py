from __future__ import annotations

import datetime as dt
import threading

import polars as pl
import psycopg
import pytest

from preptime.domain.data_dictionary import ORDERS_DICTIONARY, OUTCOME_COLUMNS
from preptime.errors import DataError, OperationError, UsageError
from preptime.scoring import scorer as scoring
from preptime.sources.predictions import BUNDLE_COLUMN, TYPED_COLUMNS
from preptime.sources.registry import open_prediction_store
from preptime.validation.audit import audit_orders
from preptime.validation.duplicates import ORDER_KEY as KEY
from preptime.validation.duplicates import order_keys
from tests.sources.loading import load, prepared
from tests.validation.factories import directory, month

DAY = dt.date(2015, 6, 1)
LEVELS = ("p10", "p50", "p80", "p90")


def _answers(rows: pl.DataFrame, bundle: str, *, models: tuple[str, ...] = ("rf", "cat")) -> pl.DataFrame:
    """What scoring a day gives, with made-up seconds."""
    keys = order_keys(rows, audit_orders(rows, directory(), need_label=False).frame)
    seconds = pl.Series(range(len(rows)), dtype=pl.Float32) / 3 + 600
    return rows.drop(OUTCOME_COLUMNS).with_columns(
        keys,
        predicted_seconds=seconds,
        **{f"predicted_{level}_seconds": seconds + place for place, level in enumerate(LEVELS)},
        **{f"predicted_{name}_seconds": seconds * 1.1 for name in models},
        predicted_ready_at=pl.lit("2015-06-01 19:10:00+01:00"),
        prediction_fallback_level=pl.lit("restaurant"),
        prediction_reason=pl.lit(None, pl.String),
        prediction_bundle=pl.lit(bundle),
    )


@pytest.fixture
def url(database: str) -> str:
    return prepared(database)


ROWS = month(days=1, per_day=50)


def test_the_columns_of_scoring_have_their_places() -> None:
    declared = {
        scoring.PREDICTED_SECONDS,
        scoring.PREDICTED_READY_AT,
        scoring.FALLBACK_LEVEL,
        scoring.PREDICTION_REASON,
    }
    declared |= {scoring.quantile_column(level) for level in (0.1, 0.5, 0.8, 0.9)}
    assert declared <= set(TYPED_COLUMNS)
    assert scoring.PREDICTION_BUNDLE == BUNDLE_COLUMN
    assert {column.name for column in ORDERS_DICTIONARY if column.name not in OUTCOME_COLUMNS} <= set(TYPED_COLUMNS)


def test_what_was_written_is_read(url: str) -> None:
    predictions, frame = open_prediction_store(url), _answers(ROWS, "b1")
    assert predictions.write(DAY, "b1", frame) == len(ROWS)
    back = predictions.read(DAY)
    same = [name for name in frame.columns if name != "order_acknowledged_at"]
    assert back.select(same).equals(frame.select(same))
    moments = frame["order_acknowledged_at"].dt.strftime("%Y-%m-%dT%H:%M:%S%.6f").to_list()
    assert back["order_acknowledged_at"].to_list() == moments
    assert predictions.days() == [DAY]


def test_a_rerun_replaces_its_own_date_and_bundle_and_nothing_else(url: str) -> None:
    predictions = open_prediction_store(url)
    other = DAY + dt.timedelta(days=1)
    for day, bundle in ((DAY, "b1"), (DAY, "b2"), (other, "b1")):
        predictions.write(day, bundle, _answers(ROWS, bundle))
    assert predictions.write(DAY, "b1", _answers(ROWS[:5], "b1")) == 5
    assert [len(predictions.read(day, bundle)) for day, bundle in ((DAY, "b1"), (DAY, "b2"), (other, "b1"))] == [
        5,
        len(ROWS),
        len(ROWS),
    ]
    assert predictions.read(DAY)[BUNDLE_COLUMN].unique(maintain_order=True).to_list() == ["b1", "b2"]
    assert predictions.days() == [DAY, other]
    assert predictions.write(DAY, "b1", _answers(ROWS[:0], "b1")) == 0
    assert predictions.read(DAY, "b1").is_empty()


def test_bundles_with_other_models_stand_beside_each_other(url: str) -> None:
    predictions = open_prediction_store(url)
    predictions.write(DAY, "b1", _answers(ROWS, "b1", models=("rf",)))
    predictions.write(DAY, "b2", _answers(ROWS, "b2", models=()))
    both = predictions.read(DAY)
    assert both.filter(pl.col(BUNDLE_COLUMN) == "b1")["predicted_rf_seconds"].null_count() == 0
    assert both.filter(pl.col(BUNDLE_COLUMN) == "b2")["predicted_rf_seconds"].null_count() == len(ROWS)


def test_the_same_order_twice_is_one_prediction_and_what_nothing_identifies_stays(url: str) -> None:
    frame = _answers(ROWS, "b1")
    unknown = frame[:2].with_columns(pl.lit(None, pl.String).alias(KEY), prediction_reason=pl.lit("missing_value"))
    assert open_prediction_store(url).write(DAY, "b1", pl.concat([frame, frame[:3], unknown])) == len(ROWS) + 2


def test_a_writer_that_is_cut_off_leaves_the_answers_before(url: str) -> None:
    predictions = open_prediction_store(url)
    predictions.write(DAY, "b1", _answers(ROWS, "b1"))
    with psycopg.connect(url) as connection:
        connection.execute(
            "CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$"
        )
        connection.execute(
            "CREATE TRIGGER cut BEFORE INSERT ON preptime.predictions FOR EACH ROW WHEN (NEW.position = 40) "
            "EXECUTE FUNCTION cut()"
        )
    with pytest.raises(OperationError, match="was lost while it was written"):
        predictions.write(DAY, "b1", _answers(ROWS, "b1").with_columns(predicted_seconds=pl.lit(1.0)))
    assert predictions.read(DAY)["predicted_seconds"].min() == 600


def test_two_that_score_the_same_date_leave_one_whole_answer(url: str) -> None:
    frames = [_answers(ROWS, "b1").with_columns(predicted_seconds=pl.lit(float(number))) for number in range(4)]
    threads = [threading.Thread(target=open_prediction_store(url).write, args=(DAY, "b1", frame)) for frame in frames]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    back = open_prediction_store(url).read(DAY)
    assert len(back) == len(ROWS)
    assert back["predicted_seconds"].n_unique() == 1


def test_predictions_meet_their_outcomes_by_key(url: str) -> None:
    load(url, ROWS.drop(OUTCOME_COLUMNS))
    open_prediction_store(url).write(DAY, "b1", _answers(ROWS, "b1"))
    count = "SELECT count(*), sum(prep_time_seconds) FROM preptime.prediction_outcomes"
    with psycopg.connect(url) as connection:
        assert connection.execute(count).fetchone() == (0, None)
    load(url, ROWS.drop("prep_time_seconds"))
    with psycopg.connect(url) as connection:
        assert connection.execute(count).fetchone() == (len(ROWS), ROWS["prep_time_seconds"].sum())


def test_what_cannot_be_written_is_said(url: str) -> None:
    with pytest.raises(UsageError, match="have no column order_key"):
        open_prediction_store(url).write(DAY, "b1", ROWS)
    with pytest.raises(UsageError, match="isn't a database"):
        open_prediction_store("predictions.parquet")


def test_a_database_without_our_tables_is_said(database: str) -> None:
    with pytest.raises(DataError, match="preptime ingest"):
        open_prediction_store(database).write(DAY, "b1", _answers(ROWS, "b1"))
