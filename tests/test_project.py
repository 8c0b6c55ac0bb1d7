"""What the repository promises about itself: its locks, its rules on vendors, its docs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from benchmarks import __main__ as benchmarks
from tests.requirements import ROOT, requires

IMAGE_LOCKS = ("images/serve", "images/jobs", "images/ui")
LOCKS = ("run", "dev", "airflow", "dvc", "deploy", "images/build", *IMAGE_LOCKS)

ANYWHERE_IN = {
    "catboost": ("models/catboost_models.py",),
    "xgboost": ("models/xgboost_models.py",),
    "sklearn": ("models/", "training/notebook.py"),
    "skl2onnx": ("models/",),
    "onnxmltools": ("models/",),
    "onnx": ("models/",),
    "onnxruntime": ("bundle/", "models/"),
    "polars": (
        "sources/",
        "validation/",
        "synthetic/",
        "exploration.py",
        "training/",
        "scoring/",
        "monitoring/",
        "ui/",
    ),
    "flask": ("api/",),
    "flask_swagger_ui": ("api/",),
    "werkzeug": ("api/",),
    "granian": ("api/",),
    "google": ("bundle/gcs.py", "sources/bigquery/"),
    "streamlit": ("ui/",),
    "starlette": ("ui/",),
    "psycopg": ("sources/postgres/",),
    **dict.fromkeys(("pandas", "joblib", "pickle"), ()),
}
"""One vendor, one place: where under src/preptime a library may be imported; nothing for what may not be at all."""


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    requires(listed.returncode == 0, "this is not a git checkout, so nothing says which files are the project's")
    return [path for name in listed.stdout.decode().split("\0") if name and (path := ROOT / name).is_file()]


def pages() -> list[Path]:
    return [path for path in tracked_files() if path.suffix == ".md"]


def locked(name: str) -> dict[str, list[tuple[Requirement, int]]]:
    """By package: each requirement of a lock (one per marker), and how many hashes vouch for it."""
    text = (ROOT / "locks" / f"{name}.lock").read_text(encoding="utf-8")
    found: dict[str, list[tuple[Requirement, int]]] = {}
    for entry in re.split(r"\n(?=[a-z0-9])", text):
        requirement = Requirement(entry.split("\\")[0].split("\n")[0].strip())
        found.setdefault(requirement.name, []).append((requirement, entry.count("--hash=sha256:")))
    return found


def declared() -> Iterator[tuple[str, Requirement]]:
    """Every requirement of pyproject.toml with the lock that must hold it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = [one for extra in project["project"]["optional-dependencies"].values() for one in extra]
    for text in (*project["project"]["dependencies"], *extras, *project["build-system"]["requires"]):
        if not text.startswith("preptime["):
            yield "run", Requirement(text)
    for name, group in project["dependency-groups"].items():
        lock = name if name in LOCKS else "dev"
        yield from ((lock, Requirement(text)) for text in group if isinstance(text, str))


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Top-level packages that a file imports, anywhere in it, with the line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name.split(".")[0], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0], node.lineno


def test_no_tracked_file_is_over_a_megabyte() -> None:
    assert [str(path) for path in tracked_files() if path.stat().st_size > 1_000_000] == []


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_pins_everything_with_hashes_and_names_no_index(name: str) -> None:
    text = (ROOT / "locks" / f"{name}.lock").read_text(encoding="utf-8")
    assert not re.search(r"://|--(extra-)?index|--find-links|--trusted-host| @ ", text)
    for requirement, hashes in (entry for entries in locked(name).values() for entry in entries):
        assert re.fullmatch(r"==[^*,]+", str(requirement.specifier)), requirement
        assert hashes > 0, requirement


def test_the_locks_answer_to_what_the_project_declares() -> None:
    """When this fails: `make lock`."""
    for name, requirement in declared():
        pins = locked(name).get(requirement.name)
        assert pins, f"{requirement} is not in locks/{name}.lock"
        for pin, _ in pins:
            version = str(pin.specifier).removeprefix("==")
            assert requirement.specifier.contains(version, prereleases=True), f"{requirement}, locked {version}"


def test_developers_run_what_users_run() -> None:
    """The same versions of everything; a tool may want on every platform what users need on one."""
    dev = locked("dev")
    versions = {name: {str(pin.specifier) for pin, _ in pins} for name, pins in locked("run").items()}
    assert {name: {str(pin.specifier) for pin, _ in dev.get(name, [])} for name in versions} == versions


@pytest.mark.parametrize("image", IMAGE_LOCKS)
def test_an_image_runs_what_users_run(image: str) -> None:
    """No package of another version than in locks/run.lock, and none that is not there."""
    run = {name: {str(pin.specifier) for pin, _ in pins} for name, pins in locked("run").items()}
    for name, pins in locked(image).items():
        assert {str(pin.specifier) for pin, _ in pins} <= run[name]


@pytest.mark.parametrize("vendor", ANYWHERE_IN)
def test_a_vendor_is_imported_in_its_own_place_only(vendor: str) -> None:
    package = ROOT / "src" / "preptime"
    found = [
        f"{path.relative_to(package).as_posix()}:{line}"
        for path in sorted(package.rglob("*.py"))
        for name, line in imports(path)
        if name == vendor
    ]
    allowed = ANYWHERE_IN[vendor]
    assert [place for place in found if not allowed or not place.startswith(allowed)] == []


def test_links_between_pages_lead_somewhere() -> None:
    broken = []
    for page in pages():
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            path, _, anchor = target.partition("#")
            if "://" in path or path.startswith("mailto:"):
                continue
            there = (page.parent / path).resolve() if path else page
            if not there.exists() or (anchor and anchor not in anchors(there)):
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert broken == []


def test_every_picture_of_the_docs_is_shown_by_a_page() -> None:
    shown = {
        (page.parent / target).resolve()
        for page in pages()
        for target in re.findall(r"!\[[^\]]+\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    }
    pictures = [path for path in tracked_files() if path.parent == ROOT / "docs" / "images"]
    assert pictures
    assert [path.name for path in pictures if path not in shown] == []


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as the places that show Markdown make them."""
    headings = re.findall(r"^#+ +(.+?) *$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def generated(page: Path) -> list[tuple[str, str]]:
    """What stands between the markers of a page that something writes: its name, its content."""
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"^<!-- ([\w-]+) -->\n(.*?)^<!-- /\1 -->", text, flags=re.DOTALL | re.MULTILINE)
    return [(str(name), str(content)) for name, content in found]


def test_nothing_that_a_page_promises_to_be_generated_is_empty() -> None:
    blocks = [(page.name, name, content) for page in pages() for name, content in generated(page)]
    assert blocks
    assert [(page, name) for page, name, content in blocks if not content.strip()] == []


def test_every_benchmark_has_a_table_in_a_page_that_it_writes() -> None:
    tables = {name for page in benchmarks.PAGES for name, _ in generated(ROOT / page)}
    assert set(benchmarks.NAMES) <= tables


def test_python_examples_in_the_docs_run(tmp_path: Path) -> None:
    """Each page is one program: its blocks run in order, in a folder of its own."""
    for page in pages():
        blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
        if blocks:
            folder = tmp_path / page.relative_to(ROOT).with_suffix("")
            folder.mkdir(parents=True)
            program = [sys.executable, "-W", "error", "-c", "\n".join(blocks)]
            ended = subprocess.run(program, cwd=folder, capture_output=True, text=True, check=False)
            assert ended.returncode == 0, f"{page.relative_to(ROOT)}\n{ended.stderr}"


def test_the_changelog_begins_with_what_is_not_yet_released() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert headings[0] == "Unreleased"
