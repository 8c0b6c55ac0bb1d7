"""Compare the candidate of a release with limits, by the requests that it gets with a part of the traffic.

    python scripts/cloud_run.py shift --service preptime-api --region R --percent 10
    python -m scripts.canary --service preptime-api --region R      # SMOKE_KEY: an API key

The script sends `--min-requests` requests to the candidate, so that a quiet service has enough of them. For `--minutes`
and the delay of Cloud Monitoring, it reads how many requests the candidate got, from clients too. The exit status is 1
as soon as the share of 5xx statuses or the 99th percentile of the latency exceeds its limit. It's also 1 if too many of
the script's own requests fail, or if Cloud Monitoring has too few requests or no latency at the end. The default limit
of the latency is twice that of the objective, because the first requests of new instances are slow.
"""

from __future__ import annotations

import argparse
import datetime as dt
import math
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from scripts.cloud_run import CloudRunService, Document, ReleaseError, RequestError, candidate, smoke_test

METRICS_DELAY_SECONDS = 180.0
"""Cloud Monitoring shows a request up to three minutes later."""
POLL_SECONDS = 30.0
"""Time between two reads of the metrics of the candidate."""
RETRY_SECONDS = 120.0
"""How long the last read is repeated while it fails for a temporary reason."""
REQUEST_COUNT = {
    "filter": 'metric.type="run.googleapis.com/request_count"',
    "aggregation.perSeriesAligner": "ALIGN_SUM",
    "aggregation.crossSeriesReducer": "REDUCE_SUM",
    "aggregation.groupByFields": "metric.labels.response_code_class",
}
"""The number of requests by class of status."""
P99 = {
    "filter": 'metric.type="run.googleapis.com/request_latencies"',
    "aggregation.perSeriesAligner": "ALIGN_DELTA",
    "aggregation.crossSeriesReducer": "REDUCE_PERCENTILE_99",
}
"""The 99th percentile of the latency in milliseconds."""


@dataclass(frozen=True)
class CanaryLimits:
    """What the candidate must keep to get all traffic."""

    minutes: float
    min_requests: int
    max_error_percent: float
    max_p99_ms: float


@dataclass(frozen=True)
class CandidateRequests:
    """The requests that the candidate got from the start of the canary, from clients and from this script."""

    revision: str
    count: int
    error_count: int
    """Requests with a 5xx status."""
    p99_ms: float | None
    """The 99th percentile of the latency, or None if Cloud Monitoring has no value."""

    @property
    def error_percent(self) -> float:
        """The share of requests with a 5xx status."""
        return 100 * self.error_count / self.count if self.count else 0.0

    def __str__(self) -> str:
        p99 = "unknown" if self.p99_ms is None else f"{self.p99_ms:.0f} ms"
        return f"{self.revision}: {self.count} requests, {self.error_percent:.1f}% errors, p99 {p99}"

    def check(self, limits: CanaryLimits) -> None:
        """Compare what is known with the limits, if there are enough requests. Raises `ReleaseError`."""
        if self.count < limits.min_requests:
            return
        if self.error_percent > limits.max_error_percent:
            raise ReleaseError(f"{self}. The limit of --max-error-percent is {limits.max_error_percent:g}.")
        if self.p99_ms is not None and self.p99_ms > limits.max_p99_ms:
            raise ReleaseError(f"{self}. The limit of --max-p99-ms is {limits.max_p99_ms:g}.")

    def check_complete(self, limits: CanaryLimits) -> None:
        """Check that there's enough to decide. Raises `ReleaseError`, which names what is missing."""
        if self.count < limits.min_requests:
            raise ReleaseError(f"{self}. --min-requests is {limits.min_requests}. Do requests reach the candidate?")
        if self.p99_ms is None:
            raise ReleaseError(
                f"{self}. Cloud Monitoring has no latency of these requests to compare with --max-p99-ms."
            )


def run_canary(cloud_run: CloudRunService, limits: CanaryLimits, key: str) -> CandidateRequests:
    """Send requests to the candidate, and watch all that it gets. Raises `ReleaseError` if it exceeds a limit."""
    status = candidate(cloud_run.describe(), cloud_run.name)
    start = dt.datetime.fromtimestamp(time.time(), dt.UTC)
    deadline = time.monotonic() + 60 * limits.minutes + METRICS_DELAY_SECONDS
    smoke_test(str(status["uri"]), key, limits.min_requests, limits.max_error_percent)
    while True:
        now = time.monotonic()
        try:
            requests = read_requests(cloud_run, str(status["revision"]), start)
        except ReleaseError as error:
            # Without a response of Google, for example if gcloud got no token, the next read can succeed.
            is_permanent = isinstance(error, RequestError) and not error.is_temporary
            if is_permanent or now >= deadline + RETRY_SECONDS:
                raise
        else:
            requests.check(limits)
            if now >= deadline:
                requests.check_complete(limits)
                return requests
        time.sleep(POLL_SECONDS)


def read_requests(cloud_run: CloudRunService, revision: str, start: dt.datetime) -> CandidateRequests:
    """Read the requests of a revision from Cloud Monitoring."""
    by_class = {
        str(series["metric"]["labels"]["response_code_class"]): sum(int(value) for value in values_of(series))
        for series in read_series(cloud_run, revision, start, REQUEST_COUNT)
    }
    values = [float(value) for series in read_series(cloud_run, revision, start, P99) for value in values_of(series)]
    p99 = max((value for value in values if not math.isnan(value)), default=None)
    return CandidateRequests(revision, sum(by_class.values()), by_class.get("5xx", 0), p99)


def values_of(series: Document) -> list[str | float]:
    """Return the values of a time series. The API sends integers and NaN as text."""
    return [value for point in series.get("points", []) for value in point["value"].values()]


def read_series(cloud_run: CloudRunService, revision: str, start: dt.datetime, query: dict[str, str]) -> list[Document]:
    """Return a metric of a revision, aggregated over the time from `start`."""
    end = dt.datetime.fromtimestamp(time.time(), dt.UTC)
    minutes = max(1, math.ceil((end - start).total_seconds() / 60))
    parameters = query | {
        "filter": f"{query['filter']} AND {filter_of(cloud_run, revision)}",
        # The interval must contain a whole period.
        "interval.startTime": (end - dt.timedelta(minutes=minutes)).isoformat(),
        "interval.endTime": end.isoformat(),
        "aggregation.alignmentPeriod": f"{60 * minutes}s",
    }
    series: list[Document] = cloud_run.time_series(urlencode(parameters)).get("timeSeries", [])
    return series


def filter_of(cloud_run: CloudRunService, revision: str) -> str:
    """Return the filter for the metrics of a revision."""
    labels = {"location": cloud_run.region, "service_name": cloud_run.name, "revision_name": revision}
    conditions = [f'resource.labels.{name}="{value}"' for name, value in labels.items()]
    return " AND ".join(['resource.type="cloud_run_revision"', *conditions])


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the parsed arguments."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--service", required=True)
    parser.add_argument("--region", required=True)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--min-requests", type=int, default=100)
    parser.add_argument("--max-error-percent", type=float, default=1.0)
    parser.add_argument("--max-p99-ms", type=float, default=500.0)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 if the candidate keeps the limits, or 1."""
    options = parse_arguments(arguments)
    limits = CanaryLimits(options.minutes, options.min_requests, options.max_error_percent, options.max_p99_ms)
    try:
        cloud_run = CloudRunService(options.service, options.region)
        requests = run_canary(cloud_run, limits, os.environ.get("SMOKE_KEY", ""))
    except ReleaseError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{requests}. The candidate keeps its limits.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
