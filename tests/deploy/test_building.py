"""What is promised of a build before any engine is asked: pins, locks, secrets, the Dockerfile itself."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from preptime.errors import UsageError
from scripts import image_digests, images
from tests.deploy.manifests import tool
from tests.requirements import ROOT

DIGEST = "sha256:" + "0" * 64


def test_nothing_is_built_on_a_tag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a digest for every published image the build says how to get one, and begins nothing."""
    monkeypatch.setattr(image_digests, "DIGESTS_FILE", ROOT / "deploy" / "docker" / "none.env")
    monkeypatch.setattr(images, "find_docker", lambda: "docker")
    assert images.main([]) == 2
    assert "images --pin" in capsys.readouterr().err
    file = tmp_path / "pins.env"
    monkeypatch.setattr(image_digests, "DIGESTS_FILE", file)
    monkeypatch.setattr(image_digests, "ROOT", tmp_path)
    file.write_text(f"BASE=python:3.11@{DIGEST}\nPOSTGRES=postgres:17\n", encoding="utf-8")
    with pytest.raises(UsageError, match="POSTGRES_IMAGE"):
        image_digests.read_digests()
    file.write_text(f"# by --pin\nBASE=python:3.11@{DIGEST}\nPOSTGRES=postgres:17@{DIGEST}\n", encoding="utf-8")
    assert image_digests.read_digests() == {"BASE": f"python:3.11@{DIGEST}", "POSTGRES_IMAGE": f"postgres:17@{DIGEST}"}


def test_the_dockerfile_stands_on_the_base_alone() -> None:
    """No other image comes in, by FROM or by COPY, and the base has no default that could move."""
    text = images.DOCKERFILE.read_text(encoding="utf-8")
    stages = {name for _, name in re.findall(r"^FROM (\S+) AS (\S+)$", text, flags=re.MULTILINE)}
    assert {source for source, _ in re.findall(r"^FROM (\S+) AS (\S+)$", text, flags=re.MULTILINE)} <= {
        "${BASE}",
        *stages,
    }
    assert set(re.findall(r"--from=(\S+)", text)) <= stages
    assert re.search(r"^ARG BASE$", text, flags=re.MULTILINE)
    assert set(images.TARGETS) <= stages


def test_linters_find_nothing_but_the_explained() -> None:
    """Checkov takes a base that is an argument for one without a tag: the argument is a digest, or nothing is built."""
    hadolint = subprocess.run([tool("hadolint"), images.DOCKERFILE], capture_output=True, text=True, check=False)
    assert (hadolint.returncode, hadolint.stdout) == (0, "")
    options = ("--framework", "dockerfile", "--skip-download", "--compact", "--quiet", "--skip-check", "CKV_DOCKER_7")
    checked = subprocess.run(
        [tool("checkov"), *options, "--file", images.DOCKERFILE], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout


def test_compose_is_what_its_schema_says() -> None:
    command = [tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(ROOT / "compose.yaml")]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def test_pip_is_lent_the_way_to_an_index_and_nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Folders of this machine mean nothing in a build, and constraints are about this machine."""
    certificates = tmp_path / "certificates.pem"
    certificates.touch()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    for name, value in {
        "PIP_INDEX_URL": "https://index.invalid/simple",
        "PIP_EXTRA_INDEX_URL": "file:///srv/packages https://more.invalid/simple",
        "PIP_FIND_LINKS": "/srv/wheels",
        "PIP_CERT": str(certificates),
    }.items():
        monkeypatch.setenv(name, value)
    with images.build_secrets() as options:
        lent = dict(re.findall(r"id=(\w+),src=(\S+)", " ".join(options)))
        configuration = Path(lent["pip"]).read_text(encoding="utf-8")
    assert lent["certificates"] == str(certificates)
    assert "index-url = https://index.invalid/simple\n" in configuration
    assert "extra-index-url = https://more.invalid/simple\n" in configuration
    assert f"cert = {images.CERTIFICATES_PATH}\n" in configuration
    assert "/srv" not in configuration
    assert not Path(lent["pip"]).exists()


def test_what_a_build_may_see_is_listed() -> None:
    """Everything is left out but what .dockerignore lets in: no data, no secret, no environment."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_in = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = set(
        re.findall(r"^COPY (?!--from)(.+) \S+$", images.DOCKERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    )
    for source in (one for line in copied for one in line.split() if not one.startswith(("--", "$"))):
        assert any(source == name or source.startswith(f"{name}/") for name in let_in), source
        assert (ROOT / source).exists(), source
