"""Databases to load into, empty."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sources.bigquery.fake_bigquery import FakeBigQuery, serving


@pytest.fixture
def fake(database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeBigQuery]:
    """A fake BigQuery with an empty dataset, which the client library is led to."""
    with serving(database) as (host, service):
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", host)
        yield service


@pytest.fixture
def dataset(fake: FakeBigQuery) -> str:
    """The address of that dataset."""
    return "bigquery://our-project.food"
