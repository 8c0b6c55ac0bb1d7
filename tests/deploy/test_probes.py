"""Liveness probes of the API use the health port: slow clients can occupy all connections of the API's port."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from preptime.settings import Settings
from tests.api.processes import free_port, running_server
from tests.api.test_server import promote
from tests.deploy.manifests import K8S, iter_values
from tests.deploy.terraform import FOLDER, blocks_of_kind, text_of
from tests.requirements import ROOT

DOCKERFILE = ROOT / "deploy" / "docker" / "Dockerfile"
HEALTH_PROGRAM = ROOT / "deploy" / "docker" / "health.py"


def serve_stage() -> str:
    """Return the part of the Dockerfile for the API's image."""
    text = DOCKERFILE.read_text(encoding="utf-8")
    return text[text.index("AS serve\n") :].partition("\nFROM ")[0]


def health_arguments() -> list[str]:
    """Return the arguments of the API image's health check."""
    (arguments,) = re.findall(r"HEALTHCHECK [^[]*\[([^]]*)\]", serve_stage())
    return re.findall(r'"([^"]*)"', arguments)


@pytest.mark.parametrize("path", sorted(K8S.rglob("*.yaml")), ids=lambda path: path.relative_to(K8S).as_posix())
def test_kubernetes_liveness_probes_avoid_the_api_port(path: Path) -> None:
    for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
        for container in iter_values(document, "containers"):
            for probe in iter_values(container, "livenessProbe"):
                if "preptime-serve" in str(container):
                    assert probe["httpGet"] == {"path": "/healthz", "port": "health"}  # type: ignore[index]
                else:
                    assert "preptime-ui" in str(container)


def test_kubernetes_api_has_a_liveness_probe() -> None:
    text = (K8S / "base" / "api.yaml").read_text(encoding="utf-8")
    assert len(list(iter_values(list(yaml.safe_load_all(text)), "livenessProbe"))) == 1


def test_cloud_run_probes_avoid_the_api_port() -> None:
    service = text_of(FOLDER / "modules" / "service")
    assert re.findall(r"_probe \{.*?port = (\S+)", service, flags=re.DOTALL) == ["var.health_port"] * 2
    api = blocks_of_kind("module")["api"]
    settings = api.body["settings"]
    assert isinstance(settings, dict)
    assert str(api.body["health_port"]) == settings["PREPTIME_HEALTH_PORT"]
    assert api.text("health_port") != api.text("port")


def test_image_health_check_avoids_the_api_port() -> None:
    port_settings = health_arguments()[5:]
    assert port_settings[0] == "PREPTIME_HEALTH_PORT"
    (health_port,) = re.findall(r"PREPTIME_HEALTH_PORT=(\d+)", serve_stage())
    assert int(health_port) != Settings().port


def test_compose_doesnt_replace_the_image_health_check() -> None:
    api = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]["api"]
    assert "healthcheck" not in api
    assert api["environment"]["PREPTIME_HEALTH_PORT"] != api["environment"]["PREPTIME_PORT"]


def test_image_health_check_uses_the_health_port(tmp_path: Path) -> None:
    promote(tmp_path)
    health = str(free_port())
    with running_server(tmp_path, PREPTIME_HEALTH_PORT=health) as server:
        server.wait_until("/healthz", port=int(health))

        def run_check(**settings: str) -> int:
            command = [sys.executable, "-IS", str(HEALTH_PROGRAM), *health_arguments()[3:]]
            environment = {"PATH": os.environ["PATH"], "PREPTIME_PORT": str(free_port()), **settings}
            return subprocess.run(command, env=environment, capture_output=True, check=False).returncode

        assert run_check(PREPTIME_HEALTH_PORT=health) == 0
        assert run_check(PREPTIME_HEALTH_PORT=str(free_port())) == 1
        assert run_check(PREPTIME_HEALTH_PORT="") == 1
