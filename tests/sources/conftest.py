"""Fixtures with empty databases to load into."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sources.bigquery.fake_bigquery import FakeBigQuery, serve_fake_bigquery


@pytest.fixture
def fake(database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeBigQuery]:
    """A fake BigQuery service with an empty dataset. The client library is configured to use it."""
    with serve_fake_bigquery(database) as (host, service):
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", host)
        yield service


@pytest.fixture
def dataset(fake: FakeBigQuery) -> str:
    """The address of the dataset of the fake."""
    return "bigquery://our-project.food"
