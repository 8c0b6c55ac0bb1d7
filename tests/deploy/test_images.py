"""The images: small, locked down, and doing what they are for. Built by a real engine, run as they ship."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts import images
from tests.api.processes import free_port
from tests.deploy.conftest import shared
from tests.deploy.engine import USER, Engine, ask
from tests.deploy.http_requests import HEADERS, KEYS, ORDER, Load
from tests.deploy.serving import INSIDE, PUBLISHED, serving, serving_here

Build = Callable[[str], str]


@pytest.mark.parametrize("target", ["serve", "jobs", "ui", "airflow"])
def test_an_image_runs_as_nobody_and_has_neither_pip_nor_compiler(engine: Engine, image: Build, target: str) -> None:
    inspected = json.loads(engine.run("image", "inspect", image(target)).stdout)[0]["Config"]
    assert inspected["User"] == f"{USER}:{USER}"
    assert inspected["StopSignal"] == "SIGTERM"
    assert inspected["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert inspected["Labels"]["org.opencontainers.image.title"] == f"preptime {target}"
    assert not any("index" in line.lower() or "://" in line for line in inspected["Env"])
    looking = (
        "for name in pip pip3 gcc cc g++ make; do command -v $name; done; "
        "find / -xdev -name pip -o -xdev -name 'pip-*' -o -xdev -name ensurepip 2>/dev/null; "
        "find /opt -writable -not -type l -not -path '/opt/airflow-home*'; true"
    )
    found = engine.run("run", "--rm", "--entrypoint=sh", image(target), "-c", looking, check=False)
    assert (found.returncode, found.stdout) == (0, "")


def test_serve_is_small(engine: Engine, image: Build) -> None:
    assert images.image_size_mb(engine.client, image("serve")) < 350


def test_a_bill_says_what_an_image_holds(image: Build) -> None:
    image("serve")
    bill = json.loads((images.SBOM_DIR / "serve.cdx.json").read_text(encoding="utf-8"))
    assert bill["bomFormat"] == "CycloneDX"
    held = {component["purl"].partition("@")[0] for component in bill["components"]}
    assert {"pkg:pypi/preptime", "pkg:pypi/onnxruntime", "pkg:deb/debian/libc6"} <= held
    assert not any(name.startswith(("pkg:pypi/pip", "pkg:pypi/polars", "pkg:pypi/scikit-learn")) for name in held)


def test_serve_answers_locked_down_and_within_two_seconds(engine: Engine, image: Build, store: Path) -> None:
    """Ready within two seconds of `docker run`, the best of three: the others were disturbed."""
    took = []
    for _ in range(3):
        began = time.monotonic()
        with engine.started(image("serve"), options=serving(store)) as container:
            port = container.port(INSIDE)
            container.wait_until("/readyz", port=port)
            took.append(time.monotonic() - began)
            status, answer = ask(port, "/v1/predictions", ORDER, HEADERS)
            assert status == 200
            assert json.loads(answer)["predictions"][0]["prep_time_seconds"] > 0
    assert min(took) < 2.0


def test_serve_says_that_it_is_healthy_before_it_has_a_champion(engine: Engine, image: Build, tmp_path: Path) -> None:
    """Nobody should end a server because nothing has been trained yet."""
    empty = shared(tmp_path)
    with engine.started(image("serve"), options=serving(empty)) as container:
        container.wait_healthy()
        assert ask(container.port(INSIDE), "/readyz")[0] == 503


def test_what_is_baked_in_needs_no_store(
    engine: Engine, base: str, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if engine.host:
        monkeypatch.setenv("DOCKER_HOST", engine.host)
    assert images.main(["serve", "--base", base, "--tag", "test-baked", "--bake", str(store), "--no-sbom"]) == 0
    options = (*PUBLISHED, f"--env=PREPTIME_API_KEYS={KEYS}")
    with engine.started("preptime-serve:test-baked", options=options) as container:
        port = container.port(INSIDE)
        container.wait_until("/readyz", '"ready":true', port=port)
        assert ask(port, "/v1/predictions", ORDER, HEADERS)[0] == 200


def test_sigterm_under_load_answers_all_that_was_asked_before(engine: Engine, image: Build, store: Path) -> None:
    """It ends with 0, well before the platform loses patience."""
    port = free_port()
    with engine.started(image("serve"), options=serving_here(store, port)) as container:
        container.wait_until("/readyz", port=port)
        load = Load(port, clients=6)
        load.start()
        time.sleep(1.5)
        load.stop_at_refusal()
        told = time.monotonic()
        status, took = container.stop()
        load.join()
    assert status == 0
    assert took < 10
    assert len(load.answered) > 100
    assert set(load.answered) == {200}
    assert [why for began, why in load.broken if began < told] == []


def test_jobs_train_and_score_locked_down(engine: Engine, image: Build, tmp_path: Path) -> None:
    """From nothing to predictions, each verb a container of its own that shares a volume with the others."""
    data = shared(tmp_path)
    locked = (
        "run",
        "--rm",
        "--read-only",
        "--cap-drop=ALL",
        "--network=none",
        "--tmpfs=/tmp",
        f"--volume={data}:/data",
    )
    jobs = image("jobs")
    given = ("--orders", "orders.csv", "--restaurants", "restaurants.csv", "--date", "2015-06-11", "--json")
    engine.run(*locked, jobs, "synthesize", "--out", "/data", "--orders", "1500", "--days", "10")
    trained = json.loads(engine.run(*locked, jobs, "train", *given, "--gate", "min_days=5").stdout)
    assert trained["outcome"] == "promoted"
    engine.run(*locked, jobs, "score", "orders.csv", "--out", "results/predictions.parquet")
    assert (data / "results" / "predictions.parquet").stat().st_size > 1000
    with engine.started(image("serve"), options=serving(data / "models")) as container:
        container.wait_until("/readyz", trained["bundle"], port=container.port(INSIDE))
