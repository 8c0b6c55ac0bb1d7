"""A client of Airflow's REST API."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

from tests.deploy.engine import send_request

FINAL_STATES = frozenset({"success", "failed"})


@dataclass(frozen=True)
class AirflowClient:
    """An API server on loopback, and a user with a password."""

    port: int
    user: str
    password: str

    def unpause(self, dag: str) -> None:
        """Unpause a DAG."""
        self._request("PATCH", f"/api/v2/dags/{dag}", {"is_paused": False})

    def wait_for_first_run(self, dag: str, seconds: float) -> str:
        """Wait for the run that Airflow schedules after a DAG is unpaused, and return its state."""
        deadline = time.monotonic() + seconds
        state = ""
        while time.monotonic() < deadline and state not in FINAL_STATES:
            time.sleep(0.5)
            runs = self._runs(dag)
            state = str(runs[0]["state"]) if runs else ""
        return state

    def task_log(self, dag: str, task: str) -> str:
        """Return the log of a task's first try."""
        run_id = self._runs(dag)[0]["dag_run_id"]
        return json.dumps(self._request("GET", f"/api/v2/dags/{dag}/dagRuns/{run_id}/taskInstances/{task}/logs/1"))

    def _runs(self, dag: str) -> list[dict[str, object]]:
        runs = self._request("GET", f"/api/v2/dags/{dag}/dagRuns")["dag_runs"]
        assert isinstance(runs, list)
        return runs

    def _request(self, method: str, path: str, body: dict[str, object] | None = None) -> dict[str, object]:
        content = json.dumps(body).encode() if body is not None else None
        headers = {"Authorization": f"Bearer {self._token()}", "Content-Type": "application/json"}
        status, response = send_request(self.port, path, content, headers, method=method)
        assert status in {200, 201}, f"{method} {path}: {status} {response}"
        document: dict[str, object] = json.loads(response)
        return document

    def _token(self) -> str:
        credentials = json.dumps({"username": self.user, "password": self.password}).encode()
        status, response = send_request(self.port, "/auth/token", credentials, {"Content-Type": "application/json"})
        assert status in {200, 201}, response
        return str(json.loads(response)["access_token"])
