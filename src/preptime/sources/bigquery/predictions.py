"""Predictions in BigQuery, partitioned by date."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import polars as pl

from preptime.sources.bigquery import statements
from preptime.sources.bigquery.client import BigQueryAddress, QueryParameters, open_client
from preptime.sources.bigquery.tables import append_rows, execute_dml, query_frame, staging_table
from preptime.sources.database import PREDICTIONS_TABLE
from preptime.sources.predictions import DATE_COLUMN, STORED_SCHEMA, PredictionStore


@dataclass(frozen=True)
class BigQueryPredictionStore(PredictionStore):
    """The predictions of a BigQuery dataset."""

    address: BigQueryAddress

    def days(self) -> list[dt.date]:
        """Return the dates that have predictions, oldest first."""
        statement = statements.select_days(self.address, PREDICTIONS_TABLE, DATE_COLUMN)
        with open_client(self.address) as client:
            return list(query_frame(client, statement, {}, pl.Schema({DATE_COLUMN: pl.Date()}))[DATE_COLUMN])

    def _replace(self, day: dt.date, bundle: str, rows: pl.DataFrame) -> None:
        with open_client(self.address) as client, staging_table(client, self.address, STORED_SCHEMA) as staging:
            append_rows(client, self.address, staging, rows)
            execute_dml(client, statements.replace_predictions(self.address, staging), {"day": day, "bundle": bundle})

    def _select(self, day: dt.date, bundle: str | None) -> pl.DataFrame:
        parameters: QueryParameters = {"day": day} if bundle is None else {"day": day, "bundle": bundle}
        statement = statements.select_predictions(self.address, for_bundle=bundle is not None)
        with open_client(self.address) as client:
            return query_frame(client, statement, parameters, STORED_SCHEMA)


def open_bigquery_prediction_store(url: str) -> BigQueryPredictionStore:
    """Return the predictions of the dataset at a URL, without connecting to it."""
    return BigQueryPredictionStore(BigQueryAddress.parse(url))
