# Just what dags/ uses of Google's operator.
from datetime import timedelta
from typing import Any

from airflow.providers.google.cloud.hooks.dataproc import DataprocHook
from airflow.sdk import BaseOperator

class DataprocCreateBatchOperator(BaseOperator):
    project_id: str
    region: str
    batch_id: str
    def __init__(
        self,
        *,
        task_id: str,
        project_id: str,
        region: str,
        batch_id: str,
        batch: dict[str, Any],
        deferrable: bool,
        polling_interval_seconds: int,
        execution_timeout: timedelta | None = ...,
        **more: Any,
    ) -> None: ...
    @property
    def hook(self) -> DataprocHook: ...
