from __future__ import annotations

import datetime as dt

import pytest

from preptime.errors import UsageError
from preptime.sources.database import DateRange
from preptime.sources.postgres.connection import PostgresAddress


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("postgresql://me@db.example:5433/food", "postgresql://me@db.example:5433/food"),
        ("postgresql://me:s3cret@db/food", "postgresql://me@db/food"),
        ("postgresql://me:s3cret%40x@db/food?sslmode=require", "postgresql://me@db/food?sslmode=require"),
        ("postgresql:///food?password=s3cret&user=me", "postgresql:///food?user=me"),
        ("postgresql:///food?host=/run/postgresql&table=orders", "postgresql:///food?host=/run/postgresql"),
        ("postgresql://db/food?table=restaurants", "postgresql://db/food?table=restaurants"),
        ("postgresql://db/food?day=2015-06-24", "postgresql://db/food?day=2015-06-24"),
        ("postgresql://db/food?day=2015-06-01..2015-06-07", "postgresql://db/food?day=2015-06-01..2015-06-07"),
        ("postgres://me:s3cret@one,two:5433/food", "postgresql://me@one,two:5433/food"),
        ("postgresql://", "postgresql://"),
    ],
)
def test_address_name_is_equivalent_and_has_no_secret(url: str, name: str) -> None:
    address = PostgresAddress.parse(url)
    assert address.name == name
    reparsed = PostgresAddress.parse(address.name)
    assert (reparsed.name, reparsed.table, reparsed.days) == (address.name, address.table, address.days)
    assert "s3cret" not in address.name + address.database_url + address.table_url("restaurants")


def test_address_removes_own_parameters_for_libpq() -> None:
    address = PostgresAddress.parse("postgresql://db/food?table=orders&day=2015-06-24&sslmode=require")
    assert address.conninfo == "postgresql://db/food?sslmode=require"
    assert address.days == DateRange(dt.date(2015, 6, 24), dt.date(2015, 6, 24))


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("table=order", "There is no table=order. The tables are orders, restaurants, predictions."),
        ("day=today", "day=today isn't a date or a range of dates. Use day=2015-06-24 or day=2015-06-01..2015-06-07."),
        ("day=2015-06-24..", "day=2015-06-24.. isn't a date or a range of dates."),
    ],
)
def test_address_invalid_table_or_day_raises(query: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        PostgresAddress.parse(f"postgresql://db/food?{query}")
    assert str(caught.value).startswith(message)
