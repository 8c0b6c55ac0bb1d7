"""What stands and falls with real stores: a storm of champions, and parity with `score` for what `train` setup.

The storm: load on four workers while champions change, some of them damaged, and a worker is killed.
"""

from __future__ import annotations

import csv
import json
import os
import signal
import time
from bisect import bisect_right
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import polars as pl

from preptime.api.active_model import SECONDS_DECIMALS, ActiveModel, rows_to_columns, run_inference
from preptime.api.champion_watcher import champion_loader
from preptime.api.order_validation import read_orders
from preptime.api.schema import Order
from preptime.bundle.bundle import Bundle
from preptime.bundle.champion_log import ChampionLog, LogEntryDraft
from preptime.bundle.store import Store
from preptime.scoring.score_file import score_file
from tests.api.factories import HEADERS, http_client, make_service
from tests.api.processes import PLAIN_KEY, SERVE_COMMAND, START_SECONDS, Server, running_server
from tests.api.storm_bundles import DAMAGES, ORDERS, REQUESTS, make_bundles, make_damaged
from tests.api.storm_load import Load, ReceivedResponse
from tests.api.storm_training import make_trained_store
from tests.bundle.factories import DAY
from tests.requirements import requires

STORM_SECONDS = 60
CHANGES = 20
WORKERS = 4
CLIENTS = 6
BUNDLES = 7
INTERVAL_SECONDS = 0.5
LOADING_SECONDS = 5.0
"""Beyond the interval: a bundle is loaded and verified by four workers at once, on a machine that has other work."""
GRACE_SECONDS = 10
DAMAGED_AT = range(3, CHANGES, 3)
"""Which changes are to a bundle that must be refused; the last is to a good one."""
KILL_AT = 12
"""After this change, to a damaged bundle, a worker is killed: the one in its place has to find the champion before."""

ROWS_A_REQUEST = 500


@dataclass
class Reign:
    """When each good bundle was promoted. Times are `time.monotonic()`, before and after the promotion."""

    bundles: list[str] = field(default_factory=list)
    before: list[float] = field(default_factory=list)
    after: list[float] = field(default_factory=list)

    def promote(self, log: ChampionLog, bundle_id: str, *, good: bool) -> None:
        """Make a bundle champion, and remember when if it is a good one."""
        before = time.monotonic()
        draft = LogEntryDraft(bundle=bundle_id, date=DAY, action="promote", reason="storm", by="test", at="now")
        log.append(draft, expected_champion=log.current())
        if good:
            self.bundles.append(bundle_id)
            self.before.append(before)
            self.after.append(time.monotonic())

    def place(self, bundle_id: str, given: ReceivedResponse, earliest: int) -> int:
        """The first reign from `earliest` on that the answer can be of. There is one, or the answer went back."""
        for place in range(earliest, bisect_right(self.before, given.ended)):
            if self.bundles[place] == bundle_id:
                return place
        raise AssertionError(f"{given.request_id}: {bundle_id} after {self.bundles[earliest]} on one connection")

    def late_seconds(self, bundle_id: str, given: ReceivedResponse) -> float:
        """How long after its last possible reign an answer was begun; below 0 for one that was in time."""
        known = range(bisect_right(self.before, given.ended))
        place = max(place for place in known if self.bundles[place] == bundle_id)
        return given.began - self.after[place + 1] if place + 1 < len(self.after) else -1.0


def process_ids(server: Server) -> set[int]:
    """The workers that have said that they serve something."""
    lines = [json.loads(line) for line in server.stderr_text().splitlines()]
    return {int(line["process"]) for line in lines if str(line["message"]).startswith("Serving ")}


@dataclass(frozen=True)
class Kill:
    """When a worker was killed, and when it was gone for certain. Times are `time.monotonic()`."""

    began: float
    ended: float


def kill_a_worker(server: Server) -> Kill:
    """SIGKILL to one of them."""
    victim = min(process_ids(server))
    assert victim != server.process.pid
    began = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    while time.monotonic() < began + START_SECONDS:
        try:
            os.kill(victim, 0)
        except ProcessLookupError:
            return Kill(began, time.monotonic())
        time.sleep(0.001)
    raise AssertionError(f"Nobody has taken note of the death of {victim}")


def change_champions(server: Server, bundles: list[Bundle], reign: Reign) -> Kill:
    """Twenty changes, evenly over the time of the storm, and the kill."""
    root = server.folder / "models"
    log = ChampionLog(Store.open(str(root)))
    began, killed = time.monotonic(), None
    for number in range(1, CHANGES + 1):
        good = number not in DAMAGED_AT
        bundle_id = bundles[number % BUNDLES].manifest.id if good else make_damaged(root, number // 3 - 1)
        reign.promote(log, bundle_id, good=good)
        if not good:
            server.wait_until("/metrics", f'preptime_workers_rejecting_champion{{bundle="{bundle_id}"}} {WORKERS}\n')
            told = json.loads(server.get("/readyz"))
            assert told["bundle"] == reign.bundles[-1]
            assert bundle_id in told["champion_error"]
        if number == KILL_AT:
            killed = kill_a_worker(server)
        time.sleep(max(0.0, began + number * STORM_SECONDS / CHANGES - time.monotonic()))
    assert killed is not None
    return killed


def remembered(folder: Path) -> dict[str, dict[str, object]]:
    """The prediction log by request; half a line at the end of a killed worker's file is passed over."""
    files = (folder / "predictions").glob("*.jsonl")
    lines = [line for path in files for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    records = {str(record["request_id"]): record for record in map(json.loads, lines)}
    assert len(records) == len(lines)
    return records


def assert_right(given: list[ReceivedResponse], bundles: list[Bundle], reign: Reign) -> None:
    """Every answer is that of the bundle which it names, and that bundle's time had come and was not over."""
    right = {
        (bundle.manifest.id, place): question.expected_response(bundle)
        for bundle in bundles
        for place, question in enumerate(REQUESTS)
    }
    places: dict[str, int] = defaultdict(int)
    latest = 0.0
    for one in given:
        assert one.status == 200, one.body
        found = json.loads(one.body)
        assert found == right[found["bundle"], one.request_index]
        places[one.connection] = reign.place(found["bundle"], one, places[one.connection])
        latest = max(latest, reign.late_seconds(found["bundle"], one))
    assert {json.loads(one.body)["bundle"] for one in given} == set(reign.bundles)
    assert latest < INTERVAL_SECONDS + LOADING_SECONDS


def assert_remembered(folder: Path, load: Load, killed: Kill) -> None:
    """The log has what was answered; only of the killed worker's last second something may lack."""
    records = remembered(folder)
    for one in load.responses:
        record = records.get(one.request_id)
        if record is None:
            assert one.began <= killed.ended, one
            assert one.ended >= killed.began - 1.0, one
        else:
            assert record["response"] == json.loads(one.body)
    asked = {one.request_id for one in load.responses} | {one.request_id for one in load.failures}
    assert records.keys() <= asked


def assert_only_in_flight(load: Load, killed: Kill, ended: float) -> None:
    """What failed was on a connection to the killed worker, one request each, or came after the end."""
    failed = [one for one in load.failures if one.ended < ended]
    assert len(failed) <= CLIENTS, failed
    assert all(one.opened <= killed.ended and one.ended >= killed.began for one in failed), failed
    assert max(Counter(one.opened for one in failed).values(), default=0) <= 1


def test_storm_bundles_predict_every_order_differently(tmp_path: Path) -> None:
    """What makes the storm a test: an answer tells which bundle it is of."""
    bundles = make_bundles(Store.open(str(tmp_path / "models")), BUNDLES)
    single = [question for question in REQUESTS if len(question.orders) == 1]
    assert len(single) == len(ORDERS)
    for question in single:
        told = [json.dumps(question.expected_response(bundle)["predictions"]) for bundle in bundles]
        assert len(set(told)) == BUNDLES


def test_restarted_worker_falls_back_from_rejected_champion(tmp_path: Path) -> None:
    requires(os.name == "posix", "this system has no SIGKILL")
    root = tmp_path / "models"
    store, reign = Store.open(str(root)), Reign()
    log, (bundle,) = ChampionLog(store), make_bundles(store, 1)
    reign.promote(log, bundle.manifest.id, good=True)
    with running_server(tmp_path, SERVE_COMMAND) as server:
        server.wait_until("/readyz", bundle.manifest.id)
        damaged = make_damaged(root, 0)
        reign.promote(log, damaged, good=False)
        server.wait_until("/metrics", f'preptime_workers_rejecting_champion{{bundle="{damaged}"}} 1\n')
        kill_a_worker(server)
        server.wait_until("/healthz")
        status, told = server.get_response("/readyz")
    assert (status, bundle.manifest.id in told, damaged in told) == (200, True, True)


def test_storm_of_champions_under_load(tmp_path: Path) -> None:
    requires(os.name == "posix", "this system has no SIGKILL")
    assert CHANGES not in DAMAGED_AT
    assert len(DAMAGED_AT) == len(DAMAGES)
    root = tmp_path / "models"
    store, reign = Store.open(str(root)), Reign()
    bundles = make_bundles(store, BUNDLES)
    reign.promote(ChampionLog(store), bundles[0].manifest.id, good=True)
    settings = {
        "PREPTIME_WORKERS": str(WORKERS),
        "PREPTIME_CHAMPION_POLL_SECONDS": str(INTERVAL_SECONDS),
        "PREPTIME_SHUTDOWN_TIMEOUT_SECONDS": str(GRACE_SECONDS),
    }
    with running_server(tmp_path, SERVE_COMMAND, **settings) as server:
        server.wait_until("/metrics", f'preptime_workers_ready{{bundle="{bundles[0].manifest.id}"}} {WORKERS}\n')
        load = Load(server.port, PLAIN_KEY, CLIENTS)
        load.start()
        killed = change_champions(server, bundles, reign)
        told = server.wait_until("/metrics", f'preptime_workers_ready{{bundle="{reign.bundles[-1]}"}} {WORKERS}\n')
        assert f"preptime_workers {WORKERS}\n" in told
        assert "preptime_workers_rejecting_champion{" not in told
        assert "preptime_prediction_log_dropped_total 0\n" in told
        assert len(process_ids(server)) == WORKERS + 1
        ended = load.stop_at_first_failure()
        server.process.terminate()
        assert server.process.wait(GRACE_SECONDS + START_SECONDS / 10) == 0
        load.join(START_SECONDS)
    assert "Traceback" not in server.stderr_text()
    assert_only_in_flight(load, killed, ended)
    assert_right(load.responses, bundles, reign)
    assert_remembered(tmp_path, load, killed)


def test_predictions_of_trained_store_equal_the_scored_file(tmp_path: Path) -> None:
    trained = make_trained_store(tmp_path / "models")
    opened = champion_loader(trained.store)(trained.champion)
    assert opened.models == ("rf", "gbr", "cat", "xgb", "stacking")
    rows = asked_rows(trained.orders)
    source, out = tmp_path / "orders.csv", tmp_path / "scored.csv"
    pl.DataFrame(rows).write_csv(source)
    score_file(str(source), out, opened.bundle)
    with out.open(newline="", encoding="utf-8") as file:
        scored = list(csv.DictReader(file))
    http = http_client(make_service(opened).service, "fast_path")
    found: list[dict[str, object]] = []
    for start in range(0, len(rows), ROWS_A_REQUEST):
        asked = {"orders": rows[start : start + ROWS_A_REQUEST], "models": [*opened.models, "quantile"]}
        response = http.post("/v1/predictions", json=asked, headers=HEADERS)
        found += cast(dict[str, list[dict[str, object]]], response.json)["predictions"]
    assert len(found) == len(scored) == len(rows)
    for one, written in zip(found, scored, strict=True):
        assert one == as_answered(written, opened.models)
    demo = http.post("/predict", json={"json_data": pl.DataFrame(rows[:7]).write_json()}, headers=HEADERS)
    told = cast(dict[str, list[float]], demo.json)
    assert demo.status_code == 201
    assert told.keys() == {"rf", "gbr", "cat", "xgb", "stacking", "quantile"}
    assert all(len(seconds) == 7 and None not in seconds for seconds in told.values())
    assert_alone_and_together(opened, rows[:700])
    for place in range(0, len(rows), 61):
        response = http.post("/v1/predictions", json=rows[place], headers=HEADERS)
        alone = cast(dict[str, list[dict[str, object]]], response.json)["predictions"]
        assert alone == [{name: value for name, value in found[place].items() if name != "models"}]


def assert_alone_and_together(opened: ActiveModel, rows: list[dict[str, object]]) -> None:
    """An order's answer is the same to the bit whatever orders stand beside it in a run, and with how many."""
    cells = read_orders([Order(**row) for row in rows], opened.lookup).rows
    for points in (True, False):
        alone = [run_inference(opened.bundle, [one], points)[0] for one in cells]
        for size in (2, 3, 5, 16, 64, len(cells)):
            parts = [
                run_inference(opened.bundle, cells[start : start + size], points)
                for start in range(0, len(cells), size)
            ]
            assert [one for part in parts for one in part] == alone
        quantiles = opened.bundle.predict(rows_to_columns(cells), None if points else ()).quantiles
        singly = [opened.bundle.predict(rows_to_columns([one]), None if points else ()).quantiles[0] for one in cells]
        assert np.array_equal(quantiles, np.stack(singly))


def asked_rows(orders: pl.DataFrame) -> list[dict[str, object]]:
    """The orders without what only became known later; every fortieth is a stranger's."""
    return [
        {
            "order_id": row["order_id"],
            "order_acknowledged_at": row["order_acknowledged_at"].isoformat().replace("+00:00", "Z"),
            "order_value_gbp": row["order_value_gbp"],
            "restaurant_id": 999_999 if place % 40 == 7 else row["restaurant_id"],
            "number_of_items": row["number_of_items"],
        }
        for place, row in enumerate(orders.iter_rows(named=True))
    ]


def as_answered(written: dict[str, str], models: tuple[str, ...]) -> dict[str, object]:
    """A row that `score` wrote, as the API tells it."""

    def seconds(name: str) -> float:
        return round(float(np.float32(written[f"predicted_{name}seconds"])), SECONDS_DECIMALS)

    return {
        "order_id": int(written["order_id"]),
        "prep_time_seconds": round(float(np.float32(written["predicted_seconds"]))),
        **{level: seconds(f"{level}_") for level in ("p10", "p50", "p80", "p90")},
        "ready_at": written["predicted_ready_at"].replace(" ", "T"),
        "fallback_level": written["prediction_fallback_level"],
        "models": {name: seconds(f"{name}_") for name in models} | {"quantile": seconds("")},
    }
