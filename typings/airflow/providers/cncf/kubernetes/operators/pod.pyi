from datetime import timedelta
from typing import Any

from airflow.sdk import BaseOperator

class KubernetesPodOperator(BaseOperator):
    def __init__(
        self,
        *,
        task_id: str,
        name: str,
        image: str,
        arguments: list[str],
        pod_template_file: str | None,
        on_finish_action: str,
        get_logs: bool,
        termination_grace_period: int,
        execution_timeout: timedelta | None = ...,
        **more: Any,
    ) -> None: ...
