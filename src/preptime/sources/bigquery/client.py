"""Addresses and the client of BigQuery, with its errors translated to errors of preptime."""

from __future__ import annotations

import datetime as dt
import os
import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast
from urllib.parse import parse_qsl, quote, urlencode

from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError
from google.cloud import bigquery

from preptime.errors import DataError, OperationError, PreptimeError, UsageError
from preptime.network import split_url
from preptime.redaction import redact_address
from preptime.sources.database import TABLE_NAMES, DatabaseAddress, DateRange, first_message_line, resolve_table_name

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

_DATASET_PATTERN = re.compile(r"(?P<project>[a-z][a-z0-9.:-]*)\.(?P<dataset>[A-Za-z0-9_]+)")
_PARAMETERS = ("table", "day", "location")


@dataclass(frozen=True)
class BigQueryAddress(DatabaseAddress):
    """`bigquery://project.dataset?table=orders&day=2015-06-24&location=EU`. It never contains a secret."""

    project: str
    dataset: str
    location: str | None

    @classmethod
    def parse(cls, url: str) -> BigQueryAddress:
        """Parse a URL. Raises `UsageError` for an invalid one."""
        parts = split_url(url)
        match = _DATASET_PATTERN.fullmatch(parts.netloc)
        parameters = dict(parse_qsl(parts.query, keep_blank_values=True))
        unknown = sorted(parameters.keys() - set(_PARAMETERS))
        if match is None or parts.path.strip("/") or unknown:
            problem = "it doesn't have a project and a dataset"
            if unknown:  # a name without a value can be a part of a secret
                problem = f"{unknown[0] if parameters[unknown[0]] else 'something'} isn't a parameter"
            raise UsageError(
                f"{redact_address(url)} isn't a valid address: {problem}.",
                "Use the format bigquery://project.dataset?table=orders.",
            )
        day = parameters.get("day")
        return cls(
            resolve_table_name(parameters.get("table")),
            None if day is None else DateRange.parse(day),
            match["project"],
            match["dataset"],
            parameters.get("location"),
        )

    def table_url(self, table: str, days: DateRange | None = None) -> str:
        """Return the address of a table of this dataset."""
        query = {} if table == TABLE_NAMES[0] else {"table": table}
        query |= {} if days is None else {"day": str(days)}
        query |= {} if self.location is None else {"location": self.location}
        return f"bigquery://{self.project}.{self.dataset}" + (f"?{urlencode(query, quote_via=quote)}" if query else "")

    def sql_name(self, table: str) -> str:
        """Return the quoted name of a table for SQL."""
        return f"`{self.project}.{self.dataset}.{table}`"


EMULATOR_VARIABLE = "BIGQUERY_EMULATOR_HOST"
"""A variable of the client library: the address of an emulator, which is used without credentials."""

QueryParameters = dict[str, str | int | dt.date | dt.datetime]
_PARAMETER_TYPES = {"day": "DATE", "as_of": "TIMESTAMP", "position": "INT64"}
"""The types of parameters that aren't text, by name without trailing digits."""


@contextmanager
def open_client(address: BigQueryAddress) -> Iterator[bigquery.Client]:
    """Open a client for the project. Translates its errors to `UsageError`, `DataError`, or `OperationError`."""
    try:
        opened_client = bigquery.Client(project=address.project, location=address.location, credentials=_credentials())
        with closing(opened_client) as client:
            yield client
    except GoogleAuthError as error:
        raise UsageError(
            f"{address.database_url}: {first_message_line(error)}.",
            "To log in, run: gcloud auth application-default login",
        ) from error
    except exceptions.GoogleAPIError as error:
        raise _translate_error(address, error) from error
    except OSError as error:  # errors of `requests` are OSErrors, and the client doesn't translate all of them
        raise OperationError(
            f"{address.database_url} can't be reached: {first_message_line(error)}.",
            "Nothing was changed. Run the command again.",
        ) from error


def query_config(parameters: QueryParameters) -> bigquery.QueryJobConfig:
    """Return the configuration of a query with these named parameters."""
    scalars = [bigquery.ScalarQueryParameter(name, _parameter_type(name), value) for name, value in parameters.items()]
    return bigquery.QueryJobConfig(query_parameters=scalars)


def _parameter_type(name: str) -> str:
    return _PARAMETER_TYPES.get(name.rstrip("0123456789"), "STRING")


def _credentials() -> Credentials | None:
    if EMULATOR_VARIABLE not in os.environ:
        return None  # the library uses the application default credentials
    from google.auth.credentials import AnonymousCredentials

    return cast("Callable[[], Credentials]", AnonymousCredentials)()


def _translate_error(address: BigQueryAddress, error: exceptions.GoogleAPIError) -> PreptimeError:
    message = first_message_line(error)
    if isinstance(error, exceptions.NotFound):
        return DataError(
            f"{address.database_url} doesn't exist or has no tables of preptime ({message}).",
            "Create the dataset (bq mk), and then run: "
            f"preptime ingest ORDERS --restaurants RESTAURANTS --to {address.shell_quoted_url}",
        )
    if isinstance(error, (exceptions.Forbidden, exceptions.Unauthorized)):
        return UsageError(f"{address.database_url}: {message}.", "For the required roles, see docs/databases.md.")
    if "serialize access" in str(error) or "concurrent update" in str(error):
        return OperationError(
            f"{address.database_url} is being changed by another process ({message}).",
            "Nothing was stored. Run the command again.",
        )
    return OperationError(
        f"{address.database_url} couldn't be used: {message}.", "Nothing was stored. Run the command again."
    )
