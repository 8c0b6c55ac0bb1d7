"""Every code block of the README runs as printed, from top to bottom, in one shell."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.requirements import ROOT, requires

INSTALLING = {
    "make demo": ".venv/bin/preptime demo",
    "make test": ":",
}
"""Two commands install an environment first. The test already runs in it, so it runs what they call after that.

`make test` is this test run. `tests/test_dev.py` checks that `make demo` calls `preptime demo` after the setup.
"""
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
SKIPPED_LANGUAGES = {"mermaid", "text"}
"""A diagram, and the two commands for a company's own files, which `tests/cli/test_exports.py` runs on many exports."""
PORTS = (8000, 8501)


def blocks() -> list[tuple[str, str]]:
    """The language and content of each code block."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return [(language, code) for language, code in BLOCK.findall(text) if language not in SKIPPED_LANGUAGES]


def script(folder: Path) -> str:
    """All blocks as one shell script. A JSON block isn't run: it shows the output of the block before it."""
    parts = ["set -euo pipefail", "set -m"]
    for number, (language, code) in enumerate(blocks()):
        if language == "python":
            (folder / f"block-{number}.py").write_text(code, encoding="utf-8")
            parts.append(f"python -W error block-{number}.py > output-{number}.txt")
        elif language == "sh":
            shows_output = number + 1 < len(blocks()) and blocks()[number + 1][0] == "json"
            commands = _without_installation(code)
            parts.append(f"{{\n{commands}}} > output-{number}.txt" if shows_output else commands)
        else:
            assert language == "json", language
        if "preptime ui &" in code:
            parts.append("curl --fail --silent --retry 60 --retry-connrefused --retry-delay 1 http://127.0.0.1:8501/")
    return "\n".join(parts)


def _without_installation(code: str) -> str:
    for command, replacement in INSTALLING.items():
        code = re.sub(rf"^{command}\b", replacement, code, flags=re.MULTILINE)
    return code


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder with this run's environment, as after the installation."""
    requires(os.name == "posix", "the README's blocks are for a POSIX shell; on Windows, use python dev.py")
    requires(shutil.which("curl") and shutil.which("bash"), "curl or bash isn't installed")
    for port in PORTS:
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            requires(listener.connect_ex(("127.0.0.1", port)) != 0, f"port {port} is in use")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    return tmp_path


def test_readme_blocks_run_as_printed(folder: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PREPTIME_", "AIKEY"))}
    shell = subprocess.Popen(
        ["bash", "-c", script(folder)],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    output, _ = shell.communicate()
    try:
        assert shell.returncode == 0, output[-4000:]
    finally:
        for process_group in _process_groups(shell.pid):
            os.killpg(process_group, signal.SIGKILL)
    assert "Ready: http://127.0.0.1:8000" in output
    for number, (language, code) in enumerate(blocks()):
        if language == "json":
            printed = json.loads((folder / f"output-{number - 1}.txt").read_text(encoding="utf-8"))
            assert _shape(printed) == _shape(json.loads(code))


def test_install_commands_work_without_a_published_package() -> None:
    """Nothing is on a package index (docs/upgrade.md), so each command installs the checkout."""
    suffixes = {".md", ".py", ".ipynb"}
    folders = [ROOT / name for name in ("docs", "examples", "src", "scripts")]
    paths = [path for folder in folders for path in folder.rglob("*") if path.suffix in suffixes]
    texts = {path: path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *paths)}
    commands = {path: re.findall(r"pip install[^`\n]*preptime\[", text) for path, text in texts.items()}
    assert {str(path.relative_to(ROOT)): found for path, found in commands.items() if found} == {}
    assert "pip install '.[notebook]'" in texts[ROOT / "docs" / "python.md"]
    package = ROOT / "src" / "preptime"
    assert [path for path, text in texts.items() if package in path.parents and "pip install" in text] == [
        package / "errors.py"
    ]


def test_commands_before_the_activation_name_their_path() -> None:
    """`make demo` doesn't change the PATH. A reader can start with any section but the first."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for _, code in BLOCK.findall(text.partition(". .venv/bin/activate\n")[0]):
        assert not re.search(r"^preptime ", code, re.MULTILINE), code
    for language, code in BLOCK.findall(text):
        assert language != "text" or not re.search(r"^preptime ", code, re.MULTILINE), code


def test_gitignore_covers_what_the_readme_creates() -> None:
    created = ("demo/", "demo-own/", "predictions/", "results/", "models/", ".env", ".venv/")
    command = ["git", "check-ignore", *created]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    requires(listed.returncode in {0, 1}, "this isn't a git checkout")
    assert sorted(listed.stdout.split()) == sorted(created)


def _process_groups(session: int) -> set[int]:
    """Process groups that are left in the shell's session."""
    listed = subprocess.run(["ps", "-e", "-o", "sid=,pgid="], capture_output=True, text=True, check=True)
    pairs = (line.split() for line in listed.stdout.splitlines())
    return {int(group) for session_id, group in pairs if int(session_id) == session}


def _shape(value: object) -> object:
    """The keys of a JSON document and the types of its values."""
    if isinstance(value, dict):
        return {name: _shape(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_shape(item) for item in value]
    return float if isinstance(value, int | float) else type(value)
