"""The storage backend for `gs://`: a bucket in Google Cloud Storage.

Objects are never overwritten: every upload has the precondition that the object doesn't exist (generation 0), which the
server enforces. Promotions are therefore exclusive, and every upload is safe to repeat. An account that can create
objects, but not delete them, can do everything except prune. To read, an account needs only read access.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

from google.api_core.exceptions import GoogleAPIError, NotFound, PreconditionFailed
from google.auth.exceptions import GoogleAuthError
from google.cloud import storage
from google.cloud.storage.exceptions import DataCorruption
from google.cloud.storage.retry import DEFAULT_RETRY

from preptime.bundle.manifest import MANIFEST_FILE, is_bundle_id
from preptime.errors import StoreError

BUCKET_METADATA_OPT_OUT = "DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA"
TIMEOUT_SECONDS = (5.0, 30.0)
"""Limits for connecting, and for the time between two parts of a response."""

# Random waits of up to 0.5, 1, 2, 4, and 8 s after connection errors and the statuses 408, 429, 500, 502, 503, and 504.
_RETRY = DEFAULT_RETRY.with_delay(initial=0.5, maximum=8.0, multiplier=2.0)
READ_RETRY_SECONDS = 15.0
"""A server polls at every interval anyway, and must report soon that it can't reach the bucket."""
WRITE_RETRY_SECONDS = 60.0
"""A job that has trained for minutes retries for a minute before it fails."""
READ_RETRY = _RETRY.with_timeout(READ_RETRY_SECONDS)
WRITE_RETRY = _RETRY.with_timeout(WRITE_RETRY_SECONDS)


class GcsBackend:
    """A bucket, or a folder in a bucket. Names are relative to the URL. Methods raise `OSError`.

    A bundle exists if its manifest exists. The manifest is therefore written last and deleted first.
    The first use creates the client and finds the credentials, so a server can start while they or the bucket aren't
    available.
    """

    def __init__(self, url: str, connect: Callable[[], storage.Client] | None = None) -> None:
        parts = urlsplit(url)
        if not parts.netloc:
            raise StoreError(f"{url} names no bucket.", "Use gs://BUCKET or gs://BUCKET/FOLDER.")
        self._bucket_name = parts.netloc
        self._root = parts.path.strip("/")
        self._connect = connect or _create_client
        self._bucket: storage.Bucket | None = None
        self._lock = threading.Lock()

    def list_names(self, folder: str) -> list[str]:
        """Return the sorted names directly in `folder`, or none if it doesn't exist. A missing bucket is an error."""
        prefix = f"{self._path(folder)}/"
        with _as_os_errors():
            blobs = self._get_bucket().list_blobs(
                prefix=prefix, delimiter="/", timeout=TIMEOUT_SECONDS, retry=READ_RETRY
            )
            paths = {blob.name for blob in blobs} | set(blobs.prefixes)
        return sorted(name.removeprefix(prefix).rstrip("/") for name in paths - {prefix})

    def file_exists(self, name: str) -> bool:
        """Return whether the object exists."""
        with _as_os_errors():
            return self._get_bucket().blob(self._path(name)).exists(timeout=TIMEOUT_SECONDS, retry=READ_RETRY)

    def read(self, name: str) -> bytes:
        """Return the content of the object. The client verifies its checksum."""
        with _as_os_errors():
            blob = self._get_bucket().blob(self._path(name))
            return blob.download_as_bytes(raw_download=True, timeout=TIMEOUT_SECONDS, retry=READ_RETRY)

    def create_exclusive(self, name: str, content: bytes) -> bool:
        """Create an object and return True. If the object exists, return False and don't change it.

        After a lost response, the result is False although this call created the object. The champion log recognizes
        its own entry by the content.
        """
        with _as_os_errors():
            try:
                self._get_bucket().blob(self._path(name)).upload_from_string(
                    content,
                    content_type="application/json" if name.endswith(".json") else "application/octet-stream",
                    if_generation_match=0,
                    timeout=TIMEOUT_SECONDS,
                    retry=WRITE_RETRY,
                )
            except PreconditionFailed:
                return False
        return True

    def write_folder(self, folder: str, files: Mapping[str, bytes]) -> None:
        """Write a bundle's folder, the manifest last. Files that a crash left there have the same content and stay."""
        if self.file_exists(f"{folder}/{MANIFEST_FILE}"):
            return
        for name in sorted(files, key=lambda name: (name == MANIFEST_FILE, name)):
            self.create_exclusive(f"{folder}/{name}", files[name])

    def remove_folder(self, folder: str) -> None:
        """Delete the manifest, then the other files."""
        with _as_os_errors():
            _delete(self._get_bucket(), self._path(f"{folder}/{MANIFEST_FILE}"))
            for blob in self._list_blobs(folder):
                _delete(self._get_bucket(), blob.name)

    def remove_abandoned(self, folder: str, modified_before: float) -> list[str]:
        """Delete bundles without a manifest in `folder` and return their names.

        Only bundles that were last modified before `modified_before` (seconds since 1970) are deleted.
        """
        removed: list[str] = []
        for name in filter(is_bundle_id, self.list_names(folder)):
            with _as_os_errors():
                blobs = self._list_blobs(f"{folder}/{name}")
                is_complete = any(blob.name == self._path(f"{folder}/{name}/{MANIFEST_FILE}") for blob in blobs)
                if not is_complete and all(blob.updated.timestamp() < modified_before for blob in blobs):
                    for blob in blobs:
                        _delete(self._get_bucket(), blob.name)
                    removed.append(name)
        return removed

    def modified_at(self, name: str) -> float:
        """Return when the object was written, seconds since 1970, by the clock of the storage."""
        with _as_os_errors():
            blob = self._get_bucket().get_blob(self._path(name), timeout=TIMEOUT_SECONDS, retry=READ_RETRY)
        if blob is None:
            raise FileNotFoundError(f"{self._path(name)}: no such object")
        return blob.updated.timestamp()

    def is_writable(self) -> bool:
        """Return whether this account can create objects. Nothing is written."""
        permissions = ["storage.objects.create"]
        with _as_os_errors():
            granted = self._get_bucket().test_iam_permissions(permissions, timeout=TIMEOUT_SECONDS, retry=READ_RETRY)
        return permissions == granted

    def storage_time(self) -> float | None:
        """Return the clock of the storage, seconds since 1970, from the `Date` header of a response."""
        with _as_os_errors():
            endpoint = urlsplit(self._get_bucket().client.api_endpoint)
        connection_class = HTTPSConnection if endpoint.scheme == "https" else HTTPConnection
        connection = connection_class(endpoint.netloc, timeout=TIMEOUT_SECONDS[0])
        try:
            connection.request("HEAD", "/")
            date_header = connection.getresponse().headers["Date"]
        except HTTPException as error:
            raise OSError(f"{endpoint.netloc}: {error}") from error
        finally:
            connection.close()
        return parsedate_to_datetime(date_header).timestamp() if date_header else None

    def _list_blobs(self, folder: str) -> list[storage.Blob]:
        blobs = self._get_bucket().list_blobs(
            prefix=f"{self._path(folder)}/", timeout=TIMEOUT_SECONDS, retry=READ_RETRY
        )
        return list(blobs)

    def _get_bucket(self) -> storage.Bucket:
        with self._lock:
            if self._bucket is None:
                self._bucket = self._connect().bucket(self._bucket_name)
            return self._bucket

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if self._root else name


def _create_client() -> storage.Client:
    """Return a client with the machine's default credentials, or an anonymous one if `STORAGE_EMULATOR_HOST` is set."""
    # By default, the client requests the location of the bucket in a background thread, for traces that aren't
    # collected here. An account with read access to objects isn't allowed to request it.
    os.environ.setdefault(BUCKET_METADATA_OPT_OUT, "true")
    return storage.Client(project=None)  # access to objects doesn't need a project


def _delete(bucket: storage.Bucket, name: str) -> None:
    try:
        bucket.delete_blob(name, timeout=TIMEOUT_SECONDS, retry=WRITE_RETRY)
    except NotFound:
        return  # another process deleted it, or the response to this deletion was lost and it was repeated


@contextmanager
def _as_os_errors() -> Iterator[None]:
    """Convert the client's errors to `OSError`. Network errors are `OSError` already."""
    try:
        yield
    except NotFound as error:
        raise FileNotFoundError(error.message) from error
    except (GoogleAPIError, GoogleAuthError, DataCorruption) as error:
        raise OSError(str(error)) from error
