from __future__ import annotations

import threading

import psycopg
import pytest

from preptime.errors import DataError
from preptime.sources.postgres.connection import PostgresAddress
from preptime.sources.postgres.migrate import list_migrations, migrate
from preptime.sources.registry import open_database, open_source
from tests.postgres import CLERK_CREDENTIAL


def test_list_migrations_numbers_have_no_gaps() -> None:
    assert [migration.number for migration in list_migrations()] == list(range(1, len(list_migrations()) + 1))


def test_list_migrations_applied_files_never_change() -> None:
    """Existing databases were created from these files. For a change, add a new file."""
    assert {migration.name: migration.digest[:12] for migration in list_migrations()} == {
        "0001_orders.sql": "816b8263ad8b",
        "0002_predictions.sql": "fffcf46552d5",
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
