"""The sessions of the dashboard: who is signed in, and how much each session and all of them have uploaded.

Streamlit keeps the files of every session that sends them, and frees a closed session only when another one connects.
The registry lets `request_guard.py` refuse uploads and end sessions.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from http import HTTPStatus

import streamlit as st
from streamlit.runtime import Runtime

from preptime.settings import Settings

MAX_FILES_PER_SESSION = 4
"""More than the dashboard's upload fields, so that a file can be replaced."""
MEGABYTE = 1024 * 1024
"""The unit of the upload settings, as in Streamlit."""

StoredFileIds = Callable[[str, Collection[str]], set[str]]
"""Returns which of these file IDs Streamlit holds for a session."""


class UploadRefusedError(OSError):
    """An upload that the dashboard refuses. An `OSError`, so that Starlette deletes what it received of the file."""

    def __init__(self, status: HTTPStatus, facts: str, hint: str) -> None:
        super().__init__(f"{facts} {hint}")
        self.status = status
        self.facts = facts
        self.hint = hint


@dataclass(frozen=True)
class UploadLimits:
    """The maximum bytes of uploads, including those in progress."""

    session_bytes: int
    total_bytes: int

    @classmethod
    def from_settings(cls, settings: Settings) -> UploadLimits:
        """Return the limits of the settings."""
        return cls(settings.ui_max_upload_mb * MEGABYTE, settings.ui_max_total_upload_mb * MEGABYTE)


@dataclass
class _Session:
    connection: str
    """ID of its latest websocket connection."""
    is_signed_in: bool = False
    reserved_bytes: int = 0
    """Of uploads in progress."""
    uploads: int = 0
    """Uploads in progress."""
    files: dict[str, int] = field(default_factory=dict)
    """Size by ID of the files in Streamlit's memory."""
    saved_bytes: int = 0
    """Size of the file in its upload session."""
    refusal: UploadRefusedError | None = None

    @property
    def held_bytes(self) -> int:
        return self.reserved_bytes + sum(self.files.values()) + self.saved_bytes


class SessionRegistry:
    """The sessions by ID. Scripts register a session in their own threads; the server asks from its event loop."""

    def __init__(self, limits: UploadLimits, stored_file_ids: StoredFileIds) -> None:
        self.limits = limits
        self._stored_file_ids = stored_file_ids
        self._lock = threading.Lock()
        self._sessions: dict[str, _Session] = {}

    def register(self, session_id: str, connection: str) -> None:
        """Record a session and the ID of its current websocket connection."""
        with self._lock:
            self._sessions.setdefault(session_id, _Session(connection)).connection = connection

    def sign_in(self, session_id: str) -> None:
        """Allow a registered session to upload."""
        with self._lock:
            if session := self._sessions.get(session_id):
                session.is_signed_in = True

    def is_signed_in(self, session_id: str) -> bool:
        """Return whether a session can upload."""
        with self._lock:
            session = self._sessions.get(session_id)
            return session is not None and session.is_signed_in

    def session_of(self, connection: str) -> str | None:
        """Return the ID of the session that uses a websocket connection, or None."""
        with self._lock:
            return next((name for name, session in self._sessions.items() if session.connection == connection), None)

    def is_uploading(self, session_id: str) -> bool:
        """Return whether an upload of the session is in progress."""
        with self._lock:
            session = self._sessions.get(session_id)
            return session is not None and session.uploads > 0

    def end(self, session_id: str) -> None:
        """Forget a session that has ended."""
        with self._lock:
            self._sessions.pop(session_id, None)

    def start_upload(self, session_id: str) -> None:
        """Count an upload in progress. Raises `UploadRefusedError` without sign-in and for too many files."""
        with self._lock:
            session = self._sessions.get(session_id)
            if session is None or not session.is_signed_in:
                raise UploadRefusedError(
                    HTTPStatus.FORBIDDEN, "This session isn't signed in.", "Open the dashboard and sign in."
                )
            self._drop_removed_files(session_id, session)
            if session.uploads + len(session.files) >= MAX_FILES_PER_SESSION:
                raise UploadRefusedError(
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                    f"This session already has {MAX_FILES_PER_SESSION} uploaded files.",
                    "Remove a file before you upload another one.",
                )
            session.uploads += 1

    def reserve(self, session_id: str, size_bytes: int) -> None:
        """Reserve space for more bytes of an upload. Raises `UploadRefusedError` beyond a limit."""
        with self._lock:
            session = self._sessions.get(session_id)
            if session is None:
                raise UploadRefusedError(HTTPStatus.FORBIDDEN, "This session has ended.", "Open the dashboard again.")
            for name, item in self._sessions.items():
                self._drop_removed_files(name, item)
            self._raise_beyond_session_limit(session, size_bytes)
            if sum(item.held_bytes for item in self._sessions.values()) + size_bytes > self.limits.total_bytes:
                raise UploadRefusedError(
                    HTTPStatus.SERVICE_UNAVAILABLE,
                    f"The uploaded files of all users together can't exceed {self.limits.total_bytes // MEGABYTE:,} MB "
                    "(PREPTIME_UI_MAX_TOTAL_UPLOAD_MB).",
                    "Try again later, or use `preptime score`.",
                )
            session.reserved_bytes += size_bytes

    def _raise_beyond_session_limit(self, session: _Session, size_bytes: int) -> None:
        other_bytes = session.held_bytes - session.reserved_bytes
        limit = self.limits.session_bytes
        if session.held_bytes + size_bytes <= limit:
            return
        limit_text = f"{limit // MEGABYTE:,} MB (PREPTIME_UI_MAX_UPLOAD_MB)"
        if other_bytes:
            raise UploadRefusedError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"With the files of this session, {other_bytes / MEGABYTE:,.1f} MB, this file exceeds {limit_text}.",
                "Remove the other files first.",
            )
        raise UploadRefusedError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"The file is larger than {limit_text}.",
            "For larger files, use `preptime score`.",
        )

    def finish_upload(self, session_id: str, reserved_bytes: int, stored: tuple[str, int] | None) -> bool:
        """Release the reservation of an upload. Return False if the session has ended.

        `stored` is the ID and the size of the file, if it was stored.
        """
        with self._lock:
            session = self._sessions.get(session_id)
            if session is None:
                return False
            session.uploads -= 1
            session.reserved_bytes -= reserved_bytes
            if stored is not None:
                session.files[stored[0]] = stored[1]
            return True

    def set_saved_bytes(self, session_id: str, size_bytes: int) -> None:
        """Record the size of the file in the session's folder."""
        with self._lock:
            if session := self._sessions.get(session_id):
                session.saved_bytes = size_bytes

    def set_refusal(self, session_id: str, refusal: UploadRefusedError) -> None:
        """Keep a refusal until the session's page shows it."""
        with self._lock:
            if session := self._sessions.get(session_id):
                session.refusal = refusal

    def take_refusal(self, session_id: str) -> UploadRefusedError | None:
        """Return the refusal that the page hasn't shown yet, or None."""
        with self._lock:
            session = self._sessions.get(session_id)
            if session is None:
                return None
            refusal, session.refusal = session.refusal, None
            return refusal

    def held_bytes(self) -> int:
        """Return the bytes of all uploads, including those in progress."""
        with self._lock:
            for name, session in self._sessions.items():
                self._drop_removed_files(name, session)
            return sum(session.held_bytes for session in self._sessions.values())

    def _drop_removed_files(self, session_id: str, session: _Session) -> None:
        if session.files:
            stored_ids = self._stored_file_ids(session_id, session.files)
            session.files = {name: size for name, size in session.files.items() if name in stored_ids}


def _ids_in_streamlit(session_id: str, file_ids: Collection[str]) -> set[str]:
    files = Runtime.instance().uploaded_file_mgr.get_files(session_id, list(file_ids))
    return {file.file_id for file in files}


@st.cache_resource(show_spinner=False)
def get_session_registry() -> SessionRegistry:
    """Return the session registry of this process."""
    # Not at the top: the server imports this module before Streamlit's runtime exists, which the caches there need.
    from preptime.ui.connections import get_context

    return SessionRegistry(UploadLimits.from_settings(get_context().settings), _ids_in_streamlit)
