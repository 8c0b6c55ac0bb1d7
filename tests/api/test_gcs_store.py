"""The API with a read-only bucket: it follows the champion, and keeps predicting while the bucket is unavailable."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from werkzeug.test import Client

from preptime.api.runtime import ServiceRuntime, build_runtime
from preptime.api.worker import configured_api_keys
from preptime.bundle.champion_log import ChampionLog, LogEntryDraft
from preptime.bundle.store import Store
from preptime.settings import Settings
from tests.api.factories import HEADERS, KEY, ORDER, http_client, poll_and_load
from tests.api.processes import SERVE_COMMAND, running_server
from tests.bundle.factories import DAY, put_bundle
from tests.bundle.fake_gcs import BUCKET, FakeGcs, closing_clients, run_fake_gcs

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""The client leaves the streamed responses of failed downloads to the garbage collector."""

URL = f"gs://{BUCKET}/models"


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeGcs]:
    """Return the fake bucket. Copies of its bundles go to a folder of the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with closing_clients(monkeypatch), run_fake_gcs(monkeypatch) as found:
        yield found


class Api:
    """A service with the bucket as its store, which polls when a test calls `poll`."""

    def __init__(self) -> None:
        settings = Settings(store=URL, aikey=KEY, prediction_log="off")
        self.runtime: ServiceRuntime = build_runtime(settings, configured_api_keys(settings))
        self.http: Client = http_client(self.runtime.service, "fast_path")

    def poll(self) -> None:
        """Poll the champion log, as the watcher's thread does at every interval."""
        poll_and_load(self.runtime.watcher)
        self.runtime._publish_state()

    def predicting_bundle(self) -> str:
        """Predict one order and return the ID of the bundle."""
        response = self.http.post("/v1/predictions", json=ORDER, headers=HEADERS)
        assert response.status_code == 200, response.text
        return str(json.loads(response.text)["bundle"])

    def readiness(self) -> tuple[int, dict[str, object]]:
        """Return the status and the document of /readyz."""
        response = self.http.get("/readyz")
        return response.status_code, json.loads(response.text)

    def workers_without_store(self) -> int:
        """Return the number of workers without a store in /metrics."""
        (line,) = [
            line for line in self.http.get("/metrics").text.splitlines() if line.startswith("preptime_workers_without")
        ]
        return int(float(line.rpartition(" ")[2]))


def promote(fake: FakeGcs, shift: float, *, stuck: str = "") -> str:
    """Promote a new bundle with an account that can write. Downloads of its file `stuck` don't finish."""
    fake.read_only = False
    store = Store.open(URL)
    bundle, log = put_bundle(store, shift=shift), ChampionLog(store)
    fake.blocked_suffix = stuck
    log.append(
        LogEntryDraft(bundle=bundle, date=DAY, action="promote", reason="test", by="test", at="now"), log.current()
    )
    fake.read_only = True
    return bundle


def test_api_read_only_account_loads_new_champions(fake: FakeGcs) -> None:
    first = promote(fake, 1.0)
    api = Api()
    api.poll()
    assert api.predicting_bundle() == first
    second = promote(fake, 2.0)
    api.poll()
    assert api.predicting_bundle() == second
    assert api.workers_without_store() == 0
    assert fake.rejected_writes == []


def test_api_unavailable_bucket_keeps_predicting(fake: FakeGcs) -> None:
    first = promote(fake, 1.0)
    api = Api()
    api.poll()
    fake.is_unreachable = True
    api.poll()
    assert api.predicting_bundle() == first
    status, document = api.readiness()
    assert (status, document["ready"], document["bundle"]) == (200, True, first)
    assert URL in str(document["champion_error"])
    assert api.workers_without_store() == 1
    fake.is_unreachable = False
    second = promote(fake, 2.0)
    api.poll()
    assert api.predicting_bundle() == second
    assert "champion_error" not in api.readiness()[1]
    assert api.workers_without_store() == 0


def test_api_bucket_unavailable_at_start_is_retried(fake: FakeGcs) -> None:
    first = promote(fake, 1.0)
    fake.is_unreachable = True
    api = Api()
    api.poll()
    status, document = api.readiness()
    assert (status, document["ready"]) == (503, False)
    assert URL in str(document["champion_error"])
    assert api.workers_without_store() == 1
    fake.is_unreachable = False
    api.poll()
    assert api.predicting_bundle() == first


def test_api_interrupted_download_is_retried(fake: FakeGcs) -> None:
    """An interrupted download isn't a rejection, which would delay the next attempt."""
    first = promote(fake, 1.0)
    api = Api()
    api.poll()
    second = promote(fake, 2.0)
    fake.unreachable_suffix = "model.onnx"
    api.poll()
    assert api.predicting_bundle() == first
    assert api.runtime.watcher.state.rejected is None
    assert api.workers_without_store() == 1
    fake.unreachable_suffix = ""
    api.poll()
    assert api.predicting_bundle() == second


def test_api_without_credentials_reports_the_missing_file(
    fake: FakeGcs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "nothing.json"))
    api = Api()
    api.poll()
    status, document = api.readiness()
    assert status == 503
    assert "nothing.json" in str(document["champion_error"])


def test_server_on_a_bucket_starts_follows_and_stops(fake: FakeGcs, tmp_path: Path) -> None:
    first = promote(fake, 1.0)
    fake.is_unreachable = True
    with running_server(tmp_path, SERVE_COMMAND, PREPTIME_STORE=URL) as server:
        server.wait_until("/healthz")
        fake.is_unreachable = False
        assert first in server.wait_until("/readyz", "true")
        second = promote(fake, 2.0)
        assert second in server.wait_until("/readyz", second)
        promote(fake, 3.0, stuck="model.onnx")
        assert fake.is_blocked.wait(30)
        assert second in server.get("/readyz")
        started_at = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - started_at < 15
        fake.unblock.set()
    assert fake.rejected_writes == []
