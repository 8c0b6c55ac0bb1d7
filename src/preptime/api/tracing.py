"""Trace contexts of requests (W3C Trace Context): the header `traceparent`, the sampling decision, and measured parts.

Nothing here needs OpenTelemetry: `preptime.api.telemetry` exports the traces. A request that isn't sampled costs one
random number, or the parsing of its header.
"""

from __future__ import annotations

import math
import random
import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

from preptime.errors import UsageError

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

TRACEPARENT = "traceparent"
TRACEPARENT_KEY, TRACESTATE_KEY = "HTTP_TRACEPARENT", "HTTP_TRACESTATE"
"""The headers in a WSGI environment."""
SAMPLER_VARIABLE, SAMPLER_ARG_VARIABLE = "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"
DEFAULT_SAMPLER, DEFAULT_RATIO = "parentbased_traceidratio", 0.01
_PARENT_BASED = "parentbased_"
_FIXED_RATIOS = {"always_on": 1.0, "always_off": 0.0}
_SAMPLED, _KNOWN_FLAGS = 0x01, 0x03
_LOW_64_BITS = 2**64 - 1

# Version, trace ID, span ID, flags, and what later versions append.
_FORMAT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)


class TraceParent(NamedTuple):
    """A valid `traceparent`."""

    trace_id: str
    """32 hexadecimal digits."""
    span_id: str
    """16 hexadecimal digits."""
    flags: int
    """Bit 0: the caller has sampled the trace. Bit 1: the trace ID is random."""

    @property
    def is_sampled(self) -> bool:
        """Whether the caller has sampled the trace."""
        return bool(self.flags & _SAMPLED)

    def header(self) -> str:
        """Return it as the value of a header, in version 00."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"


def read_traceparent(header: str | None) -> TraceParent | None:
    """Return the trace context in a header, or None if there's none or it's invalid.

    >>> read_traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").is_sampled
    True
    """
    match = _FORMAT.fullmatch(header) if header else None
    if match is None:
        return None
    version, trace_id, span_id, flags, appended = match.groups()
    if version == "ff" or (version == "00" and appended) or not int(trace_id, 16) or not int(span_id, 16):
        return None
    return TraceParent(trace_id, span_id, int(flags, 16) & _KNOWN_FLAGS)


class Part(NamedTuple):
    """A measured part of a request. It becomes a span."""

    name: str
    started_at: int
    ended_at: int
    """Nanoseconds since 1970-01-01 00:00 UTC."""
    batch_requests: int = 0
    """Requests that shared the part, for a part of a batch."""


class RequestTrace(msgspec.Struct, gc=False, eq=False):
    """The trace that a request belongs to."""

    context: TraceParent
    """The context of the request's own span, or the caller's context if the request isn't sampled."""
    parent: TraceParent | None = None
    """The caller's context."""
    state: str = ""
    """The caller's `tracestate`."""
    started_at: int = 0
    parts: list[Part] | None = None
    """Measured parts. None if the request isn't sampled."""

    def add_part(self, name: str, started_at: int) -> None:
        """Add a part that ends now, if the request is sampled."""
        if self.parts is not None:
            self.parts.append(Part(name, started_at, time.time_ns()))


class Sampler(msgspec.Struct, frozen=True):
    """Decides once per request whether it's sampled, as the samplers of OpenTelemetry do."""

    is_parent_based: bool
    """Whether the caller's decision counts, if there is one."""
    bound: int
    """A trace is sampled if the low 64 bits of its ID are less."""

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Sampler:
        """Return the sampler in OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG. Raises `UsageError`."""
        name = environ.get(SAMPLER_VARIABLE, "").strip() or DEFAULT_SAMPLER
        kind = name.removeprefix(_PARENT_BASED)
        if kind == "traceidratio":
            ratio = _read_ratio(environ, DEFAULT_RATIO if SAMPLER_VARIABLE not in environ else 1.0)
        elif kind in _FIXED_RATIOS:
            ratio = _FIXED_RATIOS[kind]
        else:
            raise UsageError(
                f"{SAMPLER_VARIABLE} is {name!r}.",
                "Set always_on, always_off, or traceidratio, also with the prefix parentbased_.",
            )
        return cls(name.startswith(_PARENT_BASED), round(ratio * 2**64))

    def is_sampled(self, parent: TraceParent | None, trace_id: int) -> bool:
        """Return whether to sample a request with this trace ID."""
        if parent is not None and self.is_parent_based:
            return parent.is_sampled
        return trace_id & _LOW_64_BITS < self.bound


def _read_ratio(environ: Mapping[str, str], default: float) -> float:
    text = environ.get(SAMPLER_ARG_VARIABLE, "").strip()
    try:
        ratio = float(text) if text else default
    except ValueError:
        ratio = math.nan
    if not 0 <= ratio <= 1:
        raise UsageError(f"{SAMPLER_ARG_VARIABLE} is {text!r}.", "Set a ratio from 0 to 1, for example 0.01.")
    return ratio


class TraceExporter(Protocol):
    """Exports the traces of sampled requests."""

    @property
    def sampler(self) -> Sampler:
        """Decides which requests are sampled."""

    def export(self, trace: RequestTrace, path: str, attributes: Mapping[str, str | int], status: int) -> None:
        """Queue the spans of a sampled request that ends now. Never blocks and never raises.

        Args:
            trace: The request's trace.
            path: The route of the request.
            attributes: Further attributes of the request's span.
            status: Status code of the response.
        """


def begin_trace(environ: WSGIEnvironment, exporter: TraceExporter | None) -> RequestTrace | None:
    """Return the trace of a request, or None if it neither continues a trace nor is sampled."""
    parent = read_traceparent(environ.get(TRACEPARENT_KEY))
    if exporter is not None:
        trace_id = random.getrandbits(128) if parent is None else int(parent.trace_id, 16)
        if exporter.sampler.is_sampled(parent, trace_id):
            flags = _SAMPLED | (_KNOWN_FLAGS if parent is None else parent.flags)
            context = TraceParent(f"{trace_id or 1:032x}", f"{random.getrandbits(64) or 1:016x}", flags)
            return RequestTrace(
                context, parent, environ.get(TRACESTATE_KEY, "") if parent else "", time.time_ns(), []
            )
    return None if parent is None else RequestTrace(parent, parent)
