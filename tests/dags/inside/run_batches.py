"""Run the batch operator of the DAGs against a fake of Google's Batch API, and print the results as JSON.

`run_batches.py CASE...`. A case is the state of a batch that exists before the task runs, or `none`. The operator, its
hook, and its trigger are Google's. Only the API clients are fakes: they keep batches in memory.
"""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[3] / "dags"))

import preptime_batches
from airflow.providers.google.cloud.hooks.dataproc import DataprocAsyncHook, DataprocHook
from airflow.sdk.exceptions import AirflowException, TaskDeferred
from daily_training_run import dag
from google.api_core.exceptions import AlreadyExists, NotFound
from google.cloud.dataproc_v1 import Batch  # type: ignore[import-untyped]

DATE = "2015-06-24"


class FakeBatchClient:
    """A fake of `BatchControllerClient`. A new batch ends immediately with `state_of_new_batch`."""

    def __init__(self, state: str | None, state_of_new_batch: str, command: str = "score") -> None:
        self.batches: dict[str, Batch] = {}
        self.state_of_new_batch = state_of_new_batch
        self.calls: list[str] = []
        if state:
            self.batches[f"preptime-{command}-{DATE}"] = Batch(state=state, state_message="out of memory")

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
    client = replace_clients(state, state_of_new_batch, command)
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


def prepare_train(try_number: int, state: str, state_of_new_batch: str = "SUCCEEDED") -> dict[str, object]:
    """Do what Airflow does before a try of the task `train` in the DAG, after a batch `corpus` with this state."""
    client = replace_clients(state, state_of_new_batch, "corpus")
    training: Any = dag
    task = training.get_task("train")
    ti = SimpleNamespace(try_number=try_number, xcom_push=lambda **_: None)
    try:
        task._pre_execute_hook({"ti": ti, "task": task, "logical_date": datetime(2015, 6, 24, 5, tzinfo=UTC)})
        outcome = "success"
    except AirflowException as error:
        outcome = f"{type(error).__name__}: {error}"
    batch = Batch.to_dict(client.batches[f"preptime-corpus-{DATE}"], preserving_proto_field_name=True)
    return {"outcome": outcome, "calls": client.calls, "batch": batch}


def replace_clients(state: str | None, state_of_new_batch: str, command: str) -> FakeBatchClient:
    """Let Google's hooks use a fake. Return the fake."""
    client = FakeBatchClient(state, state_of_new_batch, command)

    async def async_client(*_: object, **__: object) -> FakeAsyncBatchClient:
        return FakeAsyncBatchClient(client)

    DataprocHook.get_batch_client = lambda *_: client
    DataprocAsyncHook.get_batch_client = async_client
    return client


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
    results |= {f"corpus {state}": run_task(state, command="corpus") for state in ("RUNNING", "SUCCEEDED", "FAILED")}
    results["train 1"] = prepare_train(1, "SUCCEEDED")
    results |= {f"train 2 {state}": prepare_train(2, state) for state in ("SUCCEEDED", "FAILED")}
    results["train 2 fails"] = prepare_train(2, "SUCCEEDED", "FAILED")
    sys.stdout.write(f"\n{json.dumps(results)}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
