"""dvc.yaml with the real DVC, in a separate repository with a few days of orders and small models."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from preptime.bundle.bundle import fetch_verified
from preptime.bundle.manifest import Manifest
from preptime.bundle.store import Store
from preptime.sources.data_versions import DIRTY_SUFFIX, find_revisions
from preptime.synthetic import SynthesisPlan, synthesize
from tests.requirements import ROOT, requires

DVC = ROOT / ".venv-dvc" / ("Scripts/dvc.exe" if os.name == "nt" else "bin/dvc")
COPIED = ("dvc.yaml", "params.yaml", ".dvc/config", ".dvc/.gitignore", ".dvcignore", "locks/run.lock")
PROGRAM = """\
import sys
sys.path.insert(0, {root!r})
from preptime.cli import main
if sys.argv[1] != "snapshot":  # `snapshot` fits nothing and doesn't need the training libraries.
    from preptime.training.fitting import FitPlan
    from tests.training.factories import quick_plan
    FitPlan.default = lambda threads: quick_plan(threads=threads)
sys.exit(main())
"""


@dataclass(frozen=True)
class Repository:
    """A Git repository with the project's pipeline and DVC."""

    root: Path
    home: Path

    def run(self, *command: str | Path) -> str:
        """Run a command that must succeed, and return its output."""
        variables = {"HOME": str(self.home), "DVC_SITE_CACHE_DIR": str(self.home), "PYTHONDONTWRITEBYTECODE": "1"}
        completed = subprocess.run(
            [str(argument) for argument in command],
            cwd=self.root,
            env=os.environ | variables,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        assert completed.returncode == 0, completed.stdout + completed.stderr
        return completed.stdout + completed.stderr

    def dvc(self, *arguments: str) -> str:
        """Run DVC."""
        return self.run(DVC, *arguments)

    def commit(self, message: str) -> str:
        """Commit everything, and return the revision."""
        self.run("git", "add", "--all")
        self.run("git", "-c", "user.name=test", "-c", "user.email=test@example", "commit", "--quiet", "-m", message)
        return self.run("git", "rev-parse", "HEAD").strip()

    def set_parameter(self, name: str, value: str) -> None:
        """Change a parameter."""
        path = self.root / "params.yaml"
        text, count = re.subn(rf"(?m)^(\s*{name}:) [^#\n]*", rf"\1 {value} ", path.read_text(encoding="utf-8"))
        assert count == 1
        path.write_text(text, encoding="utf-8")

    def bundles(self) -> list[Manifest]:
        """Return the manifests of all bundles in the store."""
        store = Store.open(str(self.root / "models"))
        return [fetch_verified(store, bundle_id).manifest for bundle_id in store.bundle_ids()]


def stages_run(output: str) -> list[str]:
    """Return the stages that `dvc repro` ran."""
    return re.findall(r"Running stage '(\w+)'", output)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A committed repository with data in DVC. No stage has run yet."""
    requires(DVC.is_file(), "DVC is not installed; run: python dev.py setup dvc")
    requires(shutil.which("git"), "git is not installed")
    root = tmp_path_factory.mktemp("dvc") / "project"
    for name in COPIED:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    shutil.copytree(ROOT / "src" / "preptime", root / "src" / "preptime", ignore=shutil.ignore_patterns("__pycache__"))
    synthesize(SynthesisPlan(orders=2_500, restaurants=30, days=14), root / "data", "csv", lambda *_: None)
    program = root.parent / "fast_preptime.py"
    program.write_text(PROGRAM.format(root=str(ROOT)), encoding="utf-8")
    repository = Repository(root, root.parent)
    for name, value in {
        "preptime": f'"{sys.executable} {program}"',
        "date": '"2015-06-11"',
        "retrain_every": "3",
    }.items():
        repository.set_parameter(name, value)
    text = (root / "params.yaml").read_text(encoding="utf-8")
    text = text.replace('to: "2015-06-28"', 'to: "2015-06-13"').replace('from: "2015-06-22"', 'from: "2015-06-11"')
    (root / "params.yaml").write_text(text, encoding="utf-8")
    (root / ".gitignore").write_text("/models/\n/experiments/\n", encoding="utf-8")
    repository.run("git", "init", "--quiet", "--initial-branch=main")
    repository.dvc("add", "--quiet", "data/orders.csv", "data/restaurants.csv")
    repository.commit("Data under DVC")
    return repository


def test_experiment_can_be_repeated_and_restored(repository: Repository) -> None:
    root, metrics = repository.root, repository.root / "metrics" / "backtest" / "metrics.json"
    first_revision = repository.run("git", "rev-parse", "HEAD").strip()
    for option in ("core.analytics", "core.check_update"):
        assert repository.dvc("config", option).strip() == "false"

    # The first `repro` runs every stage, the second none.
    assert stages_run(repository.dvc("repro")) == ["prepare", "train", "backtest"]
    assert stages_run(repository.dvc("repro")) == []
    (bundle,) = repository.bundles()
    prepared = root / "data" / "prepared" / "orders.parquet"
    assert bundle.git_revision == first_revision
    assert bundle.dvc_revision == find_revisions(str(prepared)).dvc
    assert str(bundle.dvc_revision).removeprefix("md5:") in (root / "dvc.lock").read_text(encoding="utf-8")
    assert bundle.data_fingerprint

    # A repeated stage writes the same bytes, and the store stays the same.
    lock = (root / "dvc.lock").read_bytes()
    assert "train" in stages_run(repository.dvc("repro", "--force", "--single-item", "train"))
    assert (root / "dvc.lock").read_bytes() == lock
    assert [manifest.id for manifest in repository.bundles()] == [bundle.id]
    first = json.loads(metrics.read_text(encoding="utf-8"))
    repository.commit("First result")

    # After a change of a parameter, only dependent stages run, and DVC shows the difference.
    repository.set_parameter("date", '"2015-06-12"')
    assert stages_run(repository.dvc("repro")) == ["train", "backtest"]
    manifests = repository.bundles()
    assert [manifest.date.day for manifest in manifests] == [11, 12]
    assert manifests[1].git_revision == repository.run("git", "rev-parse", "HEAD").strip() + DIRTY_SUFFIX
    table = repository.dvc("metrics", "diff", "--md")
    assert "| metrics/train/metrics.json | quantile.mae_seconds |" in re.sub(" +", " ", table)
    repository.dvc("plots", "diff", "--out", "plots")
    page = (root / "plots" / "index.html").read_text(encoding="utf-8")
    for title in ("by model", "by each quantile", "by local hour"):
        assert title in page
    shutil.rmtree(root / "plots")
    repository.commit("Second result")

    # Data that is pushed to a remote can be restored.
    repository.dvc("remote", "add", "--default", "storage", str(root.parent / "remote"))
    repository.dvc("push")
    contents = prepared.read_bytes()
    for folder in (root / ".dvc" / "cache", root / "data" / "prepared"):
        shutil.rmtree(folder)
    (root / "data" / "orders.csv").unlink()
    repository.dvc("pull")
    assert prepared.read_bytes() == contents
    assert stages_run(repository.dvc("repro")) == []

    # A checkout of the first result restores its metrics and its data. No stage runs, and its bundle is in the store.
    repository.commit("A remote")
    repository.run("git", "checkout", "--quiet", "HEAD~2")
    repository.dvc("checkout")
    assert json.loads(metrics.read_text(encoding="utf-8")) == first
    assert stages_run(repository.dvc("repro")) == []
    assert bundle.id in [manifest.id for manifest in repository.bundles()]


def test_plot_tables_match_metrics(repository: Repository) -> None:
    folder = repository.root / "metrics" / "train"
    if not folder.is_dir():
        repository.dvc("repro", "train")
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    with (folder / "models.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["model"]: float(row["mae_seconds"]) for row in csv.DictReader(file)}
    assert rows == {name: metrics[name]["mae_seconds"] for name in rows}
    assert {"quantile", "restaurant_lookup", "global_median"} <= set(rows)
    with (folder / "calibration.csv").open(encoding="utf-8", newline="") as file:
        coverage = {f"p{float(row['nominal']) * 100:.0f}": float(row["observed"]) for row in csv.DictReader(file)}
    assert coverage == metrics["coverage"]


def test_unversioned_data_has_no_revision(tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text("a\n1\n", encoding="utf-8")
    for url in (str(tmp_path / "orders.csv"), str(tmp_path), "postgresql://host/db", str(tmp_path / "none.csv")):
        assert find_revisions(url) == find_revisions("")
    assert find_revisions("").dvc is None
    assert find_revisions("").git is None


def test_changed_data_has_no_dvc_revision(repository: Repository) -> None:
    orders = repository.root / "data" / "orders.csv"
    recorded = find_revisions(str(orders))
    assert recorded.dvc is not None
    content = orders.read_bytes()
    orders.unlink()  # The file can be a link into DVC's cache.
    orders.write_bytes(content + b"\n")
    try:
        assert find_revisions(str(orders)).dvc is None
    finally:
        orders.write_bytes(content)
    assert find_revisions(str(orders)).dvc == recorded.dvc
