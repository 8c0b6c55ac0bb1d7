from subprocess import Popen
from typing import Any, NamedTuple

class SubprocessResult(NamedTuple):
    exit_code: int
    output: str

class SubprocessHook:
    sub_process: Popen[bytes] | None
    def __init__(self, **more: Any) -> None: ...
    def run_command(self, command: list[str], **options: Any) -> SubprocessResult: ...
    def send_sigterm(self) -> None: ...
