"""scripts/canary.py: what ends a canary, and what doesn't. Google's APIs and the candidate are fakes.

The tests of scripts/canary.py with a real API server are in test_cloud_run.py and test_cloud_deploy.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from scripts import canary, cloud_run
from tests.deploy.fake_cloud_run import Document, FakeService, running_api
from tests.deploy.test_cloud_run import Clock
from tests.fake_server import JsonHandler, serve

FIRST, SECOND = "preptime-api-00001-abc", "preptime-api-00002-abc"
GOOD = [(200, 12.0)] * 1000
LIMITS = canary.CanaryLimits(minutes=5.0, min_requests=100, max_error_percent=1.0, max_p99_ms=500.0)
DURATION_SECONDS = 60 * LIMITS.minutes + canary.METRICS_DELAY_SECONDS
QUANTILES = {"p10": 1.0, "p50": 2.0, "p80": 3.0, "p90": 4.0}


@dataclass
class FakeCandidate:
    """The API of a candidate, whose statuses and bundles a test sets."""

    statuses: dict[int, int] = field(default_factory=dict)
    """The number of a request to its status, if it isn't 200. After 0, the connection closes without a response."""
    bundle_of: Callable[[int], str] = lambda _: "b1"
    """The number of a request to the bundle that its response names."""
    predicted_bundle: str | None = None
    """The bundle of all predictions, or None for that of `bundle_of`."""
    request_count: int = 0
    """The number of requests, including those of the readiness route, which are numbered too."""

    def respond(self, path: str) -> tuple[int, Document]:
        """Return the status and the body of the response to the next request."""
        self.request_count += 1
        bundle = self.bundle_of(self.request_count)
        ready: Document = {"ready": True, "bundle": bundle}
        predicted: Document = {"predictions": [QUANTILES], "bundle": self.predicted_bundle or bundle}
        return self.statuses.get(self.request_count, 200), ready if path == "/ready" else predicted


@contextmanager
def running_candidate(candidate: FakeCandidate) -> Iterator[str]:
    """Serve the API of the candidate, and yield its URL."""

    class Handler(JsonHandler):
        def do_GET(self) -> None:
            status, body = candidate.respond(self.path)
            self.respond(body, status)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

    with serve(Handler) as url:
        yield url


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of both scripts."""
    clock = Clock()
    for module in (canary, cloud_run):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def candidate() -> FakeCandidate:
    """A candidate without failures."""
    return FakeCandidate()


@pytest.fixture
def service(candidate: FakeCandidate, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeService]:
    """A service whose candidate has 10% of the traffic and good requests."""
    fake = FakeService(observed={SECOND: GOOD})
    tagged = cloud_run.named_target(SECOND, 10, tag=cloud_run.CANDIDATE_TAG)
    fake.document["traffic"] = [tagged, cloud_run.named_target(FIRST, 90)]
    with running_api(fake) as url, running_candidate(candidate) as fake.url_of_tags:
        monkeypatch.setenv(cloud_run.API_URL_VARIABLE, url)
        monkeypatch.setenv(cloud_run.MONITORING_URL_VARIABLE, url)
        yield fake


def run_canary(limits: canary.CanaryLimits = LIMITS) -> canary.CandidateRequests:
    google = cloud_run.CloudRunService("preptime-api", "europe-west1", "a-token", "test-project")
    return canary.run_canary(google, limits, "a-key")


NO_LATENCY: dict[str, list[Document]] = {
    "none": [],
    "empty": [{"value": {}}],
    "nan": [{"value": {"doubleValue": "NaN"}}],
}
"""The points of a latency without a value. The API sends NaN for a distribution without requests."""


@pytest.mark.parametrize("points", NO_LATENCY.values(), ids=NO_LATENCY)
def test_canary_without_latency_fails_at_the_deadline(
    service: FakeService, clock: Clock, points: list[Document]
) -> None:
    service.latency_points = points
    message = "1000 requests, 0.0% errors, p99 unknown. Cloud Monitoring has no latency"
    with pytest.raises(cloud_run.ReleaseError, match=message):
        run_canary()
    assert clock.now - clock.start >= DURATION_SECONDS


def test_canary_accepts_latency_that_arrives_late(service: FakeService, clock: Clock) -> None:
    service.latency_points = NO_LATENCY["nan"]
    clock.events = [(400.0, lambda: setattr(service, "latency_points", None))]
    assert run_canary().p99_ms == 12.0


def test_canary_without_latency_still_compares_errors(service: FakeService, clock: Clock) -> None:
    service.observed, service.latency_points = {SECOND: [*GOOD, *[(503, 5.0)] * 11]}, []
    with pytest.raises(cloud_run.ReleaseError, match=r"1.1% errors, p99 unknown. The limit of --max-error-percent"):
        run_canary()
    assert clock.now == clock.start


@pytest.mark.parametrize("status", [0, 408, 429, 500, 503])
def test_canary_allows_failures_within_the_limit(service: FakeService, candidate: FakeCandidate, status: int) -> None:
    """One of 100. Cloud Monitoring doesn't know a request that got no response, so that one is repeated."""
    candidate.statuses = {50: status}
    assert run_canary().count == 1000
    assert candidate.request_count == (102 if status == 0 else 101)


def test_canary_allows_a_failure_of_the_readiness_route(service: FakeService, candidate: FakeCandidate) -> None:
    candidate.statuses = {1: 503}
    assert run_canary().count == 1000


@pytest.mark.parametrize("status", [0, 503])
def test_canary_counts_failures_of_its_own_requests(
    service: FakeService, candidate: FakeCandidate, clock: Clock, status: int
) -> None:
    candidate.statuses = {50: status, 60: status}
    with pytest.raises(cloud_run.ReleaseError, match=r"2 of 100 requests failed. The limit is 1%. http.*/v1/predict"):
        run_canary()
    assert candidate.request_count == 60
    assert clock.now == clock.start


@pytest.mark.parametrize("status", [401, 403, 404, 422])
def test_canary_fails_on_a_wrong_key_or_route(service: FakeService, candidate: FakeCandidate, status: int) -> None:
    """Immediately, with the response in the message, although the limit allows a failure."""
    candidate.statuses = {50: status}
    with pytest.raises(cloud_run.ReleaseError, match=f"/v1/predictions: {status} "):
        run_canary()
    assert candidate.request_count == 50


@pytest.mark.parametrize(("number", "request_count"), [(1, 0), (1, 100), (3, 100)])
def test_smoke_test_allows_no_failure(candidate: FakeCandidate, number: int, request_count: int) -> None:
    """It reads the readiness route in any case."""
    candidate.statuses = {number: 503}
    with running_candidate(candidate) as url, pytest.raises(cloud_run.ReleaseError, match=": 503 "):
        cloud_run.smoke_test(url, "a-key", request_count)
    assert candidate.request_count == number


def test_canary_accepts_champion_promoted_meanwhile(service: FakeService, candidate: FakeCandidate) -> None:
    candidate.bundle_of = lambda number: "b1" if number < 50 else "b2"
    assert run_canary().count == 1000
    assert candidate.request_count == 102


@pytest.mark.parametrize("new_worker", [0, 1], ids=["readiness", "prediction"])
def test_canary_waits_until_workers_have_the_champion(
    service: FakeService, candidate: FakeCandidate, clock: Clock, new_worker: int
) -> None:
    """One of two workers has the new champion first. They get the requests alternately."""
    times: list[float] = []

    def bundle_of(number: int) -> str:
        times.append(clock.now - clock.start)
        return "b2" if times[-1] >= 30 or number % 2 != new_worker else "b1"

    candidate.bundle_of = bundle_of
    assert run_canary().count == 1000
    assert max(times) < 40


def test_canary_fails_if_predictions_are_of_another_bundle(service: FakeService, candidate: FakeCandidate) -> None:
    candidate.predicted_bundle = "b2"
    with pytest.raises(cloud_run.ReleaseError, match=r"Expected one prediction of bundle b1: .*b2"):
        run_canary()
    assert candidate.request_count < 200


@pytest.mark.parametrize("status", [0, 429, 500, 503])
def test_canary_repeats_failed_reads(service: FakeService, clock: Clock, status: int) -> None:
    service.failing_reads = [200, status, status, 200, status]
    assert run_canary().count == 1000
    assert service.failing_reads == []
    assert clock.now - clock.start < DURATION_SECONDS + 2 * canary.POLL_SECONDS


def test_canary_repeats_the_last_read(service: FakeService, clock: Clock) -> None:
    """One failed read doesn't roll back, also at the deadline."""
    clock.events = [(DURATION_SECONDS, lambda: service.failing_reads.append(503))]
    assert run_canary().count == 1000
    assert clock.now - clock.start > DURATION_SECONDS


def test_canary_fails_if_reads_fail_until_the_end(service: FakeService, clock: Clock) -> None:
    service.failing_reads = [503] * 1000
    with pytest.raises(cloud_run.ReleaseError, match=r"/timeSeries.*: 503 "):
        run_canary()
    assert DURATION_SECONDS < clock.now - clock.start <= DURATION_SECONDS + canary.RETRY_SECONDS


@pytest.mark.parametrize("status", [400, 403, 404])
def test_canary_fails_if_a_read_is_refused(service: FakeService, clock: Clock, status: int) -> None:
    """A missing permission stays missing."""
    service.failing_reads = [status]
    with pytest.raises(cloud_run.ReleaseError, match=f"/timeSeries.*: {status} "):
        run_canary()
    assert clock.now == clock.start


def test_canary_gets_a_new_token_after_401(service: FakeService, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens: list[str] = []

    def access_token() -> str:
        tokens.append(service.token)
        return service.token

    monkeypatch.setattr(cloud_run, "access_token", access_token)
    clock.events = [
        (90.0, lambda: setattr(service, "token", "second")),
        (300.0, lambda: setattr(service, "token", "third")),
    ]
    assert run_canary().count == 1000
    assert tokens == ["second", "third"]


def test_canary_repeats_a_failed_request_of_a_token(
    service: FakeService, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = iter(["", "new-token"])

    def access_token() -> str:
        if token := next(results):
            return token
        raise cloud_run.ReleaseError("gcloud auth print-access-token failed")

    monkeypatch.setattr(cloud_run, "access_token", access_token)
    clock.events = [(90.0, lambda: setattr(service, "token", "new-token"))]
    assert run_canary().count == 1000


def test_canary_fails_if_a_new_token_is_refused(
    service: FakeService, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cloud_run, "access_token", lambda: "another-token")
    clock.events = [(90.0, lambda: setattr(service, "token", "new-token"))]
    with pytest.raises(cloud_run.ReleaseError, match=r"/timeSeries.*: 401 "):
        run_canary()
    assert clock.now - clock.start == 90.0
