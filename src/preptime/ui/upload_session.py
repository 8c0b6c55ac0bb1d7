"""Upload sessions: each session's uploaded file and its results in a private folder, and downloads as streams.

The folder is deleted when the session ends. Downloads are streamed because a scored file can be larger than memory.
"""

from __future__ import annotations

import gzip
import os
import re
import secrets
import shutil
import tempfile
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import streamlit as st
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.uploaded_file_manager import UploadedFile

from preptime.atomic_write import is_running
from preptime.errors import DataError, PreptimeError
from preptime.schema.schema import Schema
from preptime.scoring.download import iter_csv_chunks
from preptime.scoring.preview import Preview
from preptime.scoring.score_document import ScoreDocument
from preptime.scoring.summary import ScoreSummary
from preptime.scoring.travel_column import TravelColumn
from preptime.ui.session_registry import MEGABYTE, get_session_registry

FOLDER_PREFIX = "preptime-ui-"
"""Prefix of an upload folder's name. The process ID and a random part follow."""
_FOLDER_PATTERN = re.compile(re.escape(FOLDER_PREFIX) + r"([0-9]+)-.+")
_COPY_BUFFER_BYTES = 1 << 20
_GZIP_MAGIC = b"\x1f\x8b"
_UNSAFE_NAME_CHARACTERS = re.compile(r"[^A-Za-z0-9 ._-]+")
_CONTENT_TYPES = {"csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}
_NO_STORE_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


@dataclass(frozen=True)
class Download:
    """A scored Parquet file that a client with `token` can download in `format`."""

    token: str
    format: str
    """`csv` or `parquet`."""
    path: Path
    file_name: str

    @property
    def url(self) -> str:
        """The path of its URL."""
        from preptime.ui.connections import get_context

        return f"{get_context().base_path}/downloads/{self.token}"


class DownloadRegistry:
    """The available downloads by token. Only the session that owns a download knows its token."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_token: dict[str, Download] = {}

    def add(self, path: Path, file_format: str, source_name: str) -> Download:
        """Register a scored file as a download. Its file name is derived from the name of the uploaded file."""
        stem = _UNSAFE_NAME_CHARACTERS.sub("_", Path(source_name.removesuffix(".gz")).stem).strip(" .") or "orders"
        download = Download(secrets.token_urlsafe(32), file_format, path, f"{stem[:80]}-predictions.{file_format}")
        with self._lock:
            self._by_token[download.token] = download
        return download

    def remove(self, download: Download) -> None:
        """Make a download unavailable."""
        with self._lock:
            self._by_token.pop(download.token, None)

    def get(self, token: str) -> Download | None:
        """Return the download with this token, or None."""
        with self._lock:
            return self._by_token.get(token)


@st.cache_resource(show_spinner=False)
def get_download_registry() -> DownloadRegistry:
    """Return the download registry of this process."""
    return DownloadRegistry()


def remove_downloads(result: ScoredFile) -> None:
    """Make the downloads of a result unavailable."""
    for download in result.downloads.values():
        get_download_registry().remove(download)


def download_route(base_path: str) -> Route:
    """Return the route that serves downloads."""
    return Route(f"{base_path}/downloads/{{token}}", _serve_download, methods=["GET"])


def _serve_download(request: Request) -> Response:
    """Serve a download. Starlette runs it in a thread because it isn't async: it reads from disk."""
    download = get_download_registry().get(request.path_params["token"])
    if download is None or not download.path.is_file():
        return PlainTextResponse(
            "This download has expired. Open the dashboard and predict again.", 404, headers=_NO_STORE_HEADERS
        )
    headers = _NO_STORE_HEADERS | {"Content-Disposition": f'attachment; filename="{download.file_name}"'}
    if download.format == "parquet":
        return FileResponse(download.path, headers=headers, media_type=_CONTENT_TYPES["parquet"])
    try:
        chunks: Iterator[bytes] = iter_csv_chunks(download.path)
    except PreptimeError as error:
        return PlainTextResponse(str(error), 409, headers=_NO_STORE_HEADERS)
    return StreamingResponse(chunks, headers=headers, media_type=_CONTENT_TYPES["csv"])


@dataclass
class ScoredFile:
    """A scored file with everything that the page shows about it."""

    path: Path
    document: ScoreDocument
    summary: ScoreSummary
    models: tuple[str, ...]
    weak_models: tuple[str, ...]
    """Those that aren't better than the global median."""
    schema: Schema
    """The schema of the bundle that predicted."""
    downloads: dict[str, Download]
    """By file format: `csv`, `parquet`."""
    csv_error: str = ""
    """Why the file can't be written as CSV, or empty."""
    travel: TravelColumn | None = None
    """The column with travel times, if the rows have dispatch columns."""


@dataclass
class Upload:
    """An uploaded file."""

    name: str
    """The file name in the browser. It's shown as text and never used as a path."""
    path: Path
    size_bytes: int
    preview: Preview | None = None
    results_by_mode: dict[str, ScoredFile] = field(default_factory=dict)
    """By prediction source, `LOCAL_MODE` or `API_MODE`."""

    @contextmanager
    def with_original_name(self) -> Iterator[None]:
        """Replace the server's path with the original file name in a `DataError` of the body."""
        try:
            yield
        except DataError as error:
            raise DataError(error.facts.replace(str(self.path), self.name), error.hint) from error


class UploadSession:
    """The upload of one session, in a folder that only the dashboard's operating-system user can read."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"{FOLDER_PREFIX}{os.getpid()}-"))
        self.upload: Upload | None = None
        script_context = get_script_run_ctx()
        self._session_id = script_context.session_id if script_context else ""

    def save(self, name: str, content: BinaryIO) -> Upload:
        """Save an uploaded file. It replaces the previous one."""
        self.clear()
        suffix = ".parquet" if name.lower().endswith(".parquet") else ".csv"
        path = self.folder / f"orders{suffix}"
        content.seek(0)
        with path.open("wb") as file:
            shutil.copyfileobj(content, file, _COPY_BUFFER_BYTES)
        self.upload = Upload(name, path, path.stat().st_size)
        get_session_registry().set_saved_bytes(self._session_id, self.upload.size_bytes)
        return self.upload

    def clear(self) -> None:
        """Delete the upload, its results, and their downloads."""
        for result in self.upload.results_by_mode.values() if self.upload else ():
            remove_downloads(result)
        self.upload = None
        for path in self.folder.iterdir():
            path.unlink()
        get_session_registry().set_saved_bytes(self._session_id, 0)

    def close(self) -> None:
        """Delete the upload and the folder. Closing twice is allowed."""
        if self.folder.is_dir():
            self.clear()
        shutil.rmtree(self.folder, ignore_errors=True)


@st.cache_resource(scope="session", on_release=UploadSession.close, show_spinner=False)
def get_upload_session() -> UploadSession:
    """Return the upload session of this browser session. Streamlit closes it when the browser disconnects."""
    return UploadSession()


def check_decompressed_size(name: str, content: BinaryIO, max_bytes: int) -> None:
    """Raise `DataError` if a gzip file has more than `max_bytes` when it's decompressed.

    A few megabytes can decompress to terabytes. A damaged file passes, because reading its rows reports the error.
    """
    content.seek(0)
    if content.read(len(_GZIP_MAGIC)) != _GZIP_MAGIC:
        return
    content.seek(0)
    size_bytes = 0
    with suppress(EOFError, OSError, zlib.error), gzip.open(content) as decompressed:
        while size_bytes <= max_bytes and (block := decompressed.read(_COPY_BUFFER_BYTES)):
            size_bytes += len(block)
    if size_bytes > max_bytes:
        raise DataError(
            f"{name} has more than {max_bytes / MEGABYTE:,.0f} MB when it's decompressed.",
            "Upload a part of it, use `preptime score`, or set PREPTIME_UI_MAX_UPLOAD_MB to a larger value.",
        )


def release_upload_memory(file: UploadedFile) -> None:
    """Release the memory of an uploaded file after it's saved to disk."""
    context = get_script_run_ctx()
    if context is not None:
        context.uploaded_file_mgr.remove_session_files(context.session_id)
    file.close()


def remove_orphaned_folders() -> None:
    """Delete the upload folders of processes that no longer run."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*"):
        match = _FOLDER_PATTERN.fullmatch(folder.name)
        # A folder with this process's ID was left by an earlier process with the same ID, as in a container.
        if match and (int(match[1]) == os.getpid() or not is_running(int(match[1]))):
            shutil.rmtree(folder, ignore_errors=True)


def remove_own_folders() -> None:
    """Delete the upload folders of this process before it exits."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}{os.getpid()}-*"):
        shutil.rmtree(folder, ignore_errors=True)
