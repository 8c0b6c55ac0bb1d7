"""The API's prediction log in BigQuery, in the table that a sink of Cloud Logging writes.

A sink names the table after the log, such as `run_googleapis_com_stdout` for Cloud Run and `stdout` for GKE. The fields
of an entry are in the column `jsonPayload`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import parse_qs

import msgspec
import polars as pl

from preptime.errors import DataError, UsageError
from preptime.network import split_url
from preptime.redaction import redact_address
from preptime.sources.bigquery import statements
from preptime.sources.bigquery.client import BigQueryAddress, open_client
from preptime.sources.bigquery.tables import iter_pages

DEFAULT_TABLE = "run_googleapis_com_stdout"
_SCHEMA = pl.Schema({"time": pl.Float64(), "bundle": pl.String(), "orders": pl.String(), "response": pl.String()})
_PAGE_ENTRIES = 2_000
"""Entries per page. An entry has up to 200 kB."""


@dataclass(frozen=True)
class BigQueryPredictionLog:
    """The entries of a table."""

    address: BigQueryAddress
    """The dataset, and the name of the table."""

    @classmethod
    def from_address(cls, url: str) -> BigQueryPredictionLog:
        """Return the log at `bigquery://PROJECT.DATASET?table=TABLE&location=EU`. Raises `UsageError`."""
        parts = split_url(url)
        parameters = {name: values[0] for name, values in parse_qs(parts.query).items()}
        table = parameters.pop("table", DEFAULT_TABLE)
        location = parameters.pop("location", None)
        project, _, dataset = parts.netloc.rpartition(".")
        names_are_valid = all(name.replace("_", "").replace("-", "").isalnum() for name in (project, dataset, table))
        if parameters or not names_are_valid or parts.path.strip("/"):
            raise UsageError(
                f"{redact_address(url)} isn't the address of a prediction log in BigQuery.",
                f"Use the format bigquery://PROJECT.DATASET?table={DEFAULT_TABLE}.",
            )
        return cls(BigQueryAddress(table, None, project, dataset, location))

    def lines(self, first: dt.date, last: dt.date) -> Iterator[bytes]:
        """Yield the entries of those days. An entry that was delivered twice is yielded once."""
        statement = statements.select_log_entries(self.address)
        try:
            with open_client(self.address) as client:
                for page in iter_pages(client, statement, {"day0": first, "day1": last}, _SCHEMA, _PAGE_ENTRIES):
                    yield from (msgspec.json.encode(row) for row in page.iter_rows(named=True))
        except DataError as error:
            raise DataError(
                error.facts, "Create the log sink (docs/deploy-gcp.md), or correct PREPTIME_PREDICTION_LOG_SOURCE."
            ) from error
