"""`python -m benchmarks`, and the parts of benchmarks that need no other model server and no Spark."""

from __future__ import annotations

import datetime as dt
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement

from benchmarks import __main__ as benchmarks
from benchmarks import spark_sampling
from benchmarks.api.load import Load
from benchmarks.peers import __main__ as peers
from benchmarks.peers import environments
from benchmarks.peers.catalog import MLSERVER, PACKAGES, PREPTIME, PeerServer, Start, catalog
from benchmarks.peers.environments import LOCKS, PeerError, install, install_commands
from benchmarks.peers.measure import Round, Run, first_difference, marked_processes
from benchmarks.peers.table import markdown
from preptime.synthetic import SynthesisPlan, synthesize_frames
from preptime.training.training_data import day_number
from scripts import make_locks
from tests.requirements import ROOT, requires

ORDER = {
    "order_id": "7",
    "order_acknowledged_at": "2015-06-30T12:00:00+01:00",
    "order_value_gbp": 20.5,
    "restaurant_id": 12,
    "number_of_items": 3,
}
QUANTILES = {"p10": 300.0, "p50": 600.0, "p80": 900.0, "p90": 1200.0}
EXPECTED = QUANTILES | {"cat": 650.5}
ROW = {"prep_time_seconds": 600, **QUANTILES, "models": {"cat": 650.5}}
RESPONSES: dict[str, object] = {
    "/v1/predictions": {"predictions": [ROW]},
    "/v2/models/preptime/infer": {"outputs": [{"name": name, "data": [value]} for name, value in EXPECTED.items()]},
    "/invocations": {"predictions": [EXPECTED]},
    "/predict": [ROW],
}
"""What each server responds, by path."""
SERVERS = catalog(["cat"])


def rounds_of(rates: tuple[float, float]) -> list[Round]:
    """Return two rounds with these rates at 16 connections, and a tenth of them at one."""
    loads = [Load(int(rate * 8), 8.0, 0, 16e6 / rate, 50e6 / rate) for rate in rates]
    return [
        Round({16: load, 1: Load(load.requests // 10, 8.0, 0, 500.0, 1_250.0)}, {16: 200.4, 1: 400.0}, 0.94, 150, 191)
        for load in loads
    ]


def test_long_benchmarks_run_only_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert {"peers", "spark_large"}.isdisjoint(benchmarks.NAMES)
    with pytest.raises(SystemExit):
        benchmarks.main(["--help"])
    help_ = capsys.readouterr().out
    assert "run all except `peers` and `spark_large`" in help_
    assert "Two run only by name: `peers`" in help_


def test_options_for_a_benchmark_need_one_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        benchmarks.main(["--", "--rounds", "3"])
    assert exit_.value.code == 2
    assert "the options after -- (--rounds 3) need exactly one NAME" in capsys.readouterr().err


def test_options_after_dashes_reach_the_benchmark(capfd: pytest.CaptureFixture[str]) -> None:
    """The benchmark refuses the option, so nothing is written, and its message is on standard error."""
    assert benchmarks.main(["peers", "--", "--only", "flask"]) == 1
    assert "invalid choice: 'flask'" in capfd.readouterr().err


def test_first_paragraph_is_the_sentence_of_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "README.md"
    page.write_text("<!-- peers-sentence -->\nold\n<!-- /peers-sentence -->\n<!-- x -->\nkept\n<!-- /x -->\n", "utf-8")
    monkeypatch.setattr(benchmarks, "ROOT", tmp_path)
    monkeypatch.setattr(benchmarks, "PAGES", ("README.md",))
    benchmarks._write({"peers": "2.0–3.1 × FastAPI.\n\n| table |"})
    expected = "<!-- peers-sentence -->\n2.0–3.1 × FastAPI.\n<!-- /peers-sentence -->\n<!-- x -->\nkept\n<!-- /x -->\n"
    assert page.read_text("utf-8") == expected


def test_docs_have_the_markers_of_peers() -> None:
    assert "<!-- peers -->" in (ROOT / "docs" / "benchmarks-api.md").read_text("utf-8")
    assert "<!-- peers-sentence -->" in (ROOT / "README.md").read_text("utf-8")


@pytest.mark.parametrize("package", PACKAGES)
def test_peer_lock_pins_all_with_hashes_and_no_index(package: str) -> None:
    text = (LOCKS / f"{package}.lock").read_text("utf-8")
    assert not re.search(r"://|--(extra-)?index|--find-links|--trusted-host| @ ", text)
    versions: dict[str, set[str]] = {}
    for entry in re.split(r"\n(?=[a-z0-9])", text):
        requirement = Requirement(entry.split("\\")[0].split("\n")[0].strip())
        assert re.fullmatch(r"==[^*,]+", str(requirement.specifier)), requirement
        assert "--hash=sha256:" in entry, requirement
        versions.setdefault(requirement.name, set()).add(str(requirement.specifier))
    run_lock = (ROOT / "locks" / "run.lock").read_text("utf-8")
    for name in ("onnxruntime", "numpy"):  # the same work needs the same versions
        assert versions[name] == {
            f"=={found}" for found in re.findall(rf"^{name}==(\S+)", run_lock, flags=re.MULTILINE)
        }
    assert package in versions


def test_lock_task_resolves_every_peer() -> None:
    assert set(make_locks.PEERS) == set(PACKAGES)
    assert {(ROOT / "locks" / f"{name}.lock").resolve() for name in make_locks.lock_requests()} >= {
        LOCKS / f"{package}.lock" for package in PACKAGES
    }


def test_install_commands_check_hashes(tmp_path: Path) -> None:
    create, pip = install_commands("mlflow", tmp_path / "mlflow")
    assert create == [sys.executable, "-m", "venv", "--clear", str(tmp_path / "mlflow")]
    assert pip[:3] == [str(tmp_path / "mlflow" / "bin" / "python"), "-m", "pip"]
    assert pip[-4:] == ["--only-binary", ":all:", "--requirement", str(LOCKS / "mlflow.lock")]
    assert {"--no-deps", "--require-hashes"} <= set(pip)
    assert not environments.default_folder().is_relative_to(ROOT)


def test_failed_installation_names_command_and_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def commands(program: str) -> None:
        (tmp_path / "bentoml").mkdir(exist_ok=True)
        monkeypatch.setattr(environments, "install_commands", lambda *_: [[sys.executable, "-c", program]])

    error = "import sys; sys.exit('WARNING: slow\\nERROR: No matching distribution found for bentoml')"
    commands(error)
    with pytest.raises(PeerError, match=r"(?s)sys\.exit.*\nERROR: No matching distribution found for bentoml"):
        install("bentoml", tmp_path)
    commands("")
    assert install("bentoml", tmp_path) == tmp_path / "bentoml"
    commands(error)  # not run again: the environment has the same lock and Python
    assert install("bentoml", tmp_path) == tmp_path / "bentoml"


def test_failed_installation_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = {"mlflow": [[str(tmp_path / "missing-python")]], "bentoml": [[sys.executable, "-c", ""]]}
    monkeypatch.setattr(environments, "install_commands", lambda package, _: commands[package])
    (tmp_path / "bentoml").mkdir()
    missing: dict[str, str] = {}
    assert peers._install(("mlflow", "bentoml"), tmp_path, missing) == {"bentoml": tmp_path / "bentoml"}
    assert missing.keys() == {"mlflow"}
    assert "missing-python" in missing["mlflow"]


def test_missing_wrk_names_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match=r"`wrk` isn't installed.*apt-get install wrk"):
        peers.main([])


@pytest.mark.parametrize("server", SERVERS, ids=lambda server: f"{server.package}, {server.name}")
def test_response_of_each_server_is_compared(server: PeerServer) -> None:
    response = json.dumps(RESPONSES[server.path])
    assert first_difference(server, response.encode(), EXPECTED) is None
    wrong = response.replace("900.0", "900.02").encode()
    assert first_difference(server, wrong, EXPECTED) == "p80 is 900.02, expected 900.0000 within 0.01 s."
    assert "can't be read" in str(first_difference(server, b"{}", EXPECTED))


def test_request_bodies_have_the_whole_order() -> None:
    for server in SERVERS:
        body = json.dumps(server.body(ORDER))
        assert all(str(ORDER[name]) in body for name in ORDER if name != "order_id"), server.title
    tensors = next(server.body(ORDER) for server in SERVERS if server.package == MLSERVER)
    assert json.loads(json.dumps(tensors))["inputs"][1] == {
        "name": "order_value_gbp",
        "shape": [1, 1],
        "datatype": "FP64",
        "data": [20.5],
    }


def test_table_has_ranges_over_all_rounds() -> None:
    results = {server.title: rounds_of((1_000, 2_000)) for server in SERVERS}
    results[SERVERS[0].title] = rounds_of((5_000, 4_000))
    text = markdown(SERVERS, results, "The conditions.")
    assert text.startswith(
        "Requests per second of preptime compared with other servers, with the same bundle, six models, and "
        "16 connections: 2.0–5.0 × FastAPI, 2.0–5.0 × MLServer, 2.0–5.0 × MLflow, and 2.0–5.0 × BentoML.\n\n"
    )
    assert "| **preptime, six models** | 4,000–5,000 | 3.2–4 | 10–12 | 200 |  |" in text
    fastapi = next(server.title for server in SERVERS if server.package == "fastapi")
    assert f"| {fastapi} | 1,000–2,000 | 8–16 | 25–50 | 200 | 2.0–5.0 × |" in text
    assert f"| {fastapi} | 100–200 | 0.5 | 1.2 | 400 | 2.0–5.0 × |" in text
    assert f"| {fastapi} | 150 | 191 | 0.9 |" in text
    assert text.endswith("\n\nThe conditions.")


def test_table_without_a_peer_has_no_summary() -> None:
    results = {server.title: rounds_of((1_000, 2_000)) for server in SERVERS if server.package != "bentoml"}
    text = markdown(SERVERS, results, "")
    assert text.startswith("| 16 connections |")
    assert "MLflow" in text
    assert "BentoML" not in text


WRONG_SERVER = """
import http.server, json, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = json.dumps({"predictions": [{"p10": 1.0, "p50": 2.0, "p80": 3.0, "p90": 4.0}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_POST = do_GET
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def test_failed_servers_are_reported_and_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One server ends, and another one predicts other values and leaves a process behind."""
    requires(shutil.which("taskset") is not None, "taskset isn't installed (Debian: apt-get install util-linux)")

    def server(name: str, *arguments: str) -> PeerServer:
        def command(start: Start) -> list[str]:
            return [sys.executable, "-c", *arguments, str(start.port)]

        return PeerServer(PREPTIME, name, command, "/p", "/", dict, lambda response: response["predictions"][0])

    mark = "0123456789abcdef"
    monkeypatch.setattr("benchmarks.peers.measure.new_mark", lambda: mark)
    run = Run(tmp_path, tmp_path, [ORDER], [EXPECTED], (0, 0), 1)
    missing: dict[str, str] = {}
    servers = [server("ends", "import sys; sys.exit('The port is in use.')"), server("wrong", WRONG_SERVER)]
    assert peers._rounds(run, servers, {}, 2, missing) == {}
    assert missing.keys() == {"**ends**", "**wrong**"}
    assert "The port is in use." in missing["**ends**"]
    assert missing["**wrong**"] == "Order 1: p10 is 1.0, expected 300.0000 within 0.01 s."
    assert marked_processes(mark) == []


def test_sampling_columns_belong_to_the_same_orders(tmp_path: Path) -> None:
    """The truth, labels, and days that the benchmark sorts by time are those of each order's ID."""
    made = spark_sampling.write_inputs(tmp_path, 2_000)
    orders = spark_sampling.Orders.load(tmp_path / "orders.npz")
    table, restaurants, truth = synthesize_frames(SynthesisPlan(orders=2_000, days=spark_sampling.DAYS))
    places = orders.order_id - 1
    assert made == {"orders": 2_000, "restaurants": len(restaurants)}
    assert len(set(places.tolist())) == len(orders.label) == len(np.load(tmp_path / "X.npy"))
    assert orders.label.tolist() == table["prep_time_seconds"].to_numpy()[places].tolist()
    assert orders.true_median.tolist() == truth["p50_without_load"].to_numpy()[places].tolist()
    last_week = day_number(dt.date(2015, 7, 27))
    assert (orders.day[orders.is_tested].min(), orders.day[orders.is_fitted].max()) == (last_week, last_week - 1)
    # Orders of the last day that became ready in the last week aren't known yet.
    assert 0.95 < orders.is_fitted.mean() + orders.is_tested.mean() < 1


def test_sampled_fit_has_the_window_and_sample() -> None:
    orders = sampling_orders()
    assert spark_sampling.selected_rows(orders, None, 0).tolist() == [True, True, True, False, False, False, False]
    assert spark_sampling.selected_rows(orders, None, 11).tolist() == [False, True, True, False, False, False, False]
    sample = np.array([7, 5, 3])  # the sample also has an order before the window, and one that isn't fitted on
    assert spark_sampling.selected_rows(orders, sample, 11).tolist() == [False, True, *[False] * 5]


def test_sampling_errors_are_paired_by_day() -> None:
    """Worked by hand: on day 20, the errors are larger by 2 and 4 s, and on day 21, by 0 s twice."""
    quantiles = {
        "all-days": [[90, 110, 120, 130], [90, 110, 120, 130], [50, 100, 120, 210], [0, 150, 160, 170]],
        "5000-seed-13": [[90, 112, 120, 130], [90, 114, 120, 130], [50, 100, 120, 210], [0, 250, 260, 270]],
    }
    predicted = {name: np.array(rows, np.float32) for name, rows in quantiles.items()}
    measured = {name: {"orders": 3, "cpu_seconds": 1_234.0, "peak_mb": 1_500} for name in quantiles}
    found = spark_sampling.summarize(sampling_orders(), measured, predicted)
    reference, sampled = found["fits"]
    assert (reference.mae, reference.difference, reference.standard_error) == (42.5, 0, 0)
    assert (sampled.mae, sampled.difference, sampled.standard_error) == (44.0, 1.5, 1.5)
    assert (reference.from_true_median, sampled.from_true_median) == (7.5, 24.0)
    assert (reference.coverage, sampled.coverage) == (0.75, 1.0)
    assert [(baseline.mae, baseline.from_true_median) for baseline in found["baselines"]] == [(50.0, 25.0), (35.0, 0)]
    result = spark_sampling.Sampling(
        **found, orders=9_000, restaurants=60, days=63, window_days=35, as_of=dt.date(2015, 7, 27)
    )
    lines = spark_sampling.sampling_table(result).splitlines()
    assert lines[0].startswith("9,000 synthetic orders of 60 restaurants in 63 days.")
    assert lines[4:] == [
        "| all 56 days | 3 | 1,234 s | 1,500 MB | 42.5 s |  | 7.5 s | 75.0% |",
        "| `--rows 5000`, seed 13 | 3 | 1,234 s | 1,500 MB | 44.0 s | +1.5 ± 1.5 s | 24.0 s | 100.0% |",
        "| restaurant lookup, not fitted | | | | 50.0 s | | 25.0 s | |",
        "| true median, not fitted | | | | 35.0 s | | 0.0 s | |",
    ]


def sampling_orders() -> spark_sampling.Orders:
    """Return three orders to fit on, and two on each of two days to predict."""
    return spark_sampling.Orders(
        order_id=np.array([7, 5, 1, 3, 4, 9, 2]),
        day=np.array([10, 11, 12, 20, 20, 21, 21]),
        label=np.array([0.0, 0, 0, 100, 100, 200, 200]),
        is_fitted=np.array([True] * 3 + [False] * 4),
        is_tested=np.array([False] * 3 + [True] * 4),
        lookup=np.array([0.0, 0, 0, 100, 100, 100, 100]),
        true_median=np.array([0.0, 0, 0, 110, 110, 110, 170]),
    )
