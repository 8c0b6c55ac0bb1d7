"""`gs://`: a place for bundles and the log in a bucket of Google Cloud Storage.

Nothing in a bucket is ever written over: every upload has the precondition of generation 0, which the storage itself
decides. That makes the log's promotion exclusive, every upload safe to repeat, and an account that may create objects
but not delete them enough for everything except pruning. Reading writes nothing, so it takes an account that may read.
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
"""To connect, and between two pieces of an answer: a bucket that hangs is a bucket that is away."""

# Random waits up to 0.5, 1, 2, 4, 8 s, for connections that fail and the statuses 408, 429, 500, 502, 503 and 504.
_RETRY = DEFAULT_RETRY.with_delay(initial=0.5, maximum=8.0, multiplier=2.0)
READ_RETRY_SECONDS = 15.0
"""What serves asks again at every interval anyway, and should soon say that the bucket is away."""
WRITE_RETRY_SECONDS = 60.0
"""A job that has trained for minutes waits for a minute before it gives up."""
READ_RETRY = _RETRY.with_timeout(READ_RETRY_SECONDS)
WRITE_RETRY = _RETRY.with_timeout(WRITE_RETRY_SECONDS)


class GcsBackend:
    """Names are relative to the URL. A bundle exists once its manifest does: written last, removed first.

    The client is made at the first use and credentials are looked for then: a server starts while they, or the
    bucket, are away. Every method raises `OSError`.
    """

    def __init__(self, url: str, connect: Callable[[], storage.Client] | None = None) -> None:
        parts = urlsplit(url)
        if not parts.netloc:
            raise StoreError(f"{url} names no bucket.", "Write gs://BUCKET or gs://BUCKET/FOLDER.")
        self._bucket_name = parts.netloc
        self._root = parts.path.strip("/")
        self._connect = connect or _create_client
        self._bucket: storage.Bucket | None = None
        self._lock = threading.Lock()

    def list_names(self, folder: str) -> list[str]:
        """Sorted names of what lies directly in `folder`; none when there is none. A missing bucket is an error."""
        prefix = f"{self._path(folder)}/"
        with _as_os_errors():
            blobs = self._get_bucket().list_blobs(
                prefix=prefix, delimiter="/", timeout=TIMEOUT_SECONDS, retry=READ_RETRY
            )
            paths = {blob.name for blob in blobs} | set(blobs.prefixes)
        return sorted(name.removeprefix(prefix).rstrip("/") for name in paths - {prefix})

    def file_exists(self, name: str) -> bool:
        """Whether there is such an object."""
        with _as_os_errors():
            return self._get_bucket().blob(self._path(name)).exists(timeout=TIMEOUT_SECONDS, retry=READ_RETRY)

    def read(self, name: str) -> bytes:
        """The whole content, its checksum checked."""
        with _as_os_errors():
            blob = self._get_bucket().blob(self._path(name))
            return blob.download_as_bytes(raw_download=True, timeout=TIMEOUT_SECONDS, retry=READ_RETRY)

    def create_exclusive(self, name: str, content: bytes) -> bool:
        """Write an object that did not exist. False: it was there, also when a lost answer had hidden that it is ours.

        (Whose it is, the log's caller can tell from its content.)
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
        """Write a bundle's folder, the manifest last. What a crash left there is the same content and stays."""
        if self.file_exists(f"{folder}/{MANIFEST_FILE}"):
            return
        for name in sorted(files, key=lambda name: (name == MANIFEST_FILE, name)):
            self.create_exclusive(f"{folder}/{name}", files[name])

    def remove_folder(self, folder: str) -> None:
        """Remove the manifest, then the rest."""
        with _as_os_errors():
            bucket = self._get_bucket()
            _delete(bucket, self._path(f"{folder}/{MANIFEST_FILE}"))
            for blob in self._list_blobs(folder):
                _delete(bucket, blob.name)

    def remove_abandoned(self, folder: str, modified_before: float) -> list[str]:
        """Clear bundles in `folder` without a manifest that nobody has touched since `modified_before` (seconds since 1970)."""
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
        """When the object was written, by the storage's clock (seconds since 1970)."""
        with _as_os_errors():
            blob = self._get_bucket().get_blob(self._path(name), timeout=TIMEOUT_SECONDS, retry=READ_RETRY)
        if blob is None:
            raise FileNotFoundError(f"{self._path(name)}: no such object")
        return blob.updated.timestamp()

    def is_writable(self) -> bool:
        """Whether this account may create objects. Nothing is written to find out."""
        permissions = ["storage.objects.create"]
        with _as_os_errors():
            return permissions == self._get_bucket().test_iam_permissions(
                permissions, timeout=TIMEOUT_SECONDS, retry=READ_RETRY
            )

    def storage_time(self) -> float | None:
        """The storage's clock (seconds since 1970), from the date that any of its answers carries."""
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
    """By the account that the machine runs as; anonymously when `STORAGE_EMULATOR_HOST` names an emulator."""
    # The client would ask, in a thread of its own, where the bucket lies, to say so in traces that nobody collects; an
    # account that may read objects may not ask that.
    os.environ.setdefault(BUCKET_METADATA_OPT_OUT, "true")
    return storage.Client(project=None)  # objects belong to buckets; which project pays is no question of ours


def _delete(bucket: storage.Bucket, name: str) -> None:
    try:
        bucket.delete_blob(name, timeout=TIMEOUT_SECONDS, retry=WRITE_RETRY)
    except NotFound:
        return  # gone is gone: by another's pruning, or by our own request, whose answer was lost


@contextmanager
def _as_os_errors() -> Iterator[None]:
    """What the client raises becomes the `OSError` that a place raises; a lost network's errors are such already."""
    try:
        yield
    except NotFound as error:
        raise FileNotFoundError(error.message) from error
    except (GoogleAPIError, GoogleAuthError, DataCorruption) as error:
        raise OSError(str(error)) from error
