"""Tests with real stores: a storm of champions, and parity with `preptime score` for a trained bundle.

The storm is load on four workers while champions change, some of them are damaged, and a worker is killed.
"""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import time
from bisect import bisect_right
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import cast

import msgspec
import numpy as np
import polars as pl

from preptime.api.active_model import SECONDS_DECIMALS, ActiveModel, rows_to_columns, run_inference
from preptime.api.champion_loading import ChampionLoader, SharedChecks
from preptime.api.order_validation import read_orders
from preptime.bundle.bundle import Bundle
from preptime.bundle.champion_log import ChampionLog, LogEntryDraft
from preptime.bundle.isolated_check import Cancellation
from preptime.bundle.store import Store
from preptime.scoring.score_file import score_file
from tests.api.factories import HEADERS, http_client, make_service
from tests.api.processes import PLAIN_KEY, SERVE_COMMAND, START_SECONDS, Server, running_server
from tests.api.storm_bundles import DAMAGES, ORDERS, REQUESTS, StormRequest, make_bundles, make_damaged
from tests.api.storm_load import Load, ReceivedResponse
from tests.api.storm_training import make_trained_store
from tests.bundle.factories import DAY, put_endless_bundle
from tests.requirements import requires

STORM_SECONDS = 60
CHAMPION_CHANGES = 20
WORKERS = 4
CLIENTS = 6
BUNDLES = 7
POLL_SECONDS = 0.5
LOADING_SECONDS = 5.0
"""Maximum loading time after a poll: four workers load and verify a bundle concurrently on a busy machine."""
SHUTDOWN_SECONDS = 10
DAMAGED_AT = range(3, CHAMPION_CHANGES, 3)
"""The changes to a damaged bundle. The last change is to a valid one."""
KILL_AT = 12
"""A worker is killed after this change to a damaged bundle. Its replacement must find the previous champion."""

ORDERS_PER_REQUEST = 500


@dataclass
class ChampionTimeline:
    """When each valid bundle was promoted. Times are from `time.monotonic()`, before and after the promotion."""

    bundles: list[str] = field(default_factory=list)
    before: list[float] = field(default_factory=list)
    after: list[float] = field(default_factory=list)

    def promote(self, log: ChampionLog, bundle_id: str, *, valid: bool) -> None:
        """Make a bundle the champion. Record the time if the bundle is valid."""
        before = time.monotonic()
        draft = LogEntryDraft(bundle=bundle_id, date=DAY, action="promote", reason="storm", by="test", at="now")
        log.append(draft, expected_champion=log.current())
        if valid:
            self.bundles.append(bundle_id)
            self.before.append(before)
            self.after.append(time.monotonic())

    def find_index(self, bundle_id: str, response: ReceivedResponse, earliest: int) -> int:
        """Return the first index from `earliest` that the response can belong to.

        Raises `AssertionError` if the response is from an earlier champion than a previous one.
        """
        for index in range(earliest, bisect_right(self.before, response.ended_at)):
            if self.bundles[index] == bundle_id:
                return index
        raise AssertionError(f"{response.request_id}: {bundle_id} after {self.bundles[earliest]} on one connection")

    def late_seconds(self, bundle_id: str, response: ReceivedResponse) -> float:
        """Return how long a request started after its bundle was replaced, or a negative number."""
        known = range(bisect_right(self.before, response.ended_at))
        index = max(index for index in known if self.bundles[index] == bundle_id)
        return response.started_at - self.after[index + 1] if index + 1 < len(self.after) else -1.0


def process_ids(server: Server) -> set[int]:
    """Return the process IDs of the workers that have logged a loaded bundle."""
    lines = [json.loads(line) for line in server.stderr_text().splitlines()]
    return {int(line["process"]) for line in lines if str(line["message"]).startswith("Serving ")}


@dataclass(frozen=True)
class KilledWorker:
    """When a worker was killed and when its process had ended. Times are from `time.monotonic()`."""

    signaled_at: float
    ended_at: float


def kill_a_worker(server: Server) -> KilledWorker:
    """Send SIGKILL to a worker and wait until it has ended."""
    victim = min(process_ids(server))
    assert victim != server.process.pid
    signaled_at = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    while time.monotonic() < signaled_at + START_SECONDS:
        try:
            os.kill(victim, 0)
        except ProcessLookupError:
            return KilledWorker(signaled_at, time.monotonic())
        time.sleep(0.001)
    raise AssertionError(f"Worker {victim} hasn't ended")


def change_champions(server: Server, bundles: list[Bundle], timeline: ChampionTimeline) -> KilledWorker:
    """Change the champion twenty times, evenly over the time of the storm, and kill a worker once."""
    root = server.folder / "models"
    log = ChampionLog(Store.open(str(root)))
    started_at, killed = time.monotonic(), None
    for number in range(1, CHAMPION_CHANGES + 1):
        valid = number not in DAMAGED_AT
        bundle_id = bundles[number % BUNDLES].manifest.id if valid else make_damaged(root, number // 3 - 1)
        timeline.promote(log, bundle_id, valid=valid)
        if not valid:
            server.wait_until("/metrics", f'preptime_workers_rejecting_champion{{bundle="{bundle_id}"}} {WORKERS}.0\n')
            readiness = json.loads(server.get("/readyz"))
            assert readiness["bundle"] == timeline.bundles[-1]
            assert bundle_id in readiness["champion_error"]
        if number == KILL_AT:
            killed = kill_a_worker(server)
        time.sleep(max(0.0, started_at + number * STORM_SECONDS / CHAMPION_CHANGES - time.monotonic()))
    assert killed is not None
    return killed


def logged_records(folder: Path) -> dict[str, dict[str, object]]:
    """Return the prediction log by request. Ignores an incomplete line at the end of a killed worker's file."""
    files = (folder / "predictions").glob("*.jsonl")
    lines = [line for path in files for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    records = {str(record["request_id"]): record for record in map(json.loads, lines)}
    assert len(records) == len(lines)
    return records


def assert_responses_match_bundles(
    responses: list[ReceivedResponse], bundles: list[Bundle], timeline: ChampionTimeline
) -> None:
    """Check that every response is exactly that of its bundle, and that its bundle was champion at that time."""
    expected = {
        (bundle.manifest.id, index): request.expected_response(bundle)
        for bundle in bundles
        for index, request in enumerate(REQUESTS)
    }
    indexes: dict[str, int] = defaultdict(int)
    max_late_seconds = 0.0
    for response in responses:
        assert response.status == 200, response.body
        document = json.loads(response.body)
        bundle_id = document["bundle"]
        assert document == expected[bundle_id, response.request_index]
        indexes[response.connection] = timeline.find_index(bundle_id, response, indexes[response.connection])
        max_late_seconds = max(max_late_seconds, timeline.late_seconds(bundle_id, response))
    assert {json.loads(response.body)["bundle"] for response in responses} == set(timeline.bundles)
    assert max_late_seconds < POLL_SECONDS + LOADING_SECONDS


def assert_responses_are_logged(folder: Path, load: Load, killed: KilledWorker) -> None:
    """Check that the log has every response, except for the last second of the killed worker."""
    records = logged_records(folder)
    for response in load.responses:
        record = records.get(response.request_id)
        if record is None:
            assert response.started_at <= killed.ended_at, response
            assert response.ended_at >= killed.signaled_at - 1.0, response
        else:
            assert record["response"] == json.loads(response.body)
    sent = {response.request_id for response in load.responses} | {failure.request_id for failure in load.failures}
    assert records.keys() <= sent


def assert_only_killed_requests_failed(load: Load, killed: KilledWorker, stop_time: float) -> None:
    """Check that requests failed only on connections to the killed worker, one per connection, or after `stop_time`."""
    failures = [failure for failure in load.failures if failure.ended_at < stop_time]
    assert len(failures) <= CLIENTS, failures
    for failure in failures:
        assert failure.connected_at <= killed.ended_at, failures
        assert failure.ended_at >= killed.signaled_at, failures
    assert max(Counter(failure.connected_at for failure in failures).values(), default=0) <= 1


def test_storm_bundles_predict_every_order_differently(tmp_path: Path) -> None:
    """The storm test depends on this: a response shows which bundle it's from."""
    bundles = make_bundles(Store.open(str(tmp_path / "models")), BUNDLES)
    single_orders = [request for request in REQUESTS if len(request.orders) == 1]
    assert len(single_orders) == len(ORDERS)
    for request in single_orders:
        responses = [json.dumps(request.expected_response(bundle)["predictions"]) for bundle in bundles]
        assert len(set(responses)) == BUNDLES


def test_restarted_worker_falls_back_from_rejected_champion(tmp_path: Path) -> None:
    requires(os.name == "posix", "this system has no SIGKILL")
    root = tmp_path / "models"
    store, timeline = Store.open(str(root)), ChampionTimeline()
    log, (bundle,) = ChampionLog(store), make_bundles(store, 1)
    timeline.promote(log, bundle.manifest.id, valid=True)
    with running_server(tmp_path, SERVE_COMMAND) as server:
        server.wait_until("/readyz", bundle.manifest.id)
        damaged = make_damaged(root, 0)
        timeline.promote(log, damaged, valid=False)
        server.wait_until("/metrics", f'preptime_workers_rejecting_champion{{bundle="{damaged}"}} 1.0\n')
        kill_a_worker(server)
        server.wait_until("/healthz")
        status, body = server.get_response("/readyz")
    assert (status, bundle.manifest.id in body, damaged in body) == (200, True, True)


def test_server_ignores_changes_to_the_files_of_its_bundle(tmp_path: Path) -> None:
    requires(os.name == "posix", "this system's files can't change while they are open")
    root = tmp_path / "models"
    store, timeline = Store.open(str(root)), ChampionTimeline()
    (bundle,) = make_bundles(store, 1)
    timeline.promote(ChampionLog(store), bundle.manifest.id, valid=True)
    expected = [request.expected_response(bundle) for request in REQUESTS]
    with running_server(tmp_path, SERVE_COMMAND, PREPTIME_WORKERS="2") as server:
        server.wait_until("/metrics", f'preptime_workers_ready{{bundle="{bundle.manifest.id}"}} 2.0\n')
        workers = process_ids(server)
        for change in (overwrite_in_place, truncate):
            for path in (root / "bundles" / bundle.manifest.id).rglob("*.*"):
                change(path)
            for _ in range(20):  # connections to both workers
                assert [predicted(server, request) for request in REQUESTS] == expected
        assert process_ids(server) == workers
        assert all(is_running(worker) for worker in workers)
    assert server.process.returncode == 0


def overwrite_in_place(path: Path) -> None:
    """Replace the content of a file without a new file, so that mappings of the file change."""
    with path.open("r+b") as file:
        file.write(b"\x7f" * path.stat().st_size)


def truncate(path: Path) -> None:
    """Remove the content of a file, so that reading a mapping of the file ends the process."""
    os.truncate(path, 0)


def predicted(server: Server, request: StormRequest) -> object:
    """Send a request on a new connection and return the document of the response."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=START_SECONDS)
    headers = {"aikey": PLAIN_KEY, "Content-Type": "application/json"}
    connection.request("POST", "/v1/predictions", request.body(), headers)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    assert response.status == 200, body
    return json.loads(body)


def test_server_follows_the_log_while_a_check_never_ends(tmp_path: Path) -> None:
    requires(os.name == "posix", "Windows has no ps")
    root = tmp_path / "models"
    store, timeline = Store.open(str(root)), ChampionTimeline()
    log, bundles = ChampionLog(store), make_bundles(store, 2)
    timeline.promote(log, bundles[0].manifest.id, valid=True)
    with running_server(tmp_path, SERVE_COMMAND, PREPTIME_WORKERS="2") as server:
        server.wait_until("/metrics", f'preptime_workers_ready{{bundle="{bundles[0].manifest.id}"}} 2.0\n')
        endless = put_endless_bundle(store)
        timeline.promote(log, endless, valid=False)
        (check,) = wait_for_checks(endless)
        assert bundles[0].manifest.id in server.get("/readyz")
        timeline.promote(log, bundles[1].manifest.id, valid=True)
        server.wait_until("/metrics", f'preptime_workers_ready{{bundle="{bundles[1].manifest.id}"}} 2.0\n')
        deadline = time.monotonic() + START_SECONDS
        while is_running(check):
            assert time.monotonic() < deadline, "the superseded check is still running"
            time.sleep(0.01)
    assert "Traceback" not in server.stderr_text()


def wait_for_checks(bundle_id: str) -> list[int]:
    """Wait until a check of a bundle runs. Return the processes of all its checks."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        listing = subprocess.run(["ps", "-axww", "-o", "pid=,args="], capture_output=True, text=True, check=True).stdout
        checks = [line.split() for line in listing.splitlines() if "isolated_check" in line and bundle_id in line]
        if checks:
            return [int(words[0]) for words in checks]
        time.sleep(0.01)
    raise AssertionError(f"no check of {bundle_id} was started")


def is_running(process_id: int) -> bool:
    """Return whether a process exists."""
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


def test_storm_of_champions_under_load(tmp_path: Path) -> None:
    requires(os.name == "posix", "this system has no SIGKILL")
    assert CHAMPION_CHANGES not in DAMAGED_AT
    assert len(DAMAGED_AT) == len(DAMAGES)
    root = tmp_path / "models"
    store, timeline = Store.open(str(root)), ChampionTimeline()
    bundles = make_bundles(store, BUNDLES)
    timeline.promote(ChampionLog(store), bundles[0].manifest.id, valid=True)
    settings = {
        "PREPTIME_WORKERS": str(WORKERS),
        "PREPTIME_CHAMPION_POLL_SECONDS": str(POLL_SECONDS),
        "PREPTIME_SHUTDOWN_TIMEOUT_SECONDS": str(SHUTDOWN_SECONDS),
    }
    with running_server(tmp_path, SERVE_COMMAND, **settings) as server:
        server.wait_until("/metrics", f'preptime_workers_ready{{bundle="{bundles[0].manifest.id}"}} {WORKERS}.0\n')
        load = Load(server.port, PLAIN_KEY, CLIENTS)
        load.start()
        killed = change_champions(server, bundles, timeline)
        metrics = server.wait_until(
            "/metrics", f'preptime_workers_ready{{bundle="{timeline.bundles[-1]}"}} {WORKERS}.0\n'
        )
        assert f"preptime_workers {WORKERS}.0\n" in metrics
        assert "preptime_workers_rejecting_champion{" not in metrics
        assert "preptime_prediction_log_dropped_total 0.0\n" in metrics
        assert len(process_ids(server)) == WORKERS + 1
        stop_time = load.stop_at_first_failure()
        server.process.terminate()
        assert server.process.wait(SHUTDOWN_SECONDS + START_SECONDS / 10) == 0
        load.join(START_SECONDS)
    assert "Traceback" not in server.stderr_text()
    assert_only_killed_requests_failed(load, killed, stop_time)
    assert_responses_match_bundles(load.responses, bundles, timeline)
    assert_responses_are_logged(tmp_path, load, killed)


def test_predictions_of_trained_store_equal_the_scored_file(tmp_path: Path) -> None:
    trained = make_trained_store(tmp_path / "models")
    active_model = ChampionLoader(trained.store, SharedChecks(None))(trained.champion, Cancellation())
    assert len(active_model.models) == 5, "four models, and the stacked one"
    rows = request_rows(trained.orders)
    source, output = tmp_path / "orders.csv", tmp_path / "scored.csv"
    pl.DataFrame(rows).write_csv(source)
    score_file(str(source), output, active_model.bundle)
    with output.open(newline="", encoding="utf-8") as file:
        scored = list(csv.DictReader(file))
    http = http_client(make_service(active_model).service, "fast_path")
    predictions: list[dict[str, object]] = []
    for start in range(0, len(rows), ORDERS_PER_REQUEST):
        body = {"orders": rows[start : start + ORDERS_PER_REQUEST], "models": [*active_model.models, "quantile"]}
        response = http.post("/v1/predictions", json=body, headers=HEADERS)
        predictions += cast(dict[str, list[dict[str, object]]], response.json)["predictions"]
    assert len(predictions) == len(scored) == len(rows)
    for prediction, written in zip(predictions, scored, strict=True):
        assert prediction == as_prediction(written, active_model.models)
    response = http.post("/predict", json={"json_data": pl.DataFrame(rows[:7]).write_json()}, headers=HEADERS)
    seconds_by_model = cast(dict[str, list[float]], response.json)
    assert response.status_code == 201
    assert seconds_by_model.keys() == {*active_model.models, "quantile"}
    assert all(len(seconds) == 7 and None not in seconds for seconds in seconds_by_model.values())
    assert_batching_changes_nothing(active_model, rows[:700])
    for index in range(0, len(rows), 61):
        response = http.post("/v1/predictions", json=rows[index], headers=HEADERS)
        single = cast(dict[str, list[dict[str, object]]], response.json)["predictions"]
        assert single == [{name: value for name, value in predictions[index].items() if name != "models"}]


def assert_batching_changes_nothing(active_model: ActiveModel, rows: list[dict[str, object]]) -> None:
    """Check that an order's prediction has the same bits for every number of other orders in a run."""
    bundle = active_model.bundle
    orders = read_orders(active_model.types.decode_records(msgspec.json.encode(rows)), active_model.lookup).rows
    for with_points in (True, False):
        separate = [run_inference(bundle, [order], with_points)[0] for order in orders]
        for size in (2, 3, 5, 16, 64, len(orders)):
            batches = [
                run_inference(bundle, orders[start : start + size], with_points)
                for start in range(0, len(orders), size)
            ]
            assert [prediction for batch in batches for prediction in batch] == separate
        models = None if with_points else ()
        quantiles = bundle.predict(rows_to_columns(orders), models).quantiles
        separate_quantiles = [bundle.predict(rows_to_columns([order]), models).quantiles[0] for order in orders]
        assert np.array_equal(quantiles, np.stack(separate_quantiles))


def request_rows(orders: pl.DataFrame) -> list[dict[str, object]]:
    """Return the orders with the fields that are known at acknowledgement. Every fortieth has an unknown restaurant."""
    return [
        {
            "order_id": row["order_id"],
            "order_acknowledged_at": row["order_acknowledged_at"].isoformat().replace("+00:00", "Z"),
            "order_value_gbp": row["order_value_gbp"],
            "restaurant_id": 999_999 if index % 40 == 7 else row["restaurant_id"],
            "number_of_items": row["number_of_items"],
        }
        for index, row in enumerate(orders.iter_rows(named=True))
    ]


def as_prediction(written: dict[str, str], models: tuple[str, ...]) -> dict[str, object]:
    """Return the prediction that the API must give for a row that `preptime score` wrote."""

    def seconds(name: str) -> float:
        return round(float(np.float32(written[f"predicted_{name}seconds"])), SECONDS_DECIMALS)

    return {
        "order_id": int(written["order_id"]),
        "prep_time_seconds": round(float(np.float32(written["predicted_seconds"]))),
        **{level: seconds(f"{level}_") for level in ("p10", "p50", "p80", "p90")},
        "ready_at": written["predicted_ready_at"].replace(" ", "T"),
        "fallback_level": written["prediction_fallback_level"],
        "live": False,
        "models": {name: seconds(f"{name}_") for name in models} | {"quantile": seconds("")},
    }
