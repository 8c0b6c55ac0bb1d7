"""Checks of the build that need no engine: digests, locks, secrets, and the Dockerfile."""

from __future__ import annotations

import configparser
import re
import subprocess
from pathlib import Path, PureWindowsPath

import pytest

from preptime.errors import UsageError
from scripts import image_digests, images
from tests.deploy.manifests import tool
from tests.requirements import ROOT

DIGEST = "sha256:" + "0" * 64


def test_build_without_digests_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every published image needs a digest. The message says how to get one."""
    monkeypatch.setattr(image_digests, "DIGESTS_FILE", ROOT / "deploy" / "docker" / "none.env")
    monkeypatch.setattr(images, "find_docker", lambda: "docker")
    assert images.main([]) == 2
    assert "images --pin" in capsys.readouterr().err
    digests_file = tmp_path / "pins.env"
    monkeypatch.setattr(image_digests, "DIGESTS_FILE", digests_file)
    monkeypatch.setattr(image_digests, "ROOT", tmp_path)
    digests_file.write_text(f"BASE=python:3.11@{DIGEST}\nPOSTGRES_IMAGE=postgres:17\n", encoding="utf-8")
    with pytest.raises(UsageError, match="POSTGRES_IMAGE"):
        image_digests.read_digest("POSTGRES_IMAGE")
    digests_file.write_text(
        f"# by --pin\nBASE=python:3.11@{DIGEST}\nPOSTGRES_IMAGE=postgres:17@{DIGEST}\n", encoding="utf-8"
    )
    assert image_digests.read_digest("BASE") == f"python:3.11@{DIGEST}"
    assert image_digests.read_digest("POSTGRES_IMAGE") == f"postgres:17@{DIGEST}"


def test_build_on_windows_gets_a_path_with_slashes(monkeypatch: pytest.MonkeyPatch) -> None:
    builds: list[list[str]] = []
    monkeypatch.setattr(images, "ROOT", PureWindowsPath("C:/preptime"))
    monkeypatch.setattr(images, "BAKED_STORE", PureWindowsPath("C:/preptime/build/baked"))
    monkeypatch.setattr(images, "find_docker", lambda: "docker")
    monkeypatch.setattr(images, "git_revision", lambda: "abc")
    monkeypatch.setattr(images, "bake_champion", lambda _: None)
    monkeypatch.setattr(images, "image_size_mb", lambda *_: 1.0)
    monkeypatch.setattr(images, "build_image", lambda *arguments: builds.append(arguments[-1]))
    assert images.main(["serve", "--base", "b", "--bake", "models", "--no-sbom"]) == 0
    assert "--build-arg=BAKED_STORE=build/baked" in builds[0]


def test_dockerfile_uses_only_the_base_image() -> None:
    """No FROM or COPY uses another image, and the base image has no default tag."""
    text = images.DOCKERFILE.read_text(encoding="utf-8")
    stages = {name for _, name in re.findall(r"^FROM (\S+) AS (\S+)$", text, flags=re.MULTILINE)}
    assert {source for source, _ in re.findall(r"^FROM (\S+) AS (\S+)$", text, flags=re.MULTILINE)} <= {
        "${BASE}",
        *stages,
    }
    assert set(re.findall(r"--from=(\S+)", text)) <= stages
    assert re.search(r"^ARG BASE$", text, flags=re.MULTILINE)
    assert set(images.TARGETS) <= stages


def test_dockerfile_linters_find_nothing() -> None:
    """Checkov reports a base image in an argument as one without a tag. The argument always has a digest."""
    hadolint = subprocess.run([tool("hadolint"), images.DOCKERFILE], capture_output=True, text=True, check=False)
    assert (hadolint.returncode, hadolint.stdout) == (0, "")
    options = ("--framework", "dockerfile", "--skip-download", "--compact", "--quiet", "--skip-check", "CKV_DOCKER_7")
    completed = subprocess.run(
        [tool("checkov"), *options, "--file", images.DOCKERFILE], capture_output=True, text=True, check=False
    )
    assert completed.returncode == 0, completed.stdout


def test_compose_file_matches_schema() -> None:
    command = [tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(ROOT / "compose.yaml")]
    completed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stdout


def test_build_secrets_have_index_settings_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A build doesn't have the folders of this machine, and its constraints don't apply."""
    certificates = tmp_path / "certificates.pem"
    certificates.touch()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    first, second = "https://first.invalid", "https://second.invalid"
    for name, value in {
        "PIP_INDEX_URL": first,
        "PIP_EXTRA_INDEX_URL": f"file:///srv/packages {second}",
        "PIP_FIND_LINKS": "/srv/wheels",
        "PIP_CERT": str(certificates),
    }.items():
        monkeypatch.setenv(name, value)
    with images.build_secrets() as options:
        secrets = dict(re.findall(r"id=(\w+),src=(\S+)", " ".join(options)))
        text = Path(secrets["pip"]).read_text(encoding="utf-8")
    assert secrets["certificates"] == str(certificates)
    parser = configparser.ConfigParser()
    parser.read_string(text)
    configuration = parser["global"]
    assert (configuration["index-url"], configuration["extra-index-url"]) == (first, second)
    assert configuration["cert"] == images.CERTIFICATES_PATH
    assert "/srv" not in text
    assert not Path(secrets["pip"]).exists()


def test_build_context_is_an_allowlist() -> None:
    """.dockerignore excludes everything except the listed paths: no data, secrets, or environments."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    allowed = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = set(
        re.findall(r"^COPY (?!--from)(.+) \S+$", images.DOCKERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    )
    for source in (word for line in copied for word in line.split() if not word.startswith(("--", "$"))):
        assert any(source == name or source.startswith(f"{name}/") for name in allowed), source
        assert (ROOT / source).exists(), source


def test_published_images_are_of_debian_13() -> None:
    """Debian 12 gets only long-term support since summer 2026. The Python is the one that the tests have."""
    published = image_digests.PUBLISHED_IMAGES
    assert published["BASE"] == "python:3.11-slim-trixie"
    assert published["POSTGRES_IMAGE"].endswith("-trixie")
    assert f"`{published['BASE']}` (Debian 13)" in (ROOT / "docs" / "deploy-docker.md").read_text(encoding="utf-8")
