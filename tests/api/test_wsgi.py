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

CLIENT_PROGRAM = """
import io, json, sys
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
print(json.dumps({
    "ready": send("GET", "/readyz"),
    "without_key": send("POST", "/v1/predictions", body)[0],
    "with_key": send("POST", "/v1/predictions", body, HTTP_AIKEY="plain key"),
    "modules": [name for name in sys.modules if "." not in name],
}))
"""


def test_wsgi_import_serves_the_champion(tmp_path: Path) -> None:
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
        [sys.executable, "-c", CLIENT_PROGRAM],
        cwd=tmp_path,
        env=environment | {"PREPTIME_STORE": str(tmp_path / "models"), "AIKEY": "plain key"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
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
