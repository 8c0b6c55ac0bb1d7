"""`python -m benchmarks`, and the parts of `python -m benchmarks peers` that need no other model server."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from benchmarks import __main__ as benchmarks
from benchmarks.api.load import Load
from benchmarks.peers import __main__ as peers
from benchmarks.peers import environments
from benchmarks.peers.catalog import MLSERVER, PACKAGES, PREPTIME, PeerServer, Start, catalog
from benchmarks.peers.environments import LOCKS, PeerError, install, install_commands
from benchmarks.peers.measure import Round, Run, first_difference, marked_processes
from benchmarks.peers.table import markdown
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


def test_peers_run_only_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert "peers" not in benchmarks.NAMES
    with pytest.raises(SystemExit):
        benchmarks.main(["--help"])
    help_ = capsys.readouterr().out
    assert "run all except `peers`" in help_
    assert "`peers` runs only by name" in help_


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
