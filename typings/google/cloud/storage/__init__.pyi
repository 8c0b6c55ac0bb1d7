from collections.abc import Iterable, Iterator
from datetime import datetime

from google.api_core.retry import Retry

class Client:
    api_endpoint: str
    def __init__(self, project: str | None) -> None: ...
    def bucket(self, bucket_name: str) -> Bucket: ...
    def close(self) -> None: ...

class Listing(Iterable[Blob]):
    prefixes: set[str]
    def __iter__(self) -> Iterator[Blob]: ...

class Bucket:
    client: Client
    def get_blob(self, blob_name: str, *, timeout: tuple[float, float], retry: Retry) -> Blob | None: ...
    def blob(self, blob_name: str) -> Blob: ...
    def list_blobs(
        self, *, prefix: str, delimiter: str | None = None, timeout: tuple[float, float], retry: Retry
    ) -> Listing: ...
    def delete_blob(self, blob_name: str, *, timeout: tuple[float, float], retry: Retry) -> None: ...
    def test_iam_permissions(
        self, permissions: list[str], *, timeout: tuple[float, float], retry: Retry
    ) -> list[str]: ...

class Blob:
    name: str
    updated: datetime
    def exists(self, *, timeout: tuple[float, float], retry: Retry) -> bool: ...
    def download_as_bytes(self, *, raw_download: bool, timeout: tuple[float, float], retry: Retry) -> bytes: ...
    def upload_from_string(
        self,
        data: bytes,
        *,
        content_type: str,
        if_generation_match: int,
        timeout: tuple[float, float],
        retry: Retry,
    ) -> None: ...
