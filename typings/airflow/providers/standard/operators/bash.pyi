from functools import cached_property
from typing import Any

from airflow.providers.standard.hooks.subprocess import SubprocessHook
from airflow.sdk import BaseOperator, Context

class BashOperator(BaseOperator):
    def __init__(self, *, bash_command: str, cwd: str | None = ..., **more: Any) -> None: ...
    @cached_property
    def subprocess_hook(self) -> SubprocessHook: ...
    def get_env(self, context: Context) -> dict[str, str]: ...
