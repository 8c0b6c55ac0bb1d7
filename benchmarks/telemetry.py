"""Processor time of a prediction request with and without the export of traces.

    python -m benchmarks.telemetry                   200 rounds
    python -m benchmarks.telemetry --rounds 20       another number
    python -m benchmarks.telemetry --json            one JSON document instead of the table

One process has a service for each configuration, with API keys, validation, prediction log, and metrics. Every round
sends the same requests to all of them, each with one order and the default model, which is the fastest request. A time
is the sum of two: the median processor time of the request's thread, and the share of a request in the processor time
that sends the spans to a receiver in another process. It doesn't include the HTTP server.
"""

from __future__ import annotations

import argparse
import datetime as dt
import gc
import io
import json
import multiprocessing
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from preptime.api.app import make_application
from preptime.api.runtime import ServiceRuntime, build_runtime
from preptime.bundle.champion_log import ChampionLog, LogEntryDraft
from preptime.bundle.store import Store
from preptime.domain.orders import DEFAULT_MODEL
from preptime.keys import load_api_keys
from preptime.models.quantile import QuantileModel
from preptime.settings import Settings
from preptime.synthetic import SynthesisPlan, synthesize_frames
from preptime.training.fitting import FitPlan
from preptime.training.publishing import AuditActor
from preptime.training.train import train
from preptime.validation.audit import audit_orders
from preptime.validation.data_gate import GateThresholds
from preptime.validation.restaurants import read_restaurants

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

KEY = "a key of the benchmark"
ORDERS, DAYS = 4_000, 21
REQUESTS, ROUNDS_PER_FLUSH = 200, 10
"""Requests per configuration and round, and rounds after which their spans are sent.

By default, the SDK sends every 5 seconds, so that a busy server sends fewer and larger batches.
"""
OFF = "without export"
SAMPLED = "1% sampled"
CONTINUED_OFF, CONTINUED = f"{OFF}, every request has `traceparent`", f"{SAMPLED}, every request has `traceparent`"
CONFIGURATIONS = {
    OFF: (False, False),
    CONTINUED_OFF: (False, True),
    SAMPLED: (True, False),
    CONTINUED: (True, True),
}
"""Whether traces are exported, and whether requests have `traceparent`."""
RATIO = 0.01
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


def main() -> None:
    """Train a bundle, measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200, help="number (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, receiving() as port:
        restaurant = _train_champion(Store.open(f"{folder}/models"))
        results = _measure(Path(folder), restaurant, port, arguments.rounds)
    print(json.dumps(results) if arguments.json else _markdown(results))


def _train_champion(store: Store) -> str:
    """Train a bundle of `quantile` and make it the champion. Return the ID of a restaurant."""
    plan = SynthesisPlan(orders=ORDERS, days=DAYS)
    orders, restaurants, _ = synthesize_frames(plan)
    index, date = read_restaurants(restaurants), plan.start + dt.timedelta(days=DAYS)
    document = train(
        audit_orders(orders, index, need_label=True),
        index,
        date,
        store,
        AuditActor(by="benchmarks/telemetry.py", at=""),
        plan=FitPlan({DEFAULT_MODEL: QuantileModel()}, threads=2),
        thresholds=GateThresholds(min_orders=ORDERS // 2),
        allow_promotion=False,
        with_gate=False,
    )
    draft = LogEntryDraft(bundle=document.bundle, date=date, action="promote", reason="bench", by="bench", at="")
    ChampionLog(store).append(draft, None)
    return str(restaurants["restaurant_id"][0])


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def _receive(ports: Connection) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    ports.send(server.server_port)
    server.serve_forever()


@contextmanager
def receiving() -> Iterator[int]:
    """Run a receiver in another process. Yields its port."""
    ports, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=_receive, args=(sender,), daemon=True)
    process.start()
    try:
        yield ports.recv()
    finally:
        process.terminate()
        process.join()


def _measure(folder: Path, restaurant: str, port: int, rounds: int) -> dict[str, dict[str, float]]:
    """Return the processor time per request in µs, and its ratio to that of `OFF`, by configuration."""
    load_before = os.getloadavg()[0]
    ports = {name: port if is_exported else None for name, (is_exported, _) in CONFIGURATIONS.items()}
    runtimes = {name: _open_runtime(folder, ports[name]) for name in CONFIGURATIONS}
    exporters = {name: runtime.trace_exporter for name, runtime in runtimes.items()}
    blocks = {
        name: _block(runtimes[name], restaurant, is_continued) for name, (_, is_continued) in CONFIGURATIONS.items()
    }
    for run in blocks.values():
        run()
    gc.collect()
    gc.freeze()  # as a worker does
    times: dict[str, list[float]] = {name: [] for name in blocks}
    sending: dict[str, list[float]] = {name: [0.0] for name in blocks}
    for index in range(1, rounds + 1):
        for name in random.sample(list(blocks), len(blocks)):
            times[name].append(_microseconds(time.thread_time, blocks[name]) / REQUESTS)
            exporter = exporters[name]
            if exporter is not None and index % ROUNDS_PER_FLUSH == 0:
                sending[name].append(_microseconds(time.process_time, exporter.flush) / REQUESTS / ROUNDS_PER_FLUSH)
    for runtime in runtimes.values():
        runtime.close(timeout_seconds=5)
    off = median(times[OFF])
    results = {}
    for name, values in times.items():
        ratio = median(value / reference for value, reference in zip(values, times[OFF], strict=True))
        sent = median(sending[name])
        results[name] = {"request": off * ratio, "sending": sent, "ratio": ratio + sent / off}
    return results | {"load average": {"before": load_before, "after": os.getloadavg()[0]}}


def _microseconds(clock: Callable[[], float], run: Callable[[], object]) -> float:
    started_at = clock()
    run()
    return (clock() - started_at) * 1e6


def _open_runtime(folder: Path, port: int | None) -> ServiceRuntime:
    os.environ.pop(ENDPOINT, None)
    if port is not None:
        os.environ |= {
            ENDPOINT: f"http://127.0.0.1:{port}",
            "OTEL_TRACES_SAMPLER_ARG": str(RATIO),
            "OTEL_BSP_SCHEDULE_DELAY": "3600000",
        }
    environ = {
        "PREPTIME_STORE": f"{folder}/models",
        "AIKEY": KEY,
        "PREPTIME_PREDICTION_LOG_FOLDER": f"{folder}/predictions",
    }
    settings = Settings.load(environ)
    runtime = build_runtime(settings, load_api_keys(settings.api_keys, settings.aikey, loopback=True, required=True))
    runtime.start()
    return runtime


def _block(runtime: ServiceRuntime, restaurant: str, is_continued: bool) -> Callable[[], None]:
    """Return a function that sends the requests of a round.

    If `is_continued`, every request has a `traceparent`, and the share `RATIO` of them is sampled.
    """
    app: WSGIApplication = make_application(runtime.service)
    order = {"order_acknowledged_at": "2015-06-17 12:28:28+01:00", "restaurant_id": restaurant, "number_of_items": 3}
    body = json.dumps({"orders": [order | {"order_value_gbp": 21.4}]}).encode()
    flags = [int(index % round(1 / RATIO) == 0) for index in range(REQUESTS)]
    headers = [f"00-{random.getrandbits(127) + 1:032x}-b7ad6b7169203331-{flag:02x}" for flag in flags]
    statuses: list[str] = []

    def start_response(status: str, *_: object) -> Callable[[bytes], object]:
        statuses.append(status)
        return lambda _: None

    def run() -> None:
        for index in range(REQUESTS):
            environ = {
                "REQUEST_METHOD": "POST",
                "PATH_INFO": "/v1/predictions",
                "HTTP_HOST": "localhost",
                "HTTP_AIKEY": KEY,
                "CONTENT_TYPE": "application/json",
                "CONTENT_LENGTH": str(len(body)),
                "SERVER_PROTOCOL": "HTTP/1.1",
                "wsgi.input": io.BytesIO(body),
            }
            environ["HTTP_TRACEPARENT" if is_continued else "HTTP_OTHER"] = headers[index]
            b"".join(app(environ, start_response))
            if statuses.pop() != "200 OK":
                raise SystemExit("A request failed.")

    return run


def _markdown(results: dict[str, dict[str, float]]) -> str:
    load = results.pop("load average")
    one = max(results[SAMPLED]["ratio"], results[CONTINUED]["ratio"]) - 1
    lines = [
        f"With 1% of the requests sampled, a request takes {one:.1%} more processor time than without export.",
        "",
        "| Configuration | In the request | Sending | Compared with no export |",
        "|---|---:|---:|---:|",
    ]
    for name, result in results.items():
        lines.append(
            f"| {name} | {result['request']:.0f} µs | {result['sending']:.1f} µs | {result['ratio'] - 1:+.1%} |"
        )
    lines += ["", f"The load average of the machine was {load['before']:.1f} before and {load['after']:.1f} after."]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
