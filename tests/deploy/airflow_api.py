"""Airflow's REST API, as a person's script would call it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

from tests.deploy.engine import ask

END = frozenset({"success", "failed"})


@dataclass(frozen=True)
class Airflow:
    """An api-server on loopback, and who asks it."""

    port: int
    user: str
    password: str

    def unpause(self, dag: str) -> None:
        """Let a DAG run."""
        self._ask("PATCH", f"/api/v2/dags/{dag}", {"is_paused": False})

    def first_run(self, dag: str, seconds: float) -> str:
        """Wait for the end of the run that Airflow schedules by itself once a DAG may run; its state."""
        end = time.monotonic() + seconds
        state = ""
        while time.monotonic() < end and state not in END:
            time.sleep(0.5)
            runs = self._ask("GET", f"/api/v2/dags/{dag}/dagRuns")["dag_runs"]
            assert isinstance(runs, list)
            state = str(runs[0]["state"]) if runs else ""
        return state

    def log(self, dag: str, task: str) -> str:
        """What the first try of a task of its run wrote."""
        runs = self._ask("GET", f"/api/v2/dags/{dag}/dagRuns")["dag_runs"]
        assert isinstance(runs, list)
        name = runs[0]["dag_run_id"]
        return json.dumps(self._ask("GET", f"/api/v2/dags/{dag}/dagRuns/{name}/taskInstances/{task}/logs/1"))

    def _ask(self, method: str, path: str, body: dict[str, object] | None = None) -> dict[str, object]:
        content = json.dumps(body).encode() if body is not None else None
        headers = {"Authorization": f"Bearer {self._token()}", "Content-Type": "application/json"}
        status, answer = ask(self.port, path, content, headers, method=method)
        assert status in {200, 201}, f"{method} {path}: {status} {answer}"
        found: dict[str, object] = json.loads(answer)
        return found

    def _token(self) -> str:
        who = json.dumps({"username": self.user, "password": self.password}).encode()
        status, answer = ask(self.port, "/auth/token", who, {"Content-Type": "application/json"})
        assert status in {200, 201}, answer
        return str(json.loads(answer)["access_token"])
