"""Addresses of tables in BigQuery.

The client, and what it raises translated into our errors.
"""

from __future__ import annotations

import datetime as dt
import os
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError
from google.cloud import bigquery

from preptime.errors import DataError, OperationError, PreptimeError, UsageError
from preptime.sources.database import TABLE_NAMES, DateRange, resolve_table_name

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

_DATASET_PATTERN = re.compile(r"(?P<project>[a-z][a-z0-9.:-]*)\.(?P<dataset>[A-Za-z0-9_]+)")
_PARAMETERS = ("table", "day", "location")


@dataclass(frozen=True)
class BigQueryAddress:
    """`bigquery://project.dataset?table=orders&day=2015-06-24&location=EU`; no secret has a place in it."""

    project: str
    dataset: str
    table: str
    days: DateRange | None
    location: str | None

    @classmethod
    def parse(cls, url: str) -> BigQueryAddress:
        """Raises `UsageError` for what is no address."""
        parts = urlsplit(url)
        match = _DATASET_PATTERN.fullmatch(parts.netloc)
        parameters = dict(parse_qsl(parts.query, keep_blank_values=True))
        unknown = sorted(parameters.keys() - set(_PARAMETERS))
        if match is None or parts.path.strip("/") or unknown:
            problem = f"{unknown[0]} is nothing that it can say" if unknown else "it names no project and dataset"
            raise UsageError(f"{url} is no address: {problem}.", "Write bigquery://project.dataset?table=orders.")
        day = parameters.get("day")
        return cls(
            match["project"],
            match["dataset"],
            resolve_table_name(parameters.get("table")),
            None if day is None else DateRange.parse(day),
            parameters.get("location"),
        )

    @property
    def name(self) -> str:
        """The address, to show and to open again."""
        return self.table_url(self.table, self.days)

    def table_url(self, table: str, days: DateRange | None = None) -> str:
        """The address of a table of this dataset."""
        query = {} if table == TABLE_NAMES[0] else {"table": table}
        query |= {} if days is None else {"day": str(days)}
        query |= {} if self.location is None else {"location": self.location}
        return f"bigquery://{self.project}.{self.dataset}" + (f"?{urlencode(query, quote_via=quote)}" if query else "")

    @property
    def database_url(self) -> str:
        """The dataset's own address."""
        return self.table_url(TABLE_NAMES[0])

    def for_days(self, days: DateRange) -> BigQueryAddress:
        """The same table on these days only."""
        return replace(self, days=days)

    @property
    def shell_quoted_url(self) -> str:
        """The dataset's address as a shell takes it, for commands in hints."""
        return shlex.quote(self.database_url)

    def sql_name(self, table: str) -> str:
        """What the table is called in SQL."""
        return f"`{self.project}.{self.dataset}.{table}`"


EMULATOR_VARIABLE = "BIGQUERY_EMULATOR_HOST"
"""The client library's own variable: another server than Google's, asked without credentials."""

QueryParameters = dict[str, str | int | dt.date | dt.datetime]
_PARAMETER_TYPES = {"day": "DATE", "as_of": "TIMESTAMP", "position": "INT64"}
"""Of the parameters that are no text, by the part of their name before an underscore and digits."""


@contextmanager
def open_client(address: BigQueryAddress) -> Iterator[bigquery.Client]:
    """A client of the address's project. Raises `UsageError`, `DataError` or `OperationError` for all that goes wrong."""
    try:
        opened_client = bigquery.Client(project=address.project, location=address.location, credentials=_credentials())
        with closing(opened_client) as client:
            yield client
    except GoogleAuthError as error:
        raise UsageError(
            f"{address.database_url}: {_first_message_line(error)}.", "Log in: gcloud auth application-default login"
        ) from error
    except exceptions.GoogleAPIError as error:
        raise _translate_error(address, error) from error
    except OSError as error:  # requests' errors are ones; the client passes some of them on
        raise OperationError(
            f"{address.database_url} cannot be reached: {_first_message_line(error)}.",
            "Nothing was changed; run again.",
        ) from error


def query_config(parameters: QueryParameters) -> bigquery.QueryJobConfig:
    """The configuration of a query with these named parameters."""
    return bigquery.QueryJobConfig(
        query_parameters=[
            bigquery.ScalarQueryParameter(name, _PARAMETER_TYPES.get(name.rstrip("0123456789"), "STRING"), value)
            for name, value in parameters.items()
        ]
    )


def _credentials() -> Credentials | None:
    if EMULATOR_VARIABLE not in os.environ:
        return None  # the library finds the application default
    from google.auth.credentials import AnonymousCredentials

    return cast("Callable[[], Credentials]", AnonymousCredentials)()


def _translate_error(address: BigQueryAddress, error: exceptions.GoogleAPIError) -> PreptimeError:
    message = _first_message_line(error)
    if isinstance(error, exceptions.NotFound):
        return DataError(
            f"{address.database_url} has no tables of preptime, or is not there ({message}).",
            f"Make the dataset (bq mk), then: preptime ingest ORDERS --restaurants RESTAURANTS --to {address.database_url}",
        )
    if isinstance(error, (exceptions.Forbidden, exceptions.Unauthorized)):
        return UsageError(f"{address.database_url}: {message}.", "Ask for the roles in docs/databases.md.")
    if "serialize access" in str(error) or "concurrent update" in str(error):
        return OperationError(
            f"{address.database_url} is being changed by someone else ({message}).",
            "Nothing of this run was kept; run again.",
        )
    return OperationError(
        f"{address.database_url} could not be used: {message}.", "Nothing of this run was kept; run again."
    )


def _first_message_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
