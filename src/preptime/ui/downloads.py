"""Downloads as streams: a scored file may be larger than what the page may hold in memory."""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import streamlit as st
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from preptime.errors import PreptimeError
from preptime.scoring.download import csv_chunks

_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9 ._-]+")
_KINDS = {"csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}
_PRIVATE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


@dataclass(frozen=True)
class Download:
    """A scored parquet file that whoever knows `token` may fetch as `kind`."""

    token: str
    kind: str
    path: Path
    file_name: str

    @property
    def url(self) -> str:
        """Where the browser fetches it."""
        return f"/downloads/{self.token}"


class Downloads:
    """What can be fetched at the moment, by a token that only its visitor's page was told."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_token: dict[str, Download] = {}

    def offer(self, path: Path, kind: str, of: str) -> Download:
        """Offer a scored file as csv or parquet; it is called after the file `of` that it was made from."""
        stem = _NOT_IN_A_NAME.sub("_", Path(of).stem).strip(" .") or "orders"
        made = Download(secrets.token_urlsafe(32), kind, path, f"{stem[:80]}-predictions.{kind}")
        with self._lock:
            self._by_token[made.token] = made
        return made

    def withdraw(self, download: Download) -> None:
        """Offer it no longer."""
        with self._lock:
            self._by_token.pop(download.token, None)

    def find(self, token: str) -> Download | None:
        """What this token stands for."""
        with self._lock:
            return self._by_token.get(token)


@st.cache_resource(show_spinner=False)
def downloads() -> Downloads:
    """Those of this process."""
    return Downloads()


def route() -> Route:
    """Where they are fetched."""
    return Route("/downloads/{token}", _fetch, methods=["GET"])


def _fetch(request: Request) -> Response:
    """Plain, so that it runs in a thread: what it reads comes from the disk."""
    found = downloads().find(request.path_params["token"])
    if found is None or not found.path.is_file():
        return PlainTextResponse("This download is over. Open the page and predict again.", 404, headers=_PRIVATE)
    headers = _PRIVATE | {"Content-Disposition": f'attachment; filename="{found.file_name}"'}
    if found.kind == "parquet":
        return FileResponse(found.path, headers=headers, media_type=_KINDS["parquet"])
    try:
        chunks: Iterator[bytes] = csv_chunks(found.path)
    except PreptimeError as error:
        return PlainTextResponse(str(error), 409, headers=_PRIVATE)
    return StreamingResponse(chunks, headers=headers, media_type=_KINDS["csv"])
