from collections.abc import Callable
from typing import Any, TypeVar, overload

_F = TypeVar("_F", bound=Callable[..., Any])
_C = TypeVar("_C", bound=type)

def service(*, workers: int = ..., logging: dict[str, object] = ...) -> Callable[[_C], _C]: ...
@overload
def api(func: _F, /) -> _F: ...
@overload
def api(*, batchable: bool = ..., max_batch_size: int = ..., max_latency_ms: int = ...) -> Callable[[_F], _F]: ...
