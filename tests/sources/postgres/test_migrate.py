from __future__ import annotations

import datetime as dt
import threading

import psycopg
import pytest

from preptime.errors import DataError
from preptime.sources.postgres import migrate as migrate_module
from preptime.sources.postgres.connection import PostgresAddress
from preptime.sources.postgres.migrate import list_migrations, migrate
from preptime.sources.registry import open_database, open_prediction_store, open_source
from tests.postgres import CLERK_CREDENTIAL


def test_list_migrations_numbers_have_no_gaps() -> None:
    assert [migration.number for migration in list_migrations()] == list(range(1, len(list_migrations()) + 1))


def test_list_migrations_applied_files_never_change() -> None:
    """Existing databases were created from these files. For a change, add a new file."""
    assert {migration.name: migration.digest[:12] for migration in list_migrations()} == {
        "0001_orders.sql": "816b8263ad8b",
        "0002_predictions.sql": "fffcf46552d5",
        "0003_text_identifiers.sql": "183fdd15a76a",
    }


def test_prepare_twice_applies_nothing_the_second_time(database: str) -> None:
    names = tuple(migration.name for migration in list_migrations())
    assert open_database(database).prepare() == names
    assert open_database(database).prepare() == ()


def test_migrate_needs_only_ownership_of_the_schema(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", CLERK_CREDENTIAL)
    with psycopg.connect(database) as connection:
        connection.execute("CREATE SCHEMA preptime AUTHORIZATION clerk")
    assert migrate(PostgresAddress.parse(database.replace("postgres@", "clerk@"))) == tuple(
        migration.name for migration in list_migrations()
    )
    with psycopg.connect(database) as connection:
        connection.execute("REASSIGN OWNED BY clerk TO postgres")


def test_migrate_concurrently_applies_each_migration_once(database: str) -> None:
    applied: list[tuple[str, ...]] = []
    threads = [
        threading.Thread(target=lambda: applied.append(migrate(PostgresAddress.parse(database)))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(len, applied)) == [0, 0, len(list_migrations())]


def test_open_source_missing_migration_raises_with_command(database: str) -> None:
    migrate(PostgresAddress.parse(database))
    with psycopg.connect(database) as connection:
        connection.execute("DELETE FROM preptime.migrations WHERE number = 2")
    with pytest.raises(
        DataError, match=r"lacks the migration 0002_predictions.sql. To apply them, run: preptime ingest --to "
    ):
        open_source(database)


_OLD_ROWS = b"""
CREATE TABLE preptime.orders_20150601 PARTITION OF preptime.orders FOR VALUES IN ('2015-06-01');
CREATE TABLE preptime.predictions_20150601 PARTITION OF preptime.predictions FOR VALUES IN ('2015-06-01');
INSERT INTO preptime.orders (
    order_key, order_date, acknowledged_at, acknowledged_local, order_acknowledged_at, order_value_gbp, restaurant_id,
    number_of_items, prep_time_seconds, order_id, extra
)
SELECT 'k' || number, '2015-06-01', '2015-06-01 18:00Z', '2015-06-01 19:00', '2015-06-01 19:00', 21.4, id, 3, 600,
    'k' || number, extra::jsonb
FROM (
    VALUES (1, 7, '{"note": "a", "order_value": "x"}'), (2, 9223372036854775807, NULL), (3, NULL, NULL)
) AS old (number, id, extra);
INSERT INTO preptime.order_days SELECT order_key, order_date FROM preptime.orders;
INSERT INTO preptime.restaurants VALUES (10, 'UK', 'London', 'thai'), (7, 'UK', 'Leeds', 'thai');
INSERT INTO preptime.columns VALUES
    ('orders', 0, 'order_acknowledged_at'), ('orders', 1, 'order_value_gbp'), ('orders', 2, 'restaurant_id'),
    ('orders', 3, 'order_id'), ('orders', 4, 'order_value'), ('orders', 5, 'note'),
    ('restaurants', 0, 'restaurant_id'), ('restaurants', 1, 'country'), ('restaurants', 2, 'city');
INSERT INTO preptime.predictions (
    prediction_date, prediction_bundle, position, order_key, order_value_gbp, restaurant_id, predicted_seconds
) VALUES ('2015-06-01', 'b', 0, 'k1', 21.4, 7, 610);
"""


def _create_with_integers(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Create a database with the first two migrations, and with rows of the version that applied them."""
    first_two = list_migrations()[:2]
    with monkeypatch.context() as patch:
        patch.setattr(migrate_module, "list_migrations", lambda: first_two)
        assert len(migrate(PostgresAddress.parse(database))) == 2
    with psycopg.connect(database) as connection:
        connection.execute(_OLD_ROWS)


def test_migrate_converts_integer_ids_without_loss(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _create_with_integers(database, monkeypatch)
    with pytest.raises(DataError, match=r"lacks the migration 0003_text_identifiers\.sql"):
        open_source(database)
    assert open_database(database).prepare() == ("0003_text_identifiers.sql",)
    orders = open_source(database).frame().sort("order_id", nulls_last=True)
    assert orders.columns[2:8] == ["order_value", "restaurant_id", "order_id", "order_value_other", "note", "_file"]
    assert orders["restaurant_id"].to_list() == ["7", "9223372036854775807", None]
    assert orders["order_value"].to_list() == [21.4, 21.4, 21.4]
    assert orders["order_value_other"].to_list() == ["x", None, None]
    assert orders["note"].to_list() == ["a", None, None]
    restaurants = open_source(f"{database}&table=restaurants").frame()
    assert restaurants.select("restaurant_id", "city").rows() == [("10", "London"), ("7", "Leeds")]
    (predicted,) = open_prediction_store(database).read(dt.date(2015, 6, 1)).rows(named=True)
    assert (predicted["restaurant_id"], predicted["order_value"]) == ("7", pytest.approx(21.4))
    with psycopg.connect(database) as connection:
        outcomes = connection.execute(
            "SELECT restaurant_id, order_value, prep_time_seconds FROM preptime.prediction_outcomes"
        ).fetchall()
    assert outcomes == [("7", 21.4, 600)]


def test_migrate_newer_database_raises(database: str) -> None:
    migrate(PostgresAddress.parse(database))
    with psycopg.connect(database) as connection:
        connection.execute("INSERT INTO preptime.migrations (number, name, sha256) VALUES (99, '0099_x.sql', '')")
    with pytest.raises(DataError, match="created by a newer version of preptime"):
        open_source(database)
    with pytest.raises(DataError, match="created by a newer version of preptime"):
        migrate(PostgresAddress.parse(database))


def test_migrate_changed_migration_raises(database: str) -> None:
    migrate(PostgresAddress.parse(database))
    with psycopg.connect(database) as connection:
        connection.execute("UPDATE preptime.migrations SET sha256 = 'other' WHERE number = 1")
    with pytest.raises(DataError, match=r"created from a different version of 0001_orders\.sql"):
        migrate(PostgresAddress.parse(database))
