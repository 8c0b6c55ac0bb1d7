"""Run the batch operator of the DAGs against a fake of Google's Batch API, and print the results as JSON.

`run_batches.py CASE...`. A case is the state of a batch that exists before the task runs, or `none`. The operator, its
hook, and its trigger are Google's. Only the API clients are fakes: they keep batches in memory.
"""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[3] / "dags"))

import preptime_batches
from airflow.providers.google.cloud.hooks.dataproc import DataprocAsyncHook, DataprocHook
from airflow.sdk.exceptions import AirflowException, TaskDeferred
from google.api_core.exceptions import AlreadyExists, NotFound
from google.cloud.dataproc_v1 import Batch  # type: ignore[import-untyped]

DATE = "2015-06-24"


class FakeBatchClient:
    """A fake of `BatchControllerClient`. A new batch ends immediately with `state_of_new_batch`."""

    def __init__(self, state: str | None, state_of_new_batch: str) -> None:
        self.batches: dict[str, Batch] = {}
        self.state_of_new_batch = state_of_new_batch
        self.calls: list[str] = []
        if state:
            self.batches[f"preptime-score-{DATE}"] = Batch(state=state, state_message="out of memory")

    def create_batch(self, *, request: dict[str, Any], **_: object) -> object:
        self.calls.append(f"create {request['parent']} {request['batch_id']}")
        if request["batch_id"] in self.batches:
            raise AlreadyExists("exists")  # type: ignore[no-untyped-call]
        batch = Batch(request["batch"])  # refuses unknown fields and wrong types
        batch.state = Batch.State[self.state_of_new_batch]
        self.batches[request["batch_id"]] = batch
        return SimpleNamespace(metadata=SimpleNamespace(batch=f"{request['parent']}/batches/{request['batch_id']}"))

    def get_batch(self, *, request: dict[str, Any], **_: object) -> Batch:
        batch_id = request["name"].rpartition("/")[2]
        self.calls.append(f"get {batch_id}")
        if batch_id not in self.batches:
            raise NotFound("no such batch")  # type: ignore[no-untyped-call]
        return self.batches[batch_id]

    def delete_batch(self, *, request: dict[str, Any], **_: object) -> None:
        batch_id = request["name"].rpartition("/")[2]
        self.calls.append(f"delete {batch_id}")
        del self.batches[batch_id]


class FakeAsyncBatchClient:
    """The same batches for the trigger. A running batch succeeds after the first look."""

    def __init__(self, client: FakeBatchClient) -> None:
        self.client = client

    async def get_batch(self, *, request: dict[str, Any], **_: object) -> Batch:
        batch = self.client.get_batch(request=request)
        if batch.state == Batch.State.RUNNING:
            batch.state = Batch.State.SUCCEEDED
        return batch


def run_task(state: str | None, state_of_new_batch: str = "SUCCEEDED", command: str = "score") -> dict[str, object]:
    """Run the task as Airflow does: execute, the trigger, and then the method that the trigger names."""
    client = FakeBatchClient(state, state_of_new_batch)

    async def async_client(*_: object, **__: object) -> FakeAsyncBatchClient:
        return FakeAsyncBatchClient(client)

    DataprocHook.get_batch_client = lambda *_: client
    DataprocAsyncHook.get_batch_client = async_client
    task = preptime_batches.batch_task(command, command, date=DATE, execution_timeout=timedelta(hours=1))
    context: Any = {"ti": SimpleNamespace(xcom_push=lambda **_: None), "task": task, "task_instance": None}
    try:
        task.execute(context)
        outcome = "not deferred"
    except TaskDeferred as deferred:
        event = asyncio.run(first_event(deferred.trigger))
        outcome = resume(task, deferred.method_name, context, event)
    batch = client.batches[f"preptime-{command}-{DATE}"]
    return {"outcome": outcome, "calls": client.calls, "batch": Batch.to_dict(batch, preserving_proto_field_name=True)}


async def first_event(trigger: Any) -> dict[str, Any]:
    """Return the first event of a trigger."""
    async for event in trigger.run():
        payload: dict[str, Any] = event.payload
        return payload
    raise AssertionError("no event")


def resume(task: Any, method_name: str, context: Any, event: dict[str, Any]) -> str:
    """Continue a deferred task, and return its exception or "success"."""
    try:
        getattr(task, method_name)(context, event=event)
    except AirflowException as error:
        return f"{type(error).__name__}: {error}"
    return "success"


def main(*cases: str) -> None:
    """Run all cases in one process, because loading Google's provider takes the longest."""
    results: dict[str, object] = {case: run_task(None if case == "none" else case) for case in cases}
    results["new fails"] = run_task(None, "FAILED")
    results["corpus"] = run_task(None, command="corpus")
    sys.stdout.write(f"\n{json.dumps(results)}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
