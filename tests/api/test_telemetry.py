"""Trace contexts, spans, and the export by OTLP: with a real server process and a real receiver."""

from __future__ import annotations

import gzip
import importlib.util
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from werkzeug.test import Client

from preptime.api.active_model import ActiveModel
from preptime.api.predict import OrderLimit, PredictionJob, predict_batch, read_request
from preptime.api.telemetry import ENDPOINT_VARIABLES, RareMessages, check_telemetry, is_enabled
from preptime.api.tracing import Part, Sampler, TraceParent, canonical_traceparent, read_traceparent
from preptime.errors import UsageError
from tests.api.factories import HEADERS, ORDER, ServiceSetup, http_client
from tests.api.processes import CONSTANT_APP, PLAIN_KEY, START_SECONDS, Server, free_port, running_server
from tests.api.test_server import promote, require_posix_signals
from tests.bundle.test_imports import modules_loaded_after
from tests.requirements import requires

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, NOT_SAMPLED = f"00-{TRACE_ID}-{SPAN_ID}-01", f"00-{TRACE_ID}-{SPAN_ID}-00"
OTHER_TRACE_ID = "f" * 32
INVALID = (
    "",
    "x",
    f"00-{TRACE_ID}-{SPAN_ID}",
    f"00-{TRACE_ID.upper()}-{SPAN_ID}-01",
    f"00-{'0' * 32}-{SPAN_ID}-01",
    f"00-{TRACE_ID}-{'0' * 16}-01",
    f"00-{TRACE_ID}-{SPAN_ID}-01-more",
    f"ff-{TRACE_ID}-{SPAN_ID}-01",
    f"{SAMPLED},{SAMPLED}",
)
PARTS = ["validation", "features", "graph", "log"]
JSON_HEADERS = {**HEADERS, "Content-Type": "application/json"}
REAL_APP = (str(CONSTANT_APP), "real")
BODY = json.dumps({"orders": [ORDER]}).encode()


def require_opentelemetry() -> None:
    is_installed = importlib.util.find_spec("opentelemetry.exporter") is not None
    requires(is_installed, "the extra otel isn't installed")


@dataclass
class Receiver:
    """An OTLP/HTTP receiver that keeps the bodies that it gets."""

    port: int
    bodies: dict[str, list[bytes]] = field(default_factory=dict)

    def spans(self) -> list[object]:
        """Return all received spans."""
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        requests = [ExportTraceServiceRequest.FromString(body) for body in self.bodies.get("/v1/traces", [])]
        groups = [group for request in requests for group in request.resource_spans]
        assert {attributes(group.resource)["service.name"] for group in groups} <= {"eta"}
        return [span for group in groups for scope in group.scope_spans for span in scope.spans]

    def latest_metrics(self) -> dict[str, object]:
        """Return the metrics of the latest export by name."""
        from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

        request = ExportMetricsServiceRequest.FromString(self.bodies["/v1/metrics"][-1])
        (group,) = request.resource_metrics
        (scope,) = group.scope_metrics
        return {metric.name: metric for metric in scope.metrics}

    def wait_for_metrics(self, names: set[str]) -> None:
        """Wait until an export has exactly these metrics."""
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            if "/v1/metrics" in self.bodies and set(self.latest_metrics()) == names:
                return
            time.sleep(0.05)
        raise AssertionError(f"{names} never arrived, but {set(self.latest_metrics())}")


def attributes(owner: object) -> dict[str, object]:
    """Return the attributes of a span, a resource, or a data point."""
    pairs = [(item.key, item.value) for item in owner.attributes]  # type: ignore[attr-defined]
    return {key: getattr(value, value.WhichOneof("value")) for key, value in pairs}


@contextmanager
def running_receiver() -> Iterator[Receiver]:
    """Run a receiver in a thread."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            receiver.bodies.setdefault(self.path, []).append(body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http_server:
        receiver = Receiver(http_server.server_port)
        thread = threading.Thread(target=http_server.serve_forever, daemon=True)
        thread.start()
        yield receiver
        http_server.shutdown()
        thread.join()


def post(server: Server, traceparent: str | None = None, body: bytes = BODY) -> tuple[int, str | None]:
    """Send a prediction request. Return the status and `traceparent` of the response."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        headers = {"aikey": PLAIN_KEY, "Content-Type": "application/json"} | (
            {} if traceparent is None else {"traceparent": traceparent}
        )
        connection.request("POST", "/v1/predictions", body, headers)
        response = connection.getresponse()
        response.read()
        return response.status, response.getheader("traceparent")
    finally:
        connection.close()


@pytest.mark.parametrize("header", INVALID)
def test_invalid_traceparent_is_ignored(http: Client, header: str) -> None:
    assert (read_traceparent(header), canonical_traceparent(header)) == (None, None)
    response = http.post("/v1/predictions", data=BODY, headers={**JSON_HEADERS, "traceparent": header})
    assert (response.status_code, "traceparent" in response.headers) == (200, False)


@pytest.mark.parametrize("header", [SAMPLED, NOT_SAMPLED])
def test_response_returns_the_callers_traceparent(http: Client, header: str) -> None:
    headers = {**JSON_HEADERS, "traceparent": header}
    assert http.post("/v1/predictions", data=BODY, headers=headers).headers.getlist("traceparent") == [header]
    assert http.post("/v1/predictions", data=b"{", headers=headers).headers.getlist("traceparent") == [header]
    assert http.get("/v1/schema", headers=headers).headers.getlist("traceparent") == [header]
    assert "traceparent" not in http.post("/v1/predictions", data=BODY, headers=JSON_HEADERS).headers


def test_later_version_of_traceparent_is_continued() -> None:
    assert read_traceparent(f"01-{TRACE_ID}-{SPAN_ID}-ff-more") == TraceParent(TRACE_ID, SPAN_ID, 3)
    assert canonical_traceparent(f"01-{TRACE_ID}-{SPAN_ID}-ff-more") == f"00-{TRACE_ID}-{SPAN_ID}-03"
    assert canonical_traceparent(f"00-{TRACE_ID}-{SPAN_ID}-fd") == SAMPLED


def test_failed_request_logs_its_trace_id(
    setup: ServiceSetup, app_kind: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(setup.log, "record", None)
    headers = {**JSON_HEADERS, "traceparent": NOT_SAMPLED}
    with caplog.at_level(logging.ERROR):
        response = http_client(setup.service, app_kind).post("/v1/predictions", data=BODY, headers=headers)
    assert (response.status_code, response.headers["traceparent"]) == (500, NOT_SAMPLED)
    assert [getattr(record, "trace_id", None) for record in caplog.records] == [TRACE_ID]


def test_sampler_follows_the_standard_variables() -> None:
    low, high = 1, 2**64 - 1
    parents = (None, SAMPLED, NOT_SAMPLED)
    decisions = {
        (): ((True, False), (True, True), (False, False)),
        ("parentbased_always_on",): ((True, True), (True, True), (False, False)),
        ("always_off",): ((False, False), (False, False), (False, False)),
        ("traceidratio", "0.5"): ((True, False), (True, False), (True, False)),
        ("traceidratio",): ((True, True), (True, True), (True, True)),
    }
    for values, expected in decisions.items():
        names = ("OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG")
        sampler = Sampler.from_environ(dict(zip(names, values, strict=False)))
        found = tuple(tuple(sampler.is_sampled(parent, trace_id) for trace_id in (low, high)) for parent in parents)
        assert found == expected, values
    assert Sampler.from_environ({}).bound == round(0.01 * 2**64)


def test_sampler_decides_as_the_sdk_does() -> None:
    require_opentelemetry()
    from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased

    sampler, sdk_sampler = Sampler.from_environ({"OTEL_TRACES_SAMPLER_ARG": "0.3"}), TraceIdRatioBased(0.3)
    for trace_id in (1, sampler.bound - 1, sampler.bound, 2**64 + sampler.bound, 2**64 + sampler.bound - 1, 2**128 - 1):
        decision = sdk_sampler.should_sample(None, trace_id, "name").decision
        assert sampler.is_sampled(None, trace_id) is (decision is Decision.RECORD_AND_SAMPLE)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", "OTEL_EXPORTER_OTLP_ENDPOINT is 'collector:4318'"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "usually 4318"),
        ("OTEL_TRACES_SAMPLER", "xray", "OTEL_TRACES_SAMPLER is 'xray'"),
        ("OTEL_TRACES_SAMPLER_ARG", "1%", "Set a ratio from 0 to 1"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "1m", "milliseconds"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "0", "milliseconds"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "nan", "milliseconds"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "inf", "milliseconds"),
    ],
)
def test_wrong_variable_stops_the_start(name: str, value: str, message: str) -> None:
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318", name: value}
    with pytest.raises(UsageError, match=message):
        check_telemetry(environ)
    assert is_enabled(environ)
    check_telemetry(environ | {"OTEL_SDK_DISABLED": "true"})


@pytest.mark.parametrize("name", ENDPOINT_VARIABLES)
@pytest.mark.parametrize(
    "endpoint",
    [
        "h:4318",
        "http://",
        "http://:4318",
        "http://:x",
        "http://h:0",
        "http://h:99999",
        "https://[::1:4318",
        "http://a b",
    ],
)
def test_wrong_endpoint_stops_the_start(name: str, endpoint: str) -> None:
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318", name: endpoint}
    with pytest.raises(UsageError, match=f"^{name} is .* Set the URL of an OTLP/HTTP receiver"):
        check_telemetry(environ)


@pytest.mark.parametrize("name", ENDPOINT_VARIABLES)
@pytest.mark.parametrize("endpoint", ["http://h", "https://h.example/otlp/", "HTTP://[::1]:4318", "http://10.0.0.1:1"])
def test_endpoint_with_a_host_is_accepted(name: str, endpoint: str) -> None:
    check_telemetry({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318", name: endpoint})


@pytest.mark.parametrize("name", ["OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_TRACES_SAMPLER", "OTEL_METRIC_EXPORT_INTERVAL"])
def test_empty_variable_is_like_a_missing_one(name: str) -> None:
    check_telemetry({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318", name: " "})


def test_missing_extra_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("preptime.api.telemetry.PACKAGES", ("an_absent_package.sdk",))
    with pytest.raises(UsageError, match=r"pip install '\.\[otel\]'"):
        check_telemetry({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"})


def test_batch_is_part_of_each_sampled_request(active_model: ActiveModel) -> None:
    traced: list[list[Part]] = [[], []]
    jobs = [
        PredictionJob(read_request, BODY, active_model, OrderLimit(10), parts) for parts in (traced[0], None, traced[1])
    ]
    results = predict_batch(jobs)
    assert results == predict_batch([PredictionJob(read_request, BODY, active_model, OrderLimit(10))] * 3)
    for parts in traced:
        validation, features, graph = parts
        assert [validation.name, features.name, graph.name] == PARTS[:3]
        assert [part.batch_requests for part in parts] == [0, 3, 3]
        assert features.started_at <= features.ended_at == graph.started_at <= graph.ended_at
    assert traced[0][1:] == traced[1][1:]


def test_opentelemetry_is_imported_only_if_enabled(tmp_path: Path) -> None:
    promote(tmp_path)
    with running_server(tmp_path, REAL_APP) as server:
        server.wait_until("/readyz")
        assert post(server, SAMPLED) == (200, SAMPLED)
        loaded = server.get("/test/modules").split()
    assert "preptime.api.telemetry" in loaded
    assert [name for name in loaded if name.startswith("opentelemetry")] == []
    assert not any(name.startswith("opentelemetry") for name in modules_loaded_after("import preptime.api.server"))


def test_collector_receives_spans_and_metrics(tmp_path: Path) -> None:
    require_posix_signals()
    require_opentelemetry()
    promote(tmp_path)
    with running_receiver() as receiver:
        settings = {
            "PREPTIME_WORKERS": "2",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{receiver.port}",
            "OTEL_SERVICE_NAME": "eta",
            "OTEL_TRACES_SAMPLER_ARG": "1",
            "OTEL_METRIC_EXPORT_INTERVAL": "100",
        }
        with running_server(tmp_path, REAL_APP, **settings) as server:
            server.wait_until("/metrics", "preptime_workers 2.0")
            server.wait_until("/readyz")
            assert post(server, NOT_SAMPLED) == (200, NOT_SAMPLED)
            continued, started, rejected = (
                read_traceparent(header)
                for status, header in (post(server, SAMPLED), post(server, "invalid"), post(server, body=b"{"))
            )
            families = families_of(server.get("/metrics"))
            assert {"preptime_requests", "preptime_build_info", "process_cpu_seconds"} < families
            receiver.wait_for_metrics(families)
            assert server.stop() == 0
    assert continued is not None
    assert started is not None
    assert rejected is not None
    assert continued.trace_id == TRACE_ID
    assert TRACE_ID not in {started.trace_id, rejected.trace_id}
    spans: dict[str, list[object]] = {}
    for span in receiver.spans():
        spans.setdefault(span.trace_id.hex(), []).append(span)  # type: ignore[attr-defined]
    assert set(spans) == {continued.trace_id, started.trace_id, rejected.trace_id}
    check_spans(spans[TRACE_ID], continued, SPAN_ID, PARTS, 200)
    check_spans(spans[started.trace_id], started, "", PARTS, 200)
    check_spans(spans[rejected.trace_id], rejected, "", PARTS[:1], 400)
    check_metrics(receiver)


def check_spans(spans: list[object], context: TraceParent, parent_id: str, parts: list[str], status: int) -> None:
    """Check the spans of one request: their names, parents, times, and attributes."""
    (request,) = [span for span in spans if span.kind == 2]  # type: ignore[attr-defined]
    assert (request.span_id.hex(), request.parent_span_id.hex()) == (context.span_id, parent_id)  # type: ignore[attr-defined]
    assert request.name == "POST /v1/predictions"  # type: ignore[attr-defined]
    values = attributes(request)
    assert (values["http.response.status_code"], values["preptime.orders"]) == (status, int(status == 200))
    children = sorted(
        (span for span in spans if span is not request),
        key=lambda span: span.start_time_unix_nano,  # type: ignore[attr-defined]
    )
    assert [child.name for child in children] == parts  # type: ignore[attr-defined]
    for child in children:
        assert child.parent_span_id == request.span_id  # type: ignore[attr-defined]
        assert request.start_time_unix_nano <= child.start_time_unix_nano <= child.end_time_unix_nano  # type: ignore[attr-defined]
        assert child.end_time_unix_nano <= request.end_time_unix_nano  # type: ignore[attr-defined]


def families_of(exposition: str) -> set[str]:
    """Return the names of the families in `/metrics` that have values. Those of counters are without `_total`."""
    from prometheus_client.parser import text_string_to_metric_families

    return {family.name for family in text_string_to_metric_families(exposition) if family.samples}


def check_metrics(receiver: Receiver) -> None:
    """Check the counts and the types of the latest export."""
    metrics = receiver.latest_metrics()
    requests = {
        attributes(point)["status"]: point.as_double
        for point in metrics["preptime_requests"].sum.data_points  # type: ignore[attr-defined]
    }
    assert requests == {"200": 3.0, "400": 1.0}
    assert metrics["preptime_requests"].sum.is_monotonic  # type: ignore[attr-defined]
    (duration,) = metrics["preptime_request_duration_seconds"].histogram.data_points  # type: ignore[attr-defined]
    assert (duration.count, sum(duration.bucket_counts), len(duration.bucket_counts)) == (4, 4, 15)
    assert len(duration.explicit_bounds) == 14


@pytest.mark.parametrize("hangs", [False, True])
def test_absent_collector_delays_nothing(tmp_path: Path, hangs: bool) -> None:
    """No collector listens, or it accepts connections and never responds."""
    require_posix_signals()
    require_opentelemetry()
    promote(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1] if hangs else free_port()
        settings = {
            "PREPTIME_SHUTDOWN_TIMEOUT_SECONDS": "20",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "600",
            "OTEL_TRACES_SAMPLER": "always_on",
            "OTEL_BSP_SCHEDULE_DELAY": "10",
            "OTEL_METRIC_EXPORT_INTERVAL": "10",
        }
        with running_server(tmp_path, REAL_APP, **settings) as server:
            server.wait_until("/readyz")
            assert [post(server)[0] for _ in range(20)] == [200] * 20
            assert server.stop() == 0
    assert "didn't stop within the shutdown timeout" not in server.stderr_text()
    assert "Traceback" not in server.stderr_text()


def test_exporter_logs_one_message_per_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("preptime.api.telemetry.time.monotonic", lambda: now[0])
    rare, record = RareMessages(), logging.makeLogRecord({})
    passed = []
    for now[0] in (1000.0, 1001.0, 1059.9, 1060.0, 1061.0):
        passed.append(rare.filter(record))
    assert passed == [True, False, False, True, False]
