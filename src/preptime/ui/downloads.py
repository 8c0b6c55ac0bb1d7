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
from preptime.scoring.download import iter_csv_chunks

_UNSAFE_NAME_CHARACTERS = re.compile(r"[^A-Za-z0-9 ._-]+")
_CONTENT_TYPES = {"csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}
_NO_STORE_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


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


class DownloadRegistry:
    """What can be fetched at the moment, by a token that only its visitor's page was told."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_token: dict[str, Download] = {}

    def add(self, path: Path, kind: str, source_name: str) -> Download:
        """Offer a scored file as csv or parquet; it is called after the file `of` that it was made from."""
        stem = _UNSAFE_NAME_CHARACTERS.sub("_", Path(source_name).stem).strip(" .") or "orders"
        download = Download(secrets.token_urlsafe(32), kind, path, f"{stem[:80]}-predictions.{kind}")
        with self._lock:
            self._by_token[download.token] = download
        return download

    def remove(self, download: Download) -> None:
        """Offer it no longer."""
        with self._lock:
            self._by_token.pop(download.token, None)

    def get(self, token: str) -> Download | None:
        """What this token stands for."""
        with self._lock:
            return self._by_token.get(token)


@st.cache_resource(show_spinner=False)
def get_download_registry() -> DownloadRegistry:
    """Those of this process."""
    return DownloadRegistry()


def download_route() -> Route:
    """Where they are fetched."""
    return Route("/downloads/{token}", _serve_download, methods=["GET"])


def _serve_download(request: Request) -> Response:
    """Plain, so that it runs in a thread: what it reads comes from the disk."""
    download = get_download_registry().get(request.path_params["token"])
    if download is None or not download.path.is_file():
        return PlainTextResponse(
            "This download is over. Open the page and predict again.", 404, headers=_NO_STORE_HEADERS
        )
    headers = _NO_STORE_HEADERS | {"Content-Disposition": f'attachment; filename="{download.file_name}"'}
    if download.kind == "parquet":
        return FileResponse(download.path, headers=headers, media_type=_CONTENT_TYPES["parquet"])
    try:
        chunks: Iterator[bytes] = iter_csv_chunks(download.path)
    except PreptimeError as error:
        return PlainTextResponse(str(error), 409, headers=_NO_STORE_HEADERS)
    return StreamingResponse(chunks, headers=headers, media_type=_CONTENT_TYPES["csv"])
