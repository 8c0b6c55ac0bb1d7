"""Export of traces and metrics by OTLP over HTTP, if OTEL_EXPORTER_OTLP_ENDPOINT is set (docs/opentelemetry.md).

The SDK of OpenTelemetry is imported only then. It reads its own variables, such as OTEL_SERVICE_NAME. Each worker
exports the traces of its requests. The main process exports the metrics, which are those of `/metrics`.

A collector that doesn't respond delays no request: spans wait in a queue with a maximum size, and threads send them.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from importlib.metadata import version
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from preptime.api.metrics import collect_metrics
from preptime.api.tracing import RequestTrace, Sampler, TraceExporter, TraceParent
from preptime.errors import UsageError, install_hint
from preptime.redaction import redact_address

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.metrics.export import DataT, HistogramDataPoint, MetricsData
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from prometheus_client import Metric

ENDPOINT_VARIABLE = "OTEL_EXPORTER_OTLP_ENDPOINT"
ENDPOINT_VARIABLES = (
    ENDPOINT_VARIABLE,
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
)
PROTOCOL_VARIABLES = (
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
)
PROTOCOL = "http/protobuf"
INTERVAL_VARIABLE, DEFAULT_INTERVAL_MS = "OTEL_METRIC_EXPORT_INTERVAL", 60_000.0
MAX_INTERVAL_MS = 86_400_000.0
"""A day. A thread can't wait for any time."""
PACKAGES = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
FLUSH_SECONDS = 2.0
"""How long the end of a process waits until the collector has received the rest."""
WARNING_SECONDS = 60.0
"""Minimum interval between two messages of an exporter whose collector doesn't respond."""
SCOPE = "preptime.api"
START_METRIC = "process_start_time_seconds"
"""The metric with the time since which the counters count."""

logger = logging.getLogger(__name__)


def is_enabled(environ: Mapping[str, str]) -> bool:
    """Return whether these variables enable the export."""
    is_disabled = environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    return bool(environ.get(ENDPOINT_VARIABLE, "").strip()) and not is_disabled


def check_telemetry(environ: Mapping[str, str]) -> None:
    """Check the variables of an enabled export, without importing its packages. Raises `UsageError`."""
    if not is_enabled(environ):
        return
    for name in ENDPOINT_VARIABLES:
        endpoint = environ.get(name, "").strip()
        if endpoint and not _is_http_url(endpoint):
            raise UsageError(
                f"{name} is {redact_address(endpoint)!r}.",
                "Set the URL of an OTLP/HTTP receiver, for example http://localhost:4318.",
            )
    for name in PROTOCOL_VARIABLES:
        if (environ.get(name, "").strip() or PROTOCOL) != PROTOCOL:
            raise UsageError(
                f"{name} is {environ[name]!r}. preptime exports with {PROTOCOL}.",
                f"Remove {name}, and set {ENDPOINT_VARIABLE} to the collector's port for HTTP, usually 4318.",
            )
    Sampler.from_environ(environ)
    _interval_seconds(environ)
    missing = [name for name in PACKAGES if not _is_installed(name)]
    if missing:
        raise UsageError(
            f"{ENDPOINT_VARIABLE} is set, but {missing[0]} isn't installed.",
            install_hint("otel"),
        )


def _is_http_url(text: str) -> bool:
    """Return whether a text is an HTTP URL with a valid host and port."""
    try:
        parts = urlsplit(text)
        has_port = parts.port is None or parts.port > 0
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and has_port and not any(map(str.isspace, text))


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # A package above it is missing.
        return False


def _interval_seconds(environ: Mapping[str, str]) -> float:
    text = environ.get(INTERVAL_VARIABLE, "").strip()
    try:
        interval = float(text) if text else DEFAULT_INTERVAL_MS
    except ValueError:
        interval = 0.0
    if not 0 < interval <= MAX_INTERVAL_MS:  # also for NaN
        raise UsageError(f"{INTERVAL_VARIABLE} is {text!r}.", "Set milliseconds up to a day, for example 60000.")
    return interval / 1000


def open_trace_exporter(environ: Mapping[str, str]) -> OtlpTraceExporter | None:
    """Return the exporter of a worker's traces, or None if these variables don't enable it. Raises `UsageError`."""
    check_telemetry(environ)
    if not is_enabled(environ) or environ.get("OTEL_TRACES_EXPORTER", "").strip() == "none":
        return None
    return OtlpTraceExporter(Sampler.from_environ(environ))


class OtlpTraceExporter(TraceExporter):
    """Sends spans in a thread. If more than OTEL_BSP_MAX_QUEUE_SIZE spans wait, the oldest ones are dropped."""

    def __init__(self, sampler: Sampler) -> None:
        self.sampler = sampler
        self._next_ids = threading.local()
        """The IDs for the next span of a thread."""
        self._provider = _open_provider(self._next_ids)
        self._tracer = self._provider.get_tracer(SCOPE, version("preptime"))

    def export(self, trace: RequestTrace, path: str, attributes: Mapping[str, str | int], status: int) -> None:
        """Queue the spans of a sampled request that ends now: one of the request, and one of each part."""
        from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context

        ended_at = time.time_ns()
        self._next_ids.trace_id, self._next_ids.span_id = (
            int(trace.context.trace_id, 16),
            int(trace.context.span_id, 16),
        )
        context = _parent_context(trace.parent, trace.state)
        span = self._tracer.start_span(
            f"POST {path}", context, SpanKind.SERVER, attributes, start_time=trace.started_at
        )
        span.set_attribute("http.request.method", "POST")
        span.set_attribute("http.route", path)
        span.set_attribute("http.response.status_code", status)
        parent = set_span_in_context(span, context)
        for part in trace.parts:
            shared = {"preptime.batch_requests": part.batch_requests} if part.batch_requests else None
            child = self._tracer.start_span(part.name, parent, attributes=shared, start_time=part.started_at)
            child.end(part.ended_at)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            span.set_attribute("error.type", str(status))
            span.set_status(StatusCode.ERROR)
        span.end(ended_at)

    def flush(self) -> None:
        """Send all queued spans now. Returns when the collector has responded, or after its timeout."""
        self._provider.force_flush()

    def close(self, timeout_seconds: float) -> None:
        """Send the rest within this time, and at most within `FLUSH_SECONDS`. A second call does nothing."""
        # Without a thread, the processor waits up to 30 seconds for a collector that doesn't respond.
        thread = threading.Thread(target=self._provider.shutdown, name="otlp-flush", daemon=True)
        thread.start()
        thread.join(min(timeout_seconds, FLUSH_SECONDS))


def _open_provider(next_ids: threading.local) -> TracerProvider:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON

    class RequestIds(RandomIdGenerator):
        """Gives the span of a request the IDs in its trace, and other spans random ones."""

        def generate_span_id(self) -> int:
            """Return the ID of the next span."""
            return next_ids.__dict__.pop("span_id", 0) or super().generate_span_id()

        def generate_trace_id(self) -> int:
            """Return the ID of a trace that begins here."""
            return next_ids.__dict__.pop("trace_id", 0) or super().generate_trace_id()

    _limit_messages("trace_exporter")
    # `Sampler` decides before a span is created.
    provider = TracerProvider(
        ALWAYS_ON, _resource({"process.pid": os.getpid()}), shutdown_on_exit=False, id_generator=RequestIds()
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def _parent_context(parent: TraceParent | None, state: str) -> Context:
    """Return the context of the caller's span, or an empty one."""
    from opentelemetry.context import Context
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState, set_span_in_context

    if parent is None:
        return Context()
    span_context = SpanContext(
        int(parent.trace_id, 16),
        int(parent.span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(parent.flags),
        trace_state=TraceState.from_header([state]) if state else None,
    )
    return set_span_in_context(NonRecordingSpan(span_context), Context())


def _resource(attributes: Mapping[str, str | int]) -> Resource:
    """Return what the telemetry describes: this server, and the variables that the SDK reads."""
    from opentelemetry.sdk.resources import Resource

    resource = Resource.create({"service.version": version("preptime"), **attributes})
    if str(resource.attributes.get("service.name", "")).startswith("unknown_service"):
        return resource.merge(Resource({"service.name": "preptime"}))
    return resource


class RareMessages(logging.Filter):
    """Lets one message pass per `WARNING_SECONDS`. The exporter logs every failure, and every attempt of it."""

    def __init__(self) -> None:
        super().__init__()
        self._next_at = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is logged."""
        del record
        now = time.monotonic()
        if now < self._next_at:
            return False
        self._next_at = now + WARNING_SECONDS
        return True


def _limit_messages(module: str) -> None:
    logging.getLogger(f"opentelemetry.exporter.otlp.proto.http.{module}").addFilter(RareMessages())


@contextmanager
def export_metrics(folder: Path, environ: Mapping[str, str]) -> Iterator[None]:
    """Export the metrics of all processes that share `folder` while the context is active, if it's enabled."""
    if not is_enabled(environ) or environ.get("OTEL_METRICS_EXPORTER", "").strip() == "none":
        yield
        return
    stopping = threading.Event()
    arguments = (folder, _interval_seconds(environ), stopping)
    thread = threading.Thread(target=_export_metrics, args=arguments, name="otlp-metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(FLUSH_SECONDS)


def _export_metrics(folder: Path, interval_seconds: float, stopping: threading.Event) -> None:
    """Export at the end of every interval, and at the end of the server."""
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

    _limit_messages("metric_exporter")
    exporter, resource = OTLPMetricExporter(), _resource({})
    is_stopping = False
    while not is_stopping:
        is_stopping = stopping.wait(interval_seconds)
        try:
            metrics = list(collect_metrics(folder))
        except OSError as error:
            logger.warning("The metrics can't be read: %s", error)
            continue
        exporter.export(to_otlp(metrics, resource, time.time_ns()))


def to_otlp(metrics: Iterable[Metric], resource: Resource, now: int) -> MetricsData:
    """Return metric families of `/metrics` for OTLP. `now` is in nanoseconds since 1970.

    Counters lose the suffix `_total` here. A receiver that stores them for Prometheus adds it again.
    """
    from opentelemetry.sdk.metrics import export
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    families = list(metrics)
    starts = [sample.value for family in families for sample in family.samples if sample.name == START_METRIC]
    started_at = round(min(starts, default=0.0) * 1e9)
    converted = [
        export.Metric(family.name, family.documentation, "", data)
        for family in families
        if (data := _convert_family(family, started_at, now)) is not None
    ]
    scope = export.ScopeMetrics(InstrumentationScope(SCOPE, version("preptime")), converted, "")
    return export.MetricsData([export.ResourceMetrics(resource, [scope], "")])


def _convert_family(family: Metric, started_at: int, now: int) -> DataT | None:
    """Return the data of a family, or None if it has no samples."""
    from opentelemetry.sdk.metrics import export

    if not family.samples:
        return None
    cumulative = export.AggregationTemporality.CUMULATIVE
    if family.type == "histogram":
        return export.Histogram(list(_histogram_points(family, started_at, now)), cumulative)
    points = [
        export.NumberDataPoint(sample.labels, started_at if family.type == "counter" else 0, now, float(sample.value))
        for sample in family.samples
    ]
    return export.Sum(points, cumulative, is_monotonic=True) if family.type == "counter" else export.Gauge(points)


def _histogram_points(family: Metric, started_at: int, now: int) -> Iterator[HistogramDataPoint]:
    """Yield one point per combination of labels. The samples of a family have cumulative counts per bucket."""
    from opentelemetry.sdk.metrics.export import HistogramDataPoint

    buckets: dict[tuple[tuple[str, str], ...], dict[str, float]] = {}
    sums: dict[tuple[tuple[str, str], ...], float] = {}
    for sample in family.samples:
        labels = tuple(sorted((name, value) for name, value in sample.labels.items() if name != "le"))
        if sample.name.endswith("_bucket"):
            buckets.setdefault(labels, {})[sample.labels["le"]] = sample.value
        elif sample.name.endswith("_sum"):
            sums[labels] = sample.value
    for labels, cumulative in buckets.items():
        counts = [round(after - before) for before, after in pairwise((0.0, *cumulative.values()))]
        bounds = [float(bound) for bound in cumulative if bound != "+Inf"]
        extremes: Any = {"min": None, "max": None}  # Optional in OTLP, but not in the types of the SDK.
        yield HistogramDataPoint(dict(labels), started_at, now, sum(counts), sums[labels], counts, bounds, **extremes)
