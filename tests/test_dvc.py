"""dvc.yaml by the real DVC, in a repository of its own with a few days of orders and models that fit in a moment."""

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
if sys.argv[1] != "snapshot":  # which fits nothing, and needs none of the libraries that do
    from preptime.training.fitting import FitPlan
    from tests.training.factories import quick_plan
    FitPlan.default = lambda threads: quick_plan(threads=threads)
sys.exit(main())
"""


@dataclass(frozen=True)
class Repository:
    """A git repository with the project's pipeline, and DVC."""

    root: Path
    home: Path

    def run(self, *words: str | Path) -> str:
        """Run a command that must succeed; what it says."""
        told = {"HOME": str(self.home), "DVC_SITE_CACHE_DIR": str(self.home), "PYTHONDONTWRITEBYTECODE": "1"}
        ended = subprocess.run(
            [str(word) for word in words],
            cwd=self.root,
            env=os.environ | told,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout + ended.stderr

    def dvc(self, *words: str) -> str:
        return self.run(DVC, *words)

    def commit(self, what: str) -> str:
        """Commit everything; the revision."""
        self.run("git", "add", "--all")
        self.run("git", "-c", "user.name=test", "-c", "user.email=test@example", "commit", "--quiet", "-m", what)
        return self.run("git", "rev-parse", "HEAD").strip()

    def set(self, name: str, value: str) -> None:
        """Change a parameter."""
        path = self.root / "params.yaml"
        text, count = re.subn(rf"(?m)^(\s*{name}:) [^#\n]*", rf"\1 {value} ", path.read_text(encoding="utf-8"))
        assert count == 1
        path.write_text(text, encoding="utf-8")

    def bundles(self) -> list[Manifest]:
        store = Store.open(str(self.root / "models"))
        return [fetch_verified(store, one).manifest for one in store.bundle_ids()]

    def stages_run(self, said: str) -> list[str]:
        return re.findall(r"Running stage '(\w+)'", said)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """Committed, its data under DVC, nothing run yet."""
    requires(DVC.is_file(), "no DVC: python dev.py setup dvc")
    requires(shutil.which("git"), "no git")
    root = tmp_path_factory.mktemp("dvc") / "project"
    for name in COPIED:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    shutil.copytree(ROOT / "src" / "preptime", root / "src" / "preptime", ignore=shutil.ignore_patterns("__pycache__"))
    synthesize(SynthesisPlan(orders=2_500, restaurants=30, days=14), root / "data", "csv", lambda *_: None)
    program = root.parent / "quick.py"
    program.write_text(PROGRAM.format(root=str(ROOT)), encoding="utf-8")
    made = Repository(root, root.parent)
    for name, value in {
        "preptime": f'"{sys.executable} {program}"',
        "date": '"2015-06-11"',
        "retrain_every": "3",
    }.items():
        made.set(name, value)
    text = (root / "params.yaml").read_text(encoding="utf-8")
    text = text.replace('to: "2015-06-28"', 'to: "2015-06-13"').replace('from: "2015-06-22"', 'from: "2015-06-11"')
    (root / "params.yaml").write_text(text, encoding="utf-8")
    (root / ".gitignore").write_text("/models/\n/experiments/\n", encoding="utf-8")
    made.run("git", "init", "--quiet", "--initial-branch=main")
    made.dvc("add", "--quiet", "data/orders.csv", "data/restaurants.csv")
    made.commit("Data under DVC")
    return made


def test_an_experiment_from_the_first_run_to_having_a_past_result_again(repository: Repository) -> None:
    root, metrics = repository.root, repository.root / "figures" / "backtest" / "metrics.json"
    first_revision = repository.run("git", "rev-parse", "HEAD").strip()
    for reporting in ("core.analytics", "core.check_update"):
        assert repository.dvc("config", reporting).strip() == "false"

    # The first time everything runs, the second time nothing.
    assert repository.stages_run(repository.dvc("repro")) == ["prepare", "train", "backtest"]
    assert repository.stages_run(repository.dvc("repro")) == []
    (bundle,) = repository.bundles()
    prepared = root / "data" / "prepared" / "orders.parquet"
    assert bundle.git_revision == first_revision
    assert bundle.dvc_revision == find_revisions(str(prepared)).dvc
    assert str(bundle.dvc_revision).removeprefix("md5:") in (root / "dvc.lock").read_text(encoding="utf-8")
    assert bundle.data_fingerprint

    # A stage run again gives the same bytes, and the store keeps what it had.
    lock = (root / "dvc.lock").read_bytes()
    assert "train" in repository.stages_run(repository.dvc("repro", "--force", "--single-item", "train"))
    assert (root / "dvc.lock").read_bytes() == lock
    assert [one.id for one in repository.bundles()] == [bundle.id]
    first = json.loads(metrics.read_text(encoding="utf-8"))
    repository.commit("First result")

    # A parameter changes: only what depends on it runs, and the difference is shown.
    repository.set("date", '"2015-06-12"')
    assert repository.stages_run(repository.dvc("repro")) == ["train", "backtest"]
    both = repository.bundles()
    assert [one.date.day for one in both] == [11, 12]
    assert both[1].git_revision == repository.run("git", "rev-parse", "HEAD").strip() + DIRTY_SUFFIX
    table = repository.dvc("metrics", "diff", "--md")
    assert "| figures/train/metrics.json | quantile.mae_seconds |" in re.sub(" +", " ", table)
    repository.dvc("plots", "diff", "--out", "plots")
    page = (root / "plots" / "index.html").read_text(encoding="utf-8")
    for title in ("by model", "by each quantile", "by local hour"):
        assert title in page
    shutil.rmtree(root / "plots")
    repository.commit("Second result")

    # Everything goes to a remote, the machine loses it, and it comes back.
    repository.dvc("remote", "add", "--default", "storage", str(root.parent / "remote"))
    repository.dvc("push")
    contents = prepared.read_bytes()
    for lost in (root / ".dvc" / "cache", root / "data" / "prepared"):
        shutil.rmtree(lost)
    (root / "data" / "orders.csv").unlink()
    repository.dvc("pull")
    assert prepared.read_bytes() == contents
    assert repository.stages_run(repository.dvc("repro")) == []

    # The first result again: its figures, its data, nothing to run, and its bundle in the store.
    repository.commit("A remote")
    repository.run("git", "checkout", "--quiet", "HEAD~2")
    repository.dvc("checkout")
    assert json.loads(metrics.read_text(encoding="utf-8")) == first
    assert repository.stages_run(repository.dvc("repro")) == []
    assert bundle.id in [one.id for one in repository.bundles()]


def test_the_tables_to_plot_hold_what_the_metrics_say(repository: Repository) -> None:
    folder = repository.root / "figures" / "train"
    if not folder.is_dir():
        repository.dvc("repro", "train")
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    with (folder / "models.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["model"]: float(row["mae_seconds"]) for row in csv.DictReader(file)}
    assert rows == {name: metrics[name]["mae_seconds"] for name in rows}
    assert {"quantile", "restaurant_lookup", "global_median"} <= set(rows)
    with (folder / "calibration.csv").open(encoding="utf-8", newline="") as file:
        found = {f"p{float(row['nominal']) * 100:.0f}": float(row["observed"]) for row in csv.DictReader(file)}
    assert found == metrics["coverage"]


def test_data_that_nobody_versions_has_no_revision(tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text("a\n1\n", encoding="utf-8")
    for address in (str(tmp_path / "orders.csv"), str(tmp_path), "postgresql://host/db", str(tmp_path / "none.csv")):
        assert find_revisions(address) == find_revisions("")
    assert find_revisions("").dvc is None
    assert find_revisions("").git is None


def test_contents_that_dvc_has_not_recorded_have_no_revision(repository: Repository) -> None:
    orders = repository.root / "data" / "orders.csv"
    known = find_revisions(str(orders))
    assert known.dvc is not None
    content = orders.read_bytes()
    orders.unlink()  # it may be a link into the cache
    orders.write_bytes(content + b"\n")
    try:
        assert find_revisions(str(orders)).dvc is None
    finally:
        orders.write_bytes(content)
    assert find_revisions(str(orders)).dvc == known.dvc
