"""Downloads as streams: a scored file may be larger than what the page may hold in memory.

A visitor's desk: the file they brought and what was made of it, in a folder of their own that goes when they go.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import streamlit as st
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.uploaded_file_manager import UploadedFile

from preptime.errors import DataError, PreptimeError
from preptime.scoring.download import iter_csv_chunks
from preptime.scoring.preview import Preview
from preptime.scoring.score_document import ScoreDocument
from preptime.scoring.summary import ScoreSummary

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


MAX_UPLOAD_MB = 200
"""Largest file that the page takes."""
FOLDER_PREFIX = "preptime-ui-"
"""What the folders of desks are called, then the id of the process and a random name."""
_FOLDER_PATTERN = re.compile(re.escape(FOLDER_PREFIX) + r"(\d+)-.+")
_COPY_BUFFER_BYTES = 1 << 20


@dataclass
class ScoredFile:
    """A scored file: all that is shown of it."""

    path: Path
    document: ScoreDocument
    summary: ScoreSummary
    models: tuple[str, ...]
    downloads: dict[str, Download]
    """By the kind of file: csv, parquet."""
    csv_error: str = ""
    """Why there is none, where there is none."""


@dataclass
class Upload:
    """A file as somebody brought it."""

    name: str
    """What they call it: shown as text, never used as a path."""
    path: Path
    size_bytes: int
    preview: Preview | None = None
    results_by_mode: dict[str, ScoredFile] = field(default_factory=dict)
    """By who was asked."""

    @contextmanager
    def with_original_name(self) -> Iterator[None]:
        """Errors inside speak of the file by its visitor's name for it, not of where it lies here."""
        try:
            yield
        except DataError as error:
            raise DataError(error.facts.replace(str(self.path), self.name), error.hint) from error


class UploadSession:
    """One visitor's. Nobody else has its paths, and its folder is closed to other users of the machine."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"{FOLDER_PREFIX}{os.getpid()}-"))
        self.upload: Upload | None = None

    def save(self, name: str, content: BinaryIO) -> Upload:
        """Put a file on the desk in place of the one before."""
        self.clear()
        suffix = ".parquet" if name.lower().endswith(".parquet") else ".csv"
        path = self.folder / f"orders{suffix}"
        content.seek(0)
        with path.open("wb") as file:
            shutil.copyfileobj(content, file, _COPY_BUFFER_BYTES)
        self.upload = Upload(name, path, path.stat().st_size)
        return self.upload

    def clear(self) -> None:
        """Nothing on it, nothing to download."""
        for result in self.upload.results_by_mode.values() if self.upload else ():
            for download in result.downloads.values():
                get_download_registry().remove(download)
        self.upload = None
        for path in self.folder.iterdir():
            path.unlink()

    def close(self) -> None:
        """Gone, with its folder."""
        if self.folder.is_dir():
            self.clear()
        shutil.rmtree(self.folder, ignore_errors=True)


@st.cache_resource(scope="session", on_release=UploadSession.close, show_spinner=False)
def get_upload_session() -> UploadSession:
    """The desk of this visitor. It is closed when their browser has gone."""
    return UploadSession()


def release_upload_memory(file: UploadedFile) -> None:
    """Let go of the bytes of what this visitor uploaded: it lies on the desk, and need not be in memory too."""
    context = get_script_run_ctx()
    if context is not None:
        context.uploaded_file_mgr.remove_session_files(context.session_id)
    file.close()


def remove_orphaned_folders() -> None:
    """Remove the desks of pages that ended without doing so: those whose process is no more."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*"):
        match = _FOLDER_PATTERN.fullmatch(folder.name)
        if match and not _is_running(int(match[1])):
            shutil.rmtree(folder, ignore_errors=True)


def remove_own_folders() -> None:
    """Remove the desks of this process: it is about to end."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}{os.getpid()}-*"):
        shutil.rmtree(folder, ignore_errors=True)


def _is_running(pid: int) -> bool:
    if pid == os.getpid():
        return False  # a folder from before this one was started under the same number, as in a container
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
