from collections.abc import Awaitable, Callable
from typing import Any

class DataprocHook:
    get_batch_client: Callable[..., Any]
    def get_batch(self, *, batch_id: str, region: str, project_id: str) -> Any: ...
    def delete_batch(self, *, batch_id: str, region: str, project_id: str) -> None: ...

class DataprocAsyncHook:
    get_batch_client: Callable[..., Awaitable[Any]]
