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
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from importlib.metadata import version
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from preptime.api.metrics import collect_metrics
from preptime.api.tracing import RequestTrace, Sampler, TraceExporter, TraceParent
from preptime.errors import UsageError
from preptime.redaction import redact_address

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.metrics.export import DataT, MetricsData
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer
    from prometheus_client import Metric

ENDPOINT_VARIABLE = "OTEL_EXPORTER_OTLP_ENDPOINT"
PROTOCOL_VARIABLES = (
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
)
PROTOCOL = "http/protobuf"
INTERVAL_VARIABLE, DEFAULT_INTERVAL_MS = "OTEL_METRIC_EXPORT_INTERVAL", 60_000.0
PACKAGES = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
FLUSH_SECONDS = 2.0
"""How long the end of a process waits until the collector has received the rest."""
WARNING_SECONDS = 60.0
"""Minimum interval between two messages of an exporter whose collector doesn't respond."""
SCOPE = "preptime.api"

logger = logging.getLogger(__name__)


def is_enabled(environ: Mapping[str, str]) -> bool:
    """Return whether these variables enable the export."""
    is_disabled = environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    return bool(environ.get(ENDPOINT_VARIABLE, "").strip()) and not is_disabled


def check_telemetry(environ: Mapping[str, str]) -> None:
    """Check the variables of an enabled export, without importing its packages. Raises `UsageError`."""
    if not is_enabled(environ):
        return
    endpoint = environ[ENDPOINT_VARIABLE].strip()
    if not endpoint.startswith(("http://", "https://")):
        raise UsageError(
            f"{ENDPOINT_VARIABLE} is {redact_address(endpoint)!r}.",
            "Set the URL of an OTLP/HTTP receiver, for example http://localhost:4318.",
        )
    for name in PROTOCOL_VARIABLES:
        if environ.get(name, PROTOCOL) != PROTOCOL:
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
            "To install it: pip install 'preptime[otel]'.",
        )


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
    if interval <= 0:
        raise UsageError(f"{INTERVAL_VARIABLE} is {text!r}.", "Set a number of milliseconds, for example 60000.")
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
        self._sampler = sampler
        self._next_ids = threading.local()
        self._provider = self._open_provider()
        self._tracer = self._provider.get_tracer(SCOPE, version("preptime"))

    @property
    def sampler(self) -> Sampler:
        """Decides which requests are sampled."""
        return self._sampler

    def _open_provider(self) -> TracerProvider:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import RandomIdGenerator, TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON

        next_ids = self._next_ids.__dict__

        class RequestIds(RandomIdGenerator):
            """Gives the span of a request the IDs that its trace already has."""

            def generate_span_id(self) -> int:
                return next_ids.pop("span_id", None) or super().generate_span_id()

            def generate_trace_id(self) -> int:
                return next_ids.pop("trace_id", None) or super().generate_trace_id()

        del RequestIds.__doc__
        _limit_messages("trace_exporter")
        # The sampling decision is made before the spans are created.
        provider = TracerProvider(
            ALWAYS_ON, _resource({"process.pid": os.getpid()}), shutdown_on_exit=False, id_generator=RequestIds()
        )
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        return provider
