from contextlib import AbstractContextManager

class _CustomLoggersStack:
    _owning_thread_id: int | None
    _stack: list[tuple[object, object]]

_custom_loggers_stack: _CustomLoggersStack

def log_fixup() -> AbstractContextManager[None]: ...
