"""The API's prediction log in Cloud Logging, through its REST method `entries.list`.

It's for a cluster without a log sink to BigQuery. A request returns up to 1,000 entries, and Google allows 60 requests
per minute and project, so use BigQuery for more than about a million entries in the monitored days.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol, cast
from urllib.parse import parse_qs

import msgspec
from urllib3 import BaseHTTPResponse, PoolManager, Retry
from urllib3.exceptions import HTTPError

from preptime.errors import OperationError, UsageError
from preptime.network import split_url
from preptime.redaction import redact_address

ENDPOINT = "https://logging.googleapis.com"
DEFAULT_FILTER = 'resource.type="k8s_container" AND resource.labels.namespace_name="preptime"'
READ_ONLY_SCOPE = "https://www.googleapis.com/auth/logging.read"
PAGE_ENTRIES = 1_000
"""The largest page that the service returns."""
MAX_RETRIES = 6
"""With twice the wait after each, up to a minute: the service limits requests per minute."""
_TIMEOUT_SECONDS = 60


class Http(Protocol):
    """A client of urllib3, with or without credentials."""

    def request(self, method: str, url: str, *, body: bytes, headers: dict[str, str]) -> BaseHTTPResponse:
        """Send a request."""
        ...


class _Entry(msgspec.Struct):
    payload: msgspec.Raw = msgspec.field(name="jsonPayload", default=msgspec.Raw(b"{}"))
    insert_id: str = msgspec.field(name="insertId", default="")


class _Page(msgspec.Struct):
    entries: list[_Entry] = []
    next_page: str = msgspec.field(name="nextPageToken", default="")


@dataclass(frozen=True)
class CloudLoggingPredictionLog:
    """The entries of a project that match a filter."""

    project: str
    filter: str = DEFAULT_FILTER
    """In the language of Cloud Logging, without times."""
    endpoint: str = ENDPOINT

    @classmethod
    def from_address(cls, url: str) -> CloudLoggingPredictionLog:
        """Return the log at `logging://PROJECT?filter=FILTER`. Raises `UsageError` for another URL."""
        parts = split_url(url)
        parameters = {name: values[0] for name, values in parse_qs(parts.query).items()}
        entry_filter = parameters.pop("filter", DEFAULT_FILTER)
        if parameters or not parts.netloc or parts.path.strip("/"):
            raise UsageError(
                f"{redact_address(url)} isn't the address of a prediction log in Cloud Logging.",
                "Use the format logging://PROJECT, or logging://PROJECT?filter=FILTER with an encoded filter.",
            )
        return cls(parts.netloc, entry_filter)

    def lines(self, first: dt.date, last: dt.date) -> Iterator[bytes]:
        """Yield the entries of those days, oldest first. An entry that was stored twice is yielded once."""
        seen = set[str]()
        try:
            for entry in self._entries(_connect(self.endpoint), first, last):
                if entry.insert_id not in seen:
                    seen.add(entry.insert_id)
                    yield bytes(entry.payload)
        except HTTPError as error:
            raise OperationError(
                f"Cloud Logging of {self.project} can't be read: {error}.",
                "Nothing was changed. Run the command again.",
            ) from error

    def _entries(self, http: Http, first: dt.date, last: dt.date) -> Iterator[_Entry]:
        after_last = last + dt.timedelta(days=1)
        body = {
            "resourceNames": [f"projects/{self.project}"],
            "filter": f'({self.filter}) AND jsonPayload.request_id:* AND timestamp>="{first}T00:00:00Z" '
            f'AND timestamp<"{after_last}T00:00:00Z"',
            "orderBy": "timestamp asc",
            "pageSize": PAGE_ENTRIES,
        }
        while True:
            response = http.request(
                "POST",
                f"{self.endpoint}/v2/entries:list",
                body=msgspec.json.encode(body),
                headers={"Content-Type": "application/json"},
            )
            if response.status != HTTPStatus.OK:
                raise _refusal(self.project, response.status, response.data.decode(errors="replace"))
            page = _decode_page(self.project, response.data)
            yield from page.entries
            if not page.next_page:
                return
            body["pageToken"] = page.next_page


def _decode_page(project: str, content: bytes) -> _Page:
    try:
        return msgspec.json.decode(content, type=_Page)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:  # for example, the login page of a proxy
        message = _first_line(content.decode(errors="replace"))
        raise OperationError(
            f"Cloud Logging of {project} answered with status 200, but without a page of entries in JSON: {message}.",
            "Nothing was changed. Check the settings of the network's proxy, and run the command again.",
        ) from error


def _first_line(text: str) -> str:
    return (text.strip().splitlines() or ["no message"])[0][:300].rstrip(".")


def _refusal(project: str, status: int, text: str) -> OperationError | UsageError:
    message = _first_line(text)
    facts = f"Cloud Logging of {project} answered with status {status}: {message}."
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return UsageError(facts, "Give this account the role roles/logging.viewer, or roles/logging.privateLogViewer.")
    return OperationError(facts, "Nothing was changed. Run the command again.")


def _connect(endpoint: str) -> Http:
    """Return a client that retries, with the credentials of this machine. Another endpoint gets no credentials."""
    retry = Retry(
        MAX_RETRIES,
        backoff_factor=1,
        status_forcelist=[429, 500, 502, 503, 504],
        allowed_methods=["POST"],
        raise_on_status=False,
    )
    pool = PoolManager(retries=retry, timeout=_TIMEOUT_SECONDS)
    return pool if endpoint != ENDPOINT else _with_credentials(pool)


@dataclass(frozen=True)
class _AuthorizedHttp:
    """A client whose requests renew the credentials if necessary. Translates the errors of that."""

    client: Http

    def request(self, method: str, url: str, *, body: bytes, headers: dict[str, str]) -> BaseHTTPResponse:
        """Send a request. Raises `UsageError` or `OperationError` if the credentials can't be renewed."""
        from google.auth.exceptions import GoogleAuthError, TransportError

        try:
            return self.client.request(method, url, body=body, headers=headers)
        except TransportError as error:
            raise OperationError(
                f"Google Cloud: the credentials can't be renewed: {_auth_message(error)}.",
                "Nothing was changed. Run the command again.",
            ) from error
        except GoogleAuthError as error:
            raise _login_error(error) from error


def _with_credentials(pool: PoolManager) -> Http:
    import google.auth
    from google.auth.exceptions import GoogleAuthError
    from google.auth.transport.urllib3 import AuthorizedHttp

    try:
        credentials, _ = google.auth.default(scopes=[READ_ONLY_SCOPE])
    except GoogleAuthError as error:
        raise _login_error(error) from error
    return _AuthorizedHttp(cast("Callable[..., Http]", AuthorizedHttp)(credentials, http=pool))


def _auth_message(error: Exception) -> str:
    return _first_line(str(error.args[0] if error.args else error))  # the other arguments are the server's answer


def _login_error(error: Exception) -> UsageError:
    return UsageError(f"Google Cloud: {_auth_message(error)}.", "To log in, run: gcloud auth application-default login")
