"""Tests of the upload limits of sessions."""

from __future__ import annotations

from collections.abc import Collection
from http import HTTPStatus

import pytest

from preptime.ui.session_registry import MAX_FILES_PER_SESSION, SessionRegistry, UploadLimits, UploadRefusedError


class Storage:
    """Replaces Streamlit's storage: the IDs of the files that it holds."""

    def __init__(self) -> None:
        self.ids: set[str] = set()

    def stored_ids(self, _session_id: str, file_ids: Collection[str]) -> set[str]:
        """Return which of these files are stored."""
        return self.ids & set(file_ids)


@pytest.fixture
def storage() -> Storage:
    """An empty storage."""
    return Storage()


@pytest.fixture
def registry(storage: Storage) -> SessionRegistry:
    """100 bytes for a session, 150 for all, and the sessions a and b, which are signed in."""
    registry = SessionRegistry(UploadLimits(session_bytes=100, total_bytes=150), storage.stored_ids)
    for name in ("a", "b"):
        registry.register(name, f"connection of {name}")
        registry.sign_in(name)
    return registry


def store_file(registry: SessionRegistry, storage: Storage, session_id: str, file_id: str, size: int) -> None:
    """Upload a file successfully."""
    registry.start_upload(session_id)
    registry.reserve(session_id, size)
    storage.ids.add(file_id)
    registry.finish_upload(session_id, size, (file_id, size))


def refused_status(registry: SessionRegistry, session_id: str, size: int) -> HTTPStatus:
    """Return the status with which an upload is refused."""
    with pytest.raises(UploadRefusedError) as refusal:
        registry.reserve(session_id, size)
    return refusal.value.status


@pytest.mark.parametrize("session_id", ["unknown", "visitor"])
def test_upload_without_sign_in_is_refused(registry: SessionRegistry, session_id: str) -> None:
    registry.register("visitor", "a connection")
    with pytest.raises(UploadRefusedError) as refusal:
        registry.start_upload(session_id)
    assert refusal.value.status == HTTPStatus.FORBIDDEN


def test_session_limit_counts_files_and_uploads_in_progress(registry: SessionRegistry, storage: Storage) -> None:
    store_file(registry, storage, "a", "first", 60)
    registry.start_upload("a")
    registry.reserve("a", 40)
    assert refused_status(registry, "a", 1) == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    assert registry.held_bytes() == 100
    registry.finish_upload("a", 40, None)
    registry.reserve("a", 40)


def test_total_limit_counts_all_sessions(registry: SessionRegistry, storage: Storage) -> None:
    store_file(registry, storage, "a", "first", 100)
    registry.reserve("b", 50)
    assert refused_status(registry, "b", 1) == HTTPStatus.SERVICE_UNAVAILABLE


def test_removed_and_saved_files_change_the_held_bytes(registry: SessionRegistry, storage: Storage) -> None:
    store_file(registry, storage, "a", "first", 100)
    registry.set_saved_bytes("a", 100)
    storage.ids.clear()  # the page saves the file, then Streamlit removes it
    assert registry.held_bytes() == 100
    assert refused_status(registry, "a", 1) == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    registry.set_saved_bytes("a", 0)
    registry.reserve("a", 100)


def test_number_of_files_per_session_is_limited(registry: SessionRegistry, storage: Storage) -> None:
    for number in range(MAX_FILES_PER_SESSION):
        store_file(registry, storage, "a", f"file {number}", 1)
    with pytest.raises(UploadRefusedError, match=r"already has 4 uploaded files\. Remove a file"):
        registry.start_upload("a")
    storage.ids.remove("file 0")
    registry.start_upload("a")


def test_ended_session_holds_nothing_and_is_unknown(registry: SessionRegistry, storage: Storage) -> None:
    store_file(registry, storage, "a", "first", 100)
    registry.start_upload("a")
    registry.end("a")
    assert registry.held_bytes() == 0
    assert registry.session_of("connection of a") is None
    assert not registry.finish_upload("a", 0, None)


def test_reconnected_session_belongs_to_its_new_connection(registry: SessionRegistry) -> None:
    registry.register("a", "another connection")
    assert registry.session_of("connection of a") is None
    assert registry.session_of("another connection") == "a"
    assert registry.is_signed_in("a")


def test_refusal_is_shown_only_to_its_session_and_only_once(registry: SessionRegistry) -> None:
    refusal = UploadRefusedError(HTTPStatus.SERVICE_UNAVAILABLE, "Too large.", "Use a smaller file.")
    registry.set_refusal("a", refusal)
    assert registry.take_refusal("b") is None
    assert registry.take_refusal("a") is refusal
    assert registry.take_refusal("a") is None
