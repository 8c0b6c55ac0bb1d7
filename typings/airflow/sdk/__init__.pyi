# Just what dags/ uses of airflow.sdk.
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from enum import Enum
from logging import Logger
from types import TracebackType
from typing import Any, Self

class TriggerRule(str, Enum):
    ALL_DONE = "all_done"

class Context: ...

class CronTriggerTimetable:
    def __init__(self, cron: str, *, timezone: str) -> None: ...

class DAG:
    def __init__(
        self,
        dag_id: str,
        *,
        description: str | None = ...,
        doc_md: str | None = ...,
        schedule: CronTriggerTimetable,
        start_date: datetime,
        catchup: bool,
        max_active_runs: int,
        tags: list[str],
        user_defined_macros: dict[str, Callable[..., str]],
        default_args: dict[str, Any],
    ) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

class BaseOperator:
    log: Logger
    def __init__(
        self,
        *,
        task_id: str,
        execution_timeout: timedelta | None = ...,
        trigger_rule: TriggerRule = ...,
        **more: Any,
    ) -> None: ...
    def execute(self, context: Context) -> Any: ...
    def on_kill(self) -> None: ...
    def __rshift__(self, other: BaseOperator | Iterable[BaseOperator]) -> BaseOperator: ...
