"""Predictions in BigQuery, partitioned by date."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import polars as pl

from preptime.sources.bigquery import statements
from preptime.sources.bigquery.client import BigQueryAddress, QueryParameters, open_client
from preptime.sources.bigquery.tables import append_rows, execute_dml, query_frame, staging_table
from preptime.sources.predictions import DATE_COLUMN, STORED_SCHEMA, decode_predictions, encode_predictions


@dataclass(frozen=True)
class BigQueryPredictionStore:
    """The predictions of a dataset: `preptime.sources.predictions.PredictionStore`."""

    address: BigQueryAddress

    @property
    def name(self) -> str:
        """The address."""
        return self.address.table_url("predictions")

    def write(self, day: dt.date, bundle: str, frame: pl.DataFrame) -> int:
        """Replace what is there for this date and bundle; the rows written."""
        rows = encode_predictions(day, bundle, frame)
        with open_client(self.address) as client, staging_table(client, self.address, STORED_SCHEMA) as staging:
            append_rows(client, self.address, staging, [rows])
            execute_dml(client, statements.replace_predictions(self.address, staging), {"day": day, "bundle": bundle})
        return len(rows)

    def read(self, day: dt.date, bundle: str | None = None) -> pl.DataFrame:
        """What was written for a date."""
        parameters: QueryParameters = {"day": day} if bundle is None else {"day": day, "bundle": bundle}
        statement = statements.select_predictions(self.address, for_bundle=bundle is not None)
        with open_client(self.address) as client:
            return decode_predictions(query_frame(client, statement, parameters, STORED_SCHEMA))

    def days(self) -> list[dt.date]:
        """The dates that have predictions, oldest first."""
        statement = statements.select_days(self.address, "predictions", DATE_COLUMN)
        with open_client(self.address) as client:
            return list(query_frame(client, statement, {}, pl.Schema({DATE_COLUMN: pl.Date()}))[DATE_COLUMN])


def open_bigquery_prediction_store(url: str) -> BigQueryPredictionStore:
    """The predictions of the dataset at an address; nothing is asked of it yet."""
    return BigQueryPredictionStore(BigQueryAddress.parse(url))
