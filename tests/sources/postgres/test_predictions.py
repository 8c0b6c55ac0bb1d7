from __future__ import annotations

import datetime as dt
import secrets
import threading

import polars as pl
import psycopg
import pytest

from preptime.domain.data_dictionary import ORDERS_DICTIONARY, OUTCOME_COLUMNS
from preptime.errors import DataError, OperationError, UsageError
from preptime.schema.toml_file import parse_schema
from preptime.scoring import scorer
from preptime.sources.predictions import BUNDLE_COLUMN, TYPED_COLUMNS
from preptime.sources.registry import open_prediction_store
from preptime.validation.audit import audit_orders
from preptime.validation.duplicates import ORDER_KEY, order_keys
from tests.sources.loading import load_rows, prepare_database
from tests.validation.factories import make_month, make_order, make_orders, make_restaurant_index

DAY = dt.date(2015, 6, 1)
LEVELS = ("p10", "p50", "p80", "p90")


def _make_predictions(rows: pl.DataFrame, bundle: str, *, models: tuple[str, ...] = ("rf", "cat")) -> pl.DataFrame:
    """Return a frame as scoring a day returns it, with invented predictions."""
    keys = order_keys(audit_orders(rows, make_restaurant_index(), need_label=False).frame)
    seconds = pl.Series(range(len(rows)), dtype=pl.Float32) / 3 + 600
    return (
        rows.drop(OUTCOME_COLUMNS)
        .rename({"order_value_gbp": "order_value"})
        .with_columns(
            keys,
            pl.col("restaurant_id").cast(pl.String),
            predicted_seconds=seconds,
            **{f"predicted_{level}_seconds": seconds + offset for offset, level in enumerate(LEVELS)},
            **{f"predicted_{name}_seconds": seconds * 1.1 for name in models},
            predicted_ready_at=pl.lit("2015-06-01 19:10:00+01:00"),
            prediction_fallback_level=pl.lit("restaurant"),
            prediction_reason=pl.lit(None, pl.String),
            prediction_bundle=pl.lit(bundle),
        )
    )


@pytest.fixture
def url(database: str) -> str:
    return prepare_database(database)


ROWS = make_month(days=1, per_day=50)


def test_typed_columns_contain_all_scoring_columns() -> None:
    declared = {
        scorer.PREDICTED_SECONDS,
        scorer.PREDICTED_READY_AT,
        scorer.FALLBACK_LEVEL,
        scorer.PREDICTION_REASON,
    }
    declared |= {scorer.quantile_column(level) for level in (0.1, 0.5, 0.8, 0.9)}
    assert declared <= set(TYPED_COLUMNS)
    assert scorer.PREDICTION_BUNDLE == BUNDLE_COLUMN
    assert {column.name for column in ORDERS_DICTIONARY if column.name not in OUTCOME_COLUMNS} <= set(TYPED_COLUMNS)


def test_read_returns_written_predictions(url: str) -> None:
    predictions, frame = open_prediction_store(url), _make_predictions(ROWS, "b1")
    assert predictions.write(DAY, "b1", frame) == len(ROWS)
    back = predictions.read(DAY)
    other_columns = [name for name in frame.columns if name != "order_acknowledged_at"]
    assert back.select(other_columns).equals(frame.select(other_columns))
    timestamps = frame["order_acknowledged_at"].dt.strftime("%Y-%m-%dT%H:%M:%S%.6f").to_list()
    assert back["order_acknowledged_at"].to_list() == timestamps
    assert predictions.days() == [DAY]


def test_write_replaces_only_its_date_and_bundle(url: str) -> None:
    predictions = open_prediction_store(url)
    next_day = DAY + dt.timedelta(days=1)
    for day, bundle in ((DAY, "b1"), (DAY, "b2"), (next_day, "b1")):
        predictions.write(day, bundle, _make_predictions(ROWS, bundle))
    assert predictions.write(DAY, "b1", _make_predictions(ROWS[:5], "b1")) == 5
    assert [len(predictions.read(day, bundle)) for day, bundle in ((DAY, "b1"), (DAY, "b2"), (next_day, "b1"))] == [
        5,
        len(ROWS),
        len(ROWS),
    ]
    assert predictions.read(DAY)[BUNDLE_COLUMN].unique(maintain_order=True).to_list() == ["b1", "b2"]
    assert predictions.days() == [DAY, next_day]
    assert predictions.write(DAY, "b1", _make_predictions(ROWS[:0], "b1")) == 0
    assert predictions.read(DAY, "b1").is_empty()


def test_write_accepts_long_ids_and_nul(url: str) -> None:
    """PostgreSQL can't store the character NUL, and an index can't hold a long ID."""
    long_id = secrets.token_hex(4_000)
    ids = ["a\0b", long_id, "c"]
    rows = make_orders(*(make_order(order_id=order_id, city="x\0", note="y\0z", kind="k\0") for order_id in ids))
    rows = rows.with_columns(pl.col("kind").cast(pl.Categorical))
    predictions = open_prediction_store(url)
    assert predictions.write(DAY, "b1", _make_predictions(rows, "b1")) == 3
    back = predictions.read(DAY)
    assert back["order_id"].to_list() == ["a\ufffdb", long_id, "c"]
    assert back[ORDER_KEY].to_list()[0] == "a\ufffdb"
    assert back.select("city", "note", "kind").unique().rows() == [("x\ufffd", "y\ufffdz", "k\ufffd")]


def test_write_stores_custom_features_by_their_names(url: str) -> None:
    schema = parse_schema("""
[orders]
order_acknowledged_at = "created"
restaurant_id = "store"
[features]
distance = { column = "km", type = "number" }
channel = { column = "city", type = "category" }
""")
    frame = pl.DataFrame({ORDER_KEY: ["a"], "km": ["1.50"], "city": [" app "], "": ["0"], "column_0": ["x"]})
    predictions = open_prediction_store(url)
    predictions.write(DAY, "b1", frame, schema)
    back = predictions.read(DAY)
    assert back.select("distance", "channel", "", "column_0", "city").row(0) == ("1.5", "app", "0", "x", None)
    assert not {"km", "column_1"} & set(back.columns)


def test_read_is_independent_of_the_servers_date_style(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as session:
        session.execute(f"ALTER DATABASE {session.info.dbname} SET datestyle = 'SQL, MDY'".encode())
    predictions, day = open_prediction_store(url), dt.date(2015, 6, 24)
    predictions.write(day, "b1", _make_predictions(ROWS, "b1"))
    assert len(predictions.read(day)) == len(ROWS)
    assert predictions.days() == [day]


def test_read_bundles_with_different_models_fills_nulls(url: str) -> None:
    predictions = open_prediction_store(url)
    predictions.write(DAY, "b1", _make_predictions(ROWS, "b1", models=("rf",)))
    predictions.write(DAY, "b2", _make_predictions(ROWS, "b2", models=()))
    both = predictions.read(DAY)
    assert both.filter(pl.col(BUNDLE_COLUMN) == "b1")["predicted_rf_seconds"].null_count() == 0
    assert both.filter(pl.col(BUNDLE_COLUMN) == "b2")["predicted_rf_seconds"].null_count() == len(ROWS)


def test_write_keeps_first_per_key_and_rows_without_key(url: str) -> None:
    frame = _make_predictions(ROWS, "b1")
    unknown = frame[:2].with_columns(
        pl.lit(None, pl.String).alias(ORDER_KEY), prediction_reason=pl.lit("missing_value")
    )
    assert open_prediction_store(url).write(DAY, "b1", pl.concat([frame, frame[:3], unknown])) == len(ROWS) + 2


def test_write_lost_connection_keeps_previous_rows(url: str) -> None:
    predictions = open_prediction_store(url)
    predictions.write(DAY, "b1", _make_predictions(ROWS, "b1"))
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
        predictions.write(DAY, "b1", _make_predictions(ROWS, "b1").with_columns(predicted_seconds=pl.lit(1.0)))
    assert predictions.read(DAY)["predicted_seconds"].min() == 600


def test_write_concurrently_keeps_one_complete_frame(url: str) -> None:
    frames = [
        _make_predictions(ROWS, "b1").with_columns(predicted_seconds=pl.lit(float(number))) for number in range(4)
    ]
    threads = [threading.Thread(target=open_prediction_store(url).write, args=(DAY, "b1", frame)) for frame in frames]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    back = open_prediction_store(url).read(DAY)
    assert len(back) == len(ROWS)
    assert back["predicted_seconds"].n_unique() == 1


def test_prediction_outcomes_view_joins_by_key(url: str) -> None:
    load_rows(url, ROWS.drop(OUTCOME_COLUMNS))
    open_prediction_store(url).write(DAY, "b1", _make_predictions(ROWS, "b1"))
    count = "SELECT count(*), sum(prep_time_seconds) FROM preptime.prediction_outcomes"
    with psycopg.connect(url) as connection:
        assert connection.execute(count).fetchone() == (0, None)
    load_rows(url, ROWS.drop("prep_time_seconds"))
    with psycopg.connect(url) as connection:
        assert connection.execute(count).fetchone() == (len(ROWS), ROWS["prep_time_seconds"].sum())


def test_write_without_key_or_to_a_file_raises(url: str) -> None:
    with pytest.raises(UsageError, match="have no column order_key"):
        open_prediction_store(url).write(DAY, "b1", ROWS)
    with pytest.raises(UsageError, match="isn't the URL of a database"):
        open_prediction_store("predictions.parquet")


def test_write_without_schema_raises(database: str) -> None:
    with pytest.raises(DataError, match="preptime ingest"):
        open_prediction_store(database).write(DAY, "b1", _make_predictions(ROWS, "b1"))
