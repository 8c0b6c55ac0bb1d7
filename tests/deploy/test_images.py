"""The images: small, restricted, and working. A real engine builds and runs them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts import images
from tests.api.processes import free_port
from tests.deploy.conftest import share
from tests.deploy.engine import IMAGE_USER, Engine, send_request
from tests.deploy.http_requests import HEADERS, KEYS, ORDER, Load
from tests.deploy.serving import CONTAINER_PORT, PUBLISHED, host_network_options, serve_options

Build = Callable[[str], str]
SPARK_USER = 1099
"""The user that Google's batches require."""
SPARK_IMAGE_SCRIPT = """
import importlib.util, json, os, pwd, shutil, sys
user = pwd.getpwuid(os.getuid())
modules = ("preptime.spark", "pandas", "pyarrow", "onnxruntime", "google.cloud.storage", "pyspark", "py4j", "sklearn")
print(json.dumps({
    "python": [os.environ["PYSPARK_PYTHON"], sys.executable],
    "user": [user.pw_name, user.pw_uid, user.pw_gid, user.pw_dir, os.access(user.pw_dir, os.W_OK)],
    "programs": {name: shutil.which(name) for name in ("ps", "tini", "java", "spark-submit")},
    "modules": [name for name in modules if importlib.util.find_spec(name)],
}))
"""


@pytest.mark.parametrize("target", ["serve", "jobs", "ui", "spark", "airflow"])
def test_image_is_unprivileged_without_pip_and_compiler(engine: Engine, image: Build, target: str) -> None:
    config = json.loads(engine.run("image", "inspect", image(target)).stdout)[0]["Config"]
    user = SPARK_USER if target == "spark" else IMAGE_USER
    assert config["User"] == f"{user}:{user}"
    assert config["StopSignal"] == "SIGTERM"
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert config["Labels"]["org.opencontainers.image.title"] == f"preptime {target}"
    assert not any("index" in line.lower() or "://" in line for line in config["Env"])
    script = (
        "for name in pip pip3 gcc cc g++ make; do command -v $name; done; "
        "find / -xdev -name pip -o -xdev -name 'pip-*' -o -xdev -name ensurepip 2>/dev/null; "
        "find /opt -writable -not -type l -not -path '/opt/airflow-home*'; "
        "find / -xdev -type f -perm /6000 2>/dev/null; true"
    )
    completed = engine.run("run", "--rm", "--entrypoint=sh", image(target), "-c", script, check=False)
    assert (completed.returncode, completed.stdout) == (0, "")


def test_spark_image_follows_googles_conventions(engine: Engine, image: Build) -> None:
    """Google mounts Spark and Java. Without them, the main file says which package is missing."""
    run = ("run", "--rm", "--network=none", "--cap-drop=ALL")
    python = ("--entrypoint=/opt/preptime/bin/python", image("spark"))
    found = json.loads(engine.run(*run, *python, "-c", SPARK_IMAGE_SCRIPT).stdout)
    assert found["python"] == ["/opt/preptime/bin/python"] * 2
    assert found["user"] == ["spark", SPARK_USER, SPARK_USER, "/home/spark", True]
    programs = found["programs"]
    assert (programs["ps"], programs["tini"]) == ("/usr/bin/ps", "/usr/bin/tini")
    assert (programs["java"], programs["spark-submit"]) == (None, None)
    assert found["modules"] == ["preptime.spark", "pandas", "pyarrow", "onnxruntime", "google.cloud.storage"]
    arguments = ("score", "--orders=/none", "--out=/tmp/out", "--store=/none")
    completed = engine.run(*run, *python, "/opt/spark_main.py", *arguments, check=False)
    assert completed.returncode == 1
    assert "Spark needs the package pyspark, which isn't installed." in completed.stderr


def test_serve_is_small(engine: Engine, image: Build) -> None:
    assert images.image_size_mb(engine.client, image("serve")) < 350


def test_sbom_lists_packages_of_image(image: Build) -> None:
    image("serve")
    sbom = json.loads((images.SBOM_DIR / "serve.cdx.json").read_text(encoding="utf-8"))
    assert sbom["bomFormat"] == "CycloneDX"
    packages = {component["purl"].partition("@")[0] for component in sbom["components"]}
    assert {"pkg:pypi/preptime", "pkg:pypi/onnxruntime", "pkg:deb/debian/libc6"} <= packages
    assert not any(name.startswith(("pkg:pypi/pip", "pkg:pypi/polars", "pkg:pypi/scikit-learn")) for name in packages)


def test_serve_is_ready_within_two_seconds(engine: Engine, image: Build, store: Path) -> None:
    """Two seconds from `docker run`, with all restrictions. The best of three, because other work disturbs some."""
    durations = []
    for _ in range(3):
        start = time.monotonic()
        with engine.container(image("serve"), options=serve_options(store)) as container:
            port = container.port(CONTAINER_PORT)
            container.wait_until("/readyz", port=port)
            durations.append(time.monotonic() - start)
            status, response = send_request(port, "/v1/predictions", ORDER, HEADERS)
            assert status == 200
            assert json.loads(response)["predictions"][0]["prep_time_seconds"] > 0
    assert min(durations) < 2.0


def test_serve_without_champion_is_healthy(engine: Engine, image: Build, tmp_path: Path) -> None:
    """A platform must not restart a server because nothing has been trained yet."""
    empty = share(tmp_path)
    with engine.container(image("serve"), options=serve_options(empty)) as container:
        container.wait_healthy()
        assert send_request(container.port(CONTAINER_PORT), "/readyz")[0] == 503


def test_baked_image_serves_without_store(engine: Engine, base: str, store: Path) -> None:
    assert images.main(["serve", "--base", base, "--tag", "test-baked", "--bake", str(store), "--no-sbom"]) == 0
    options = (*PUBLISHED, f"--env=PREPTIME_API_KEYS={KEYS}")
    with engine.container("preptime-serve:test-baked", options=options) as container:
        port = container.port(CONTAINER_PORT)
        container.wait_until("/readyz", '"ready":true', port=port)
        assert send_request(port, "/v1/predictions", ORDER, HEADERS)[0] == 200


def test_sigterm_under_load_answers_earlier_requests(engine: Engine, image: Build, store: Path) -> None:
    """The server exits with status 0, long before the platform kills it."""
    port = free_port()
    with engine.container(image("serve"), options=host_network_options(store, port)) as container:
        container.wait_until("/readyz", port=port)
        load = Load(port, clients=6)
        load.start()
        time.sleep(1.5)
        load.stop_at_refusal()
        stopped_at = time.monotonic()
        status, duration = container.stop()
        load.join()
    assert status == 0
    assert duration < 10
    assert len(load.statuses) > 100
    assert set(load.statuses) == {200}
    assert load.failures_before(stopped_at) == []


def test_jobs_train_and_score_with_restrictions(engine: Engine, image: Build, tmp_path: Path) -> None:
    """From no data to predictions: each command runs in its own container and shares a volume with the others."""
    data = share(tmp_path)
    run = (
        "run",
        "--rm",
        "--read-only",
        "--cap-drop=ALL",
        "--network=none",
        "--tmpfs=/tmp",
        f"--volume={data}:/data",
    )
    jobs = image("jobs")
    inputs = ("--orders", "orders.csv", "--restaurants", "restaurants.csv", "--date", "2015-06-11", "--json")
    engine.run(*run, jobs, "synthesize", "--out", "/data", "--orders", "1500", "--days", "10")
    training = json.loads(engine.run(*run, jobs, "train", *inputs, "--gate", "min_days=5").stdout)
    assert training["outcome"] == "promoted"
    engine.run(*run, jobs, "score", "orders.csv", "--out", "results/predictions.parquet")
    assert (data / "results" / "predictions.parquet").stat().st_size > 1000
    with engine.container(image("serve"), options=serve_options(data / "models")) as container:
        container.wait_until("/readyz", training["bundle"], port=container.port(CONTAINER_PORT))
