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
_FORMAT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_CANONICAL = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-0[0-3]")
_TRACE_ID = slice(3, 35)
"""Where it is in version 00."""


class TraceParent(NamedTuple):
    """A valid `traceparent`."""

    trace_id: str
    """32 hexadecimal digits."""
    span_id: str
    """16 hexadecimal digits."""
    flags: int
    """Bit 0: the caller has sampled the trace. Bit 1: the trace ID is random."""

    def header(self) -> str:
        """Return it as the value of a header, in version 00."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"


def read_traceparent(header: str | None) -> TraceParent | None:
    """Return the trace context in a header, or None if there's none or it's invalid.

    >>> read_traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").flags
    1
    """
    match = _FORMAT.fullmatch(header) if header else None
    if match is None:
        return None
    version, trace_id, span_id, flags, appended = match.groups()
    if version == "ff" or (version == "00" and appended) or not int(trace_id, 16) or not int(span_id, 16):
        return None
    return TraceParent(trace_id, span_id, int(flags, 16) & _KNOWN_FLAGS)


def canonical_traceparent(header: str) -> str | None:
    """Return a header in version 00 and with known flags only, or None if it's invalid."""
    if _CANONICAL.fullmatch(header) is not None:  # The usual case: one call for all checks.
        return header
    parent = read_traceparent(header)
    return None if parent is None else parent.header()


class Part(NamedTuple):
    """A measured part of a request. It becomes a span."""

    name: str
    started_at: int
    ended_at: int
    """Nanoseconds since 1970-01-01 00:00 UTC."""
    batch_requests: int = 0
    """Requests that shared the part, for a part of a batch."""


class RequestTrace(msgspec.Struct, gc=False, eq=False):
    """The trace of a sampled request."""

    context: TraceParent
    """The context of the request's own span."""
    parent: TraceParent | None
    """The caller's context."""
    state: str
    """The caller's `tracestate`."""
    started_at: int
    """Nanoseconds since 1970-01-01 00:00 UTC."""
    parts: list[Part]

    def add_part(self, name: str, started_at: int) -> None:
        """Add a part that ends now."""
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
            ratio = _read_ratio(environ, 1.0 if environ.get(SAMPLER_VARIABLE) else DEFAULT_RATIO)
        elif kind in _FIXED_RATIOS:
            ratio = _FIXED_RATIOS[kind]
        else:
            raise UsageError(
                f"{SAMPLER_VARIABLE} is {name!r}.",
                "Set always_on, always_off, or traceidratio, also with the prefix parentbased_.",
            )
        return cls(name.startswith(_PARENT_BASED), round(ratio * 2**64))

    def is_sampled(self, traceparent: str | None, trace_id: int) -> bool:
        """Return whether to sample a request with this trace ID and this valid `traceparent` in version 00."""
        if traceparent is not None and self.is_parent_based:
            return traceparent[-1] in "13"
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

    sampler: Sampler
    """Decides which requests are sampled."""

    def export(self, trace: RequestTrace, path: str, attributes: Mapping[str, str | int], status: int) -> None:
        """Queue the spans of a sampled request that ends now. Never blocks and never raises.

        Args:
            trace: The request's trace.
            path: The route of the request.
            attributes: Further attributes of the request's span.
            status: Status code of the response.
        """


def begin_trace(environ: WSGIEnvironment, exporter: TraceExporter | None) -> tuple[str | None, RequestTrace | None]:
    """Return the `traceparent` of the response, if the request continues a trace or is sampled, and a sampled trace."""
    header = environ.get(TRACEPARENT_KEY)
    if header is not None:
        header = canonical_traceparent(header)
    if exporter is None:
        return header, None
    trace_id = random.getrandbits(128) if header is None else int(header[_TRACE_ID], 16)
    if not exporter.sampler.is_sampled(header, trace_id):
        return header, None
    trace = _begin_sampled(header, trace_id, environ)
    return trace.context.header(), trace


def _begin_sampled(header: str | None, trace_id: int, environ: WSGIEnvironment) -> RequestTrace:
    parent = read_traceparent(header)
    flags = _SAMPLED if parent is None else _SAMPLED | parent.flags
    context = TraceParent(f"{trace_id or 1:032x}", f"{random.getrandbits(64) or 1:016x}", flags)
    return RequestTrace(context, parent, "" if parent is None else environ.get(TRACESTATE_KEY, ""), time.time_ns(), [])


def trace_id_of(traceparent: str | None) -> str | None:
    """Return the trace ID in a valid `traceparent` of version 00, for the log."""
    return None if traceparent is None else traceparent[_TRACE_ID]
