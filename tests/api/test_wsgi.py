"""`preptime.api.wsgi:app`, as another WSGI server imports it: with settings from the environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from preptime.bundle.champion_log import ChampionLog, LogEntryDraft
from preptime.bundle.store import Store
from tests.bundle.factories import DAY, put_bundle
from tests.bundle.test_imports import TRAINING_ONLY
from tests.requirements import requires

CLIENT = """
import io, json, os, sys
from preptime.api.wsgi import app

def send(method, path, body=b"", **headers):
    environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "SERVER_NAME": "here", "SERVER_PORT": "80",
        "HTTP_HOST": "here", "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(body), "wsgi.errors": sys.stderr,
        "CONTENT_TYPE": "application/json", "CONTENT_LENGTH": str(len(body)), **headers}
    statuses = []
    response = b"".join(app(environ, lambda status, headers: statuses.append(status)))
    return statuses[0][:3], json.loads(response)

order = {"order_acknowledged_at": "2015-06-17 12:28", "order_value_gbp": 9, "restaurant_id": 10, "number_of_items": 1}
body = json.dumps(order).encode()
"""
REQUESTS = """
print(json.dumps({
    "ready": send("GET", "/readyz"),
    "without_key": send("POST", "/v1/predictions", body)[0],
    "with_key": send("POST", "/v1/predictions", body, HTTP_AIKEY="plain key"),
    "modules": [name for name in sys.modules if "." not in name],
}))
"""
FORK = """
child = os.fork()
responses = [send("GET", "/healthz"), send("POST", "/v1/predictions", body, HTTP_AIKEY="plain key")]
if child == 0:
    print(json.dumps(responses), file=sys.stderr, flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print(json.dumps(responses))
"""


def run_with_champion(tmp_path: Path, program: str) -> tuple[str, subprocess.CompletedProcess[str]]:
    """Run a program with a store in `tmp_path`. Return the ID of the champion, and the ended process."""
    store = Store.open(str(tmp_path / "models"))
    bundle_id = put_bundle(store)
    draft = LogEntryDraft(
        bundle=bundle_id, date=DAY, action="promote", reason="test", by="test", at="2015-06-17T04:00:00Z"
    )
    ChampionLog(store).append(draft, None)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PREPTIME_", "AIP_", "AIKEY"))
    }
    completed = subprocess.run(
        [sys.executable, "-c", CLIENT + program],
        cwd=tmp_path,
        env=environment | {"PREPTIME_STORE": str(tmp_path / "models"), "AIKEY": "plain key"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    return bundle_id, completed


def test_wsgi_import_serves_the_champion(tmp_path: Path) -> None:
    bundle_id, completed = run_with_champion(tmp_path, REQUESTS)
    result = json.loads(completed.stdout)
    assert result["ready"][0] == "200"
    assert result["ready"][1]["bundle"] == bundle_id
    assert result["without_key"] == "401"
    assert result["with_key"][0] == "200"
    assert result["with_key"][1]["bundle"] == bundle_id
    assert {"flask", "msgspec", "numpy", "onnxruntime"} <= set(result["modules"])
    assert set(result["modules"]).isdisjoint(TRAINING_ONLY)
    logged = list((tmp_path / "predictions").glob("*"))
    assert len(logged) == 1, "the prediction log is written before the process ends"


def test_wsgi_app_of_another_process_is_refused(tmp_path: Path) -> None:
    requires(hasattr(os, "fork"), "this system can't fork")
    bundle_id, completed = run_with_champion(tmp_path, FORK)
    health, prediction = json.loads(completed.stdout)
    assert (health[0], prediction[0], prediction[1]["bundle"]) == ("200", "200", bundle_id)
    *_, message, responses = completed.stderr.splitlines()
    assert completed.stderr.splitlines().count(message) == 1
    assert "Load the application in each worker: gunicorn without --preload" in message
    for status, document in json.loads(responses):
        assert status == "500"
        assert document["detail"] == message
    logged = (tmp_path / "predictions").glob("*")
    assert sum(len(path.read_bytes().splitlines()) for path in logged) == 1, "only the process of the import logs"
