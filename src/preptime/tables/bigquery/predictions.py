"""Predictions in BigQuery, partitioned by date."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import polars as pl

from preptime.tables.bigquery import statements
from preptime.tables.bigquery.address import Address
from preptime.tables.bigquery.client import Parameters, connected
from preptime.tables.bigquery.rows import append, run, staged, whole
from preptime.tables.predictions import DATE, STORED_SCHEMA, from_stored, to_store


@dataclass(frozen=True)
class BigQueryPredictions:
    """The predictions of a dataset: `preptime.tables.predictions.Predictions`."""

    address: Address

    @property
    def name(self) -> str:
        """The address."""
        return self.address.of("predictions")

    def write(self, day: dt.date, bundle: str, frame: pl.DataFrame) -> int:
        """Replace what is there for this date and bundle; the rows written."""
        rows = to_store(day, bundle, frame)
        with connected(self.address) as client, staged(client, self.address, STORED_SCHEMA) as staging:
            append(client, self.address, staging, [rows])
            run(client, statements.replace_predictions(self.address, staging), {"day": day, "bundle": bundle})
        return len(rows)

    def read(self, day: dt.date, bundle: str | None = None) -> pl.DataFrame:
        """What was written for a date."""
        parameters: Parameters = {"day": day} if bundle is None else {"day": day, "bundle": bundle}
        statement = statements.predictions(self.address, of_bundle=bundle is not None)
        with connected(self.address) as client:
            return from_stored(whole(client, statement, parameters, STORED_SCHEMA))

    def days(self) -> list[dt.date]:
        """The dates that have predictions, oldest first."""
        statement = statements.days_of(self.address, "predictions", DATE)
        with connected(self.address) as client:
            return list(whole(client, statement, {}, pl.Schema({DATE: pl.Date()}))[DATE])


def open_bigquery_predictions(url: str) -> BigQueryPredictions:
    """The predictions of the dataset at an address; nothing is asked of it yet."""
    return BigQueryPredictions(Address.parse(url))
