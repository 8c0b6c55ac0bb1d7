"""`preptime.api.wsgi:app`, as a platform imports it: from the environment, without a library of training."""

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

ASKING = """
import io, json, sys
from preptime.api.wsgi import app

def ask(method, path, body=b"", **headers):
    environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "SERVER_NAME": "here", "SERVER_PORT": "80",
        "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(body), "wsgi.errors": sys.stderr,
        "CONTENT_TYPE": "application/json", "CONTENT_LENGTH": str(len(body)), **headers}
    said = []
    answer = b"".join(app(environ, lambda status, headers: said.append(status)))
    return said[0][:3], json.loads(answer)

order = {"order_acknowledged_at": "2015-06-17 12:28", "order_value_gbp": 9, "restaurant_id": 10, "number_of_items": 1}
body = json.dumps(order).encode()
print(json.dumps({
    "ready": ask("GET", "/readyz"),
    "refused": ask("POST", "/v1/predictions", body)[0],
    "answered": ask("POST", "/v1/predictions", body, HTTP_AIKEY="plain key"),
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
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("PREPTIME_", "AIP_", "AIKEY"))}
    done = subprocess.run(
        [sys.executable, "-c", ASKING],
        cwd=tmp_path,
        env=ours | {"PREPTIME_STORE": str(tmp_path / "models"), "AIKEY": "plain key"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["ready"][0] == "200"
    assert found["ready"][1]["bundle"] == bundle_id
    assert found["refused"] == "401"
    assert found["answered"][0] == "200"
    assert found["answered"][1]["bundle"] == bundle_id
    assert {"flask", "msgspec", "numpy", "onnxruntime"} <= set(found["modules"])
    assert set(found["modules"]).isdisjoint(TRAINING_ONLY)
    logged = list((tmp_path / "predictions").glob("*"))
    assert len(logged) == 1, "what was answered is written before the process ends"
