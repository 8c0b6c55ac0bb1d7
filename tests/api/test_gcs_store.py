"""The API over a bucket that it may only read: it follows the champion, and goes on while the bucket is away."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from werkzeug.test import Client

from preptime.api.runtime import ServiceRuntime, build_runtime
from preptime.bundle.champion_log import ChampionLog, LogEntryDraft
from preptime.bundle.store import Store
from preptime.settings import Settings
from tests.api.factories import HEADERS, KEY, ORDER, http_client
from tests.api.processes import SERVE_COMMAND, running_server
from tests.bundle.factories import DAY, put_bundle
from tests.bundle.fake_gcs import BUCKET, FakeGoogleStorage, clients_that_end, serving

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""The client leaves the streamed answers of downloads that failed to the garbage collector."""

URL = f"gs://{BUCKET}/models"


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeGoogleStorage]:
    """The bucket; copies of its bundles go into a folder of the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with clients_that_end(monkeypatch), serving(monkeypatch) as found:
        yield found


class Api:
    """A service over the bucket that looks when a test says so, and what it answers."""

    def __init__(self) -> None:
        self.running: ServiceRuntime = build_runtime(Settings(store=URL, aikey=KEY, prediction_log="off"))
        self.http: Client = http_client(self.running.service, "front")

    def look(self) -> None:
        """As the watcher's thread does at every interval."""
        self.running.watcher.poll()
        self.running._publish_state()

    def predicts_with(self) -> str:
        """The bundle that answered an order."""
        answer = self.http.post("/v1/predictions", json=ORDER, headers=HEADERS)
        assert answer.status_code == 200, answer.text
        return str(json.loads(answer.text)["bundle"])

    def readiness(self) -> tuple[int, dict[str, object]]:
        """Status and document of /readyz."""
        answer = self.http.get("/readyz")
        return answer.status_code, json.loads(answer.text)

    def without_store(self) -> int:
        """What /metrics says of workers that cannot ask the store."""
        (line,) = [x for x in self.http.get("/metrics").text.splitlines() if x.startswith("preptime_workers_without")]
        return int(line.rpartition(" ")[2])


def promote(fake: FakeGoogleStorage, shift: float, *, stuck: str = "") -> str:
    """A job, whose account may write, promotes a new bundle; then a file of it gets `stuck`."""
    fake.read_only = False
    store = Store.open(URL)
    bundle, log = put_bundle(store, shift=shift), ChampionLog(store)
    fake.stuck = stuck
    log.append(
        LogEntryDraft(bundle=bundle, date=DAY, action="promote", reason="test", by="test", at="now"), log.current()
    )
    fake.read_only = True
    return bundle


def test_api_read_only_account_loads_new_champions(fake: FakeGoogleStorage) -> None:
    first = promote(fake, 1.0)
    api = Api()
    api.look()
    assert api.predicts_with() == first
    second = promote(fake, 2.0)
    api.look()
    assert api.predicts_with() == second
    assert api.without_store() == 0
    assert fake.refused_writes == []


def test_api_unavailable_bucket_keeps_predicting(fake: FakeGoogleStorage) -> None:
    first = promote(fake, 1.0)
    api = Api()
    api.look()
    fake.away = True
    api.look()
    assert api.predicts_with() == first
    status, said = api.readiness()
    assert (status, said["ready"], said["bundle"]) == (200, True, first)
    assert URL in str(said["champion_error"])
    assert api.without_store() == 1
    fake.away = False
    second = promote(fake, 2.0)
    api.look()
    assert api.predicts_with() == second
    assert "champion_error" not in api.readiness()[1]
    assert api.without_store() == 0


def test_api_bucket_unavailable_at_start_is_retried(fake: FakeGoogleStorage) -> None:
    first = promote(fake, 1.0)
    fake.away = True
    api = Api()
    api.look()
    status, said = api.readiness()
    assert (status, said["ready"]) == (503, False)
    assert URL in str(said["champion_error"])
    assert api.without_store() == 1
    fake.away = False
    api.look()
    assert api.predicts_with() == first


def test_api_interrupted_download_is_retried(fake: FakeGoogleStorage) -> None:
    """A refused bundle is not tried again; one that could not be fetched has to be."""
    first = promote(fake, 1.0)
    api = Api()
    api.look()
    second = promote(fake, 2.0)
    served, fake.objects = fake.objects, {name: fake.objects[name] for name in fake.objects if "model.onnx" not in name}
    api.look()
    assert api.predicts_with() == first
    assert api.running.watcher.state.rejected is None
    fake.objects = served
    api.look()
    assert api.predicts_with() == second


def test_api_without_credentials_reports_the_missing_file(
    fake: FakeGoogleStorage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "nothing.json"))
    api = Api()
    api.look()
    status, said = api.readiness()
    assert status == 503
    assert "nothing.json" in str(said["champion_error"])


def test_server_on_a_bucket_starts_follows_and_stops(
    fake: FakeGoogleStorage, tmp_path: Path
) -> None:
    first = promote(fake, 1.0)
    fake.away = True
    with running_server(tmp_path, SERVE_COMMAND, PREPTIME_STORE=URL) as server:
        server.wait_until("/healthz")
        fake.away = False
        assert first in server.wait_until("/readyz", "true")
        second = promote(fake, 2.0)
        assert second in server.wait_until("/readyz", second)
        promote(fake, 3.0, stuck="model.onnx")
        assert fake.is_stuck.wait(30)
        assert second in server.get("/readyz")
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 15
        fake.unstick.set()
    assert fake.refused_writes == []
