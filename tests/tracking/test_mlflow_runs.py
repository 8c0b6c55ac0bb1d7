"""Runs, model versions, and the alias on a real MLflow server."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pytest
from mlflow.entities import Dataset, Run
from mlflow.tracking import MlflowClient

import preptime
from preptime.bundle.champion_log import ChampionLog, LogEntryDraft
from preptime.bundle.store import Store
from preptime.errors import DataError
from preptime.tracking.runs import TrackingSettings, follow_champion, tracked_run
from preptime.training.fitting import FitPlan
from preptime.training.train import TrainDocument
from tests.cli.run_command import PROGRAM, run_process
from tests.cli.run_command import preptime as run_preptime
from tests.requirements import ROOT
from tests.training.factories import (
    IDLE_QUANTILE,
    SyntheticData,
    TrainedStore,
    june,
    quick_plan,
    run_refresh,
    run_training,
)

ORDERS = "postgresql://me:s3cret-password@db/food?table=orders"


def small_plan(*_: object, **__: object) -> FitPlan:
    """Return a plan with small models, instead of `FitPlan.from_schema`."""
    return quick_plan()


def only_run(client: MlflowClient, settings: TrackingSettings) -> Run:
    """Return the run of an experiment, which must be the only one."""
    experiment = client.get_experiment_by_name(settings.experiment)
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    return run


def only_dataset(run: Run) -> Dataset:
    """Return the dataset of a run, which must be the only one."""
    assert run.inputs is not None
    (used,) = run.inputs.dataset_inputs
    return used.dataset


def versions(client: MlflowClient, settings: TrackingSettings) -> dict[str, str]:
    """Return the number of each registered version by its bundle."""
    found = client.search_model_versions(f"name = '{settings.model}'")
    by_bundle = {version.tags["preptime.bundle"]: str(version.version) for version in found}
    assert len(by_bundle) == len(found), "a bundle is registered twice"
    return by_bundle


def champion_bundle(client: MlflowClient, settings: TrackingSettings) -> str:
    """Return the bundle of the version with the alias."""
    bundle: str = client.get_model_version_by_alias(settings.model, "champion").tags["preptime.bundle"]
    return bundle


def test_training_is_logged_and_registered(
    trained: TrainedStore, store: Store, settings: TrackingSettings, client: MlflowClient, tmp_path: Path
) -> None:
    document = trained.document
    with tracked_run("train", settings) as tracked:
        tracked.log_training(document, store, seed=12, orders=ORDERS)
    run, manifest = only_run(client, settings), store.read_manifest(document.bundle)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "train 2015-06-13")
    tags, params, metrics = run.data.tags, run.data.params, run.data.metrics
    assert tags["preptime.bundle"] == tags["preptime.champion"] == document.bundle
    assert (tags["preptime.outcome"], tags["preptime.reason"]) == ("promoted", document.reason)
    assert (params["date"], params["models"], params["seed"]) == ("2015-06-13", "rf, quantile", "12")
    assert (params["quantile.depth"], params["rf.tree_count"]) == ("4", "5")
    assert params["data_fingerprint"] == manifest.data_fingerprint
    assert params["version.preptime"] == manifest.libraries["preptime"]
    assert params["gate.days"] == str(document.data_gate.checks[0].threshold)
    assert document.evaluation is not None
    score = next(row for row in document.evaluation.scores if (row.name, row.labels) == ("rf", "up_to_3h"))
    assert metrics["rf/mae_seconds"] == pytest.approx(score.mae, abs=1e-4)
    assert metrics["mae_seconds"] == metrics["quantile/mae_seconds"]
    segment = next(row for row in document.evaluation.segments if row.segment == "city")
    assert metrics[f"segments/city/{segment.value}/mae_seconds"] == segment.mae
    assert metrics[f"segments/city/{segment.value}/orders"] == segment.n
    dataset = only_dataset(run)
    assert (dataset.name, dataset.digest) == ("food", manifest.data_fingerprint)
    assert json.loads(dataset.source)["uri"] == "postgresql://me@db/food?table=orders"
    (tmp_path / "artifacts").mkdir()
    folder = Path(client.download_artifacts(run.info.run_id, "", str(tmp_path / "artifacts")))
    assert msgspec.json.decode((folder / "training.json").read_bytes(), type=TrainDocument) == document
    assert 'column = "order_value_gbp"' in (folder / "schema.toml").read_text(encoding="utf-8")
    assert versions(client, settings) == {document.bundle: "1"}
    assert champion_bundle(client, settings) == document.bundle
    everything = str(run.to_dictionary()) + "".join(path.read_text(encoding="utf-8") for path in folder.iterdir())
    assert "s3cret" not in everything


def test_rerun_registers_no_second_version(
    trained: TrainedStore, store: Store, settings: TrackingSettings, client: MlflowClient
) -> None:
    for _ in range(2):
        with tracked_run("train", settings) as tracked:
            tracked.log_training(trained.document, store, seed=12, orders="orders.csv")
    assert versions(client, settings) == {trained.document.bundle: "1"}


@pytest.mark.filterwarnings("ignore:.*Any type hint:UserWarning")  # of MLflow, when it's imported
def test_loaded_model_predicts_as_the_bundle(
    data: SyntheticData,
    trained: TrainedStore,
    store: Store,
    mlflow_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It's the example of docs/mlflow.md."""
    follow_champion(store, TrackingSettings(mlflow_url))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_url)
    example = (ROOT / "docs" / "mlflow.md").read_text(encoding="utf-8").partition("```python\n")[2].partition("```")[0]
    bundle = preptime.open_store(store.url).load(trained.document.bundle)
    names = bundle.schema.request_fields().values()
    frame = data.orders.head(50).to_pandas().astype({"order_value_gbp": object})
    frame.loc[3, "order_value_gbp"] = "much"  # a row without a prediction
    frame = frame.reindex(columns=[name for name in names if name in frame]).set_index(frame.index * 10)
    expected = bundle.predict(frame)
    results: dict[str, Any] = {"orders": frame}
    exec(example, results)  # noqa: S102 — the example that users run
    pd.testing.assert_frame_equal(results["predicted"], expected)
    assert expected["prediction_reason"].notna().sum() == 1
    model = results["model"]
    assert set(model.metadata.get_input_schema().input_names()) == set(names)
    assert set(model.metadata.get_output_schema().input_names()) == {*expected.columns} - {*frame.columns}


def test_alias_follows_refresh_promote_and_rollback(
    data: SyntheticData, trained: TrainedStore, store: Store, tracking: TrackingSettings, client: MlflowClient
) -> None:
    refreshed = run_refresh(data, june(14), store).bundle
    first, options = trained.document.bundle, ("--store", store.url, "--reason", "a test")
    run_preptime("bundles", "rollback", *options).succeeded()
    assert champion_bundle(client, tracking) == first
    run_preptime("bundles", "promote", refreshed, *options).succeeded()
    assert champion_bundle(client, tracking) == refreshed
    assert versions(client, tracking) == {first: "1", refreshed: "2"}


def test_alias_follows_the_rollback_of_respond(
    data: SyntheticData, store: Store, files: tuple[str, ...], tmp_path: Path, tracking: TrackingSettings
) -> None:
    client, log = MlflowClient(tracking.uri), ChampionLog(store)
    first = log.current()
    assert first is not None
    worse = run_training(data, june(13), store, plan=quick_plan(IDLE_QUANTILE), with_gate=False).bundle
    log.append(LogEntryDraft(bundle=worse, date=june(13), action="promote", reason="", by="test", at=""), first)
    follow_champion(store, tracking)
    assert champion_bundle(client, tracking) == worse
    options = (*files, "--store", store.url, "--results", str(tmp_path / "results"), "--date", "2015-06-15")
    monitored = run_preptime("monitor", *options)
    assert monitored.status in {0, 1}, monitored.err  # 1 is an alert
    run_preptime("respond", *options, "--allow", "all").succeeded()
    current = log.current()
    assert current is not None
    assert champion_bundle(client, tracking) == current.bundle
    assert store.read_manifest(current.bundle).parent == first.bundle


def test_train_command_has_equal_output_with_tracking(
    files: tuple[str, ...],
    tmp_path: Path,
    tracking: TrackingSettings,
    client: MlflowClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(FitPlan, "from_schema", small_plan)
    results = []
    for name in ("tracked", "untracked"):
        folders = ("--store", str(tmp_path / name), "--results", str(tmp_path / f"{name}-results"))
        results.append(run_preptime("train", *files, "--date", "2015-06-13", *folders, "--json").succeeded())
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert results[0].out == results[1].out
    assert "MLflow" not in results[0].err
    run = only_run(client, tracking)
    artifacts = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
    assert artifacts == {"evaluation.json", "report.html", "schema.toml", "training.json"}
    assert champion_bundle(client, tracking) == results[0].document(TrainDocument).bundle


def test_registration_needs_no_pandas(
    trained: TrainedStore, store: Store, settings: TrackingSettings, client: MlflowClient
) -> None:
    """The extra `[mlflow]` doesn't install it."""
    blocked = "import sys; sys.modules.update(pandas=None, pyarrow=None); "
    arguments = ("bundles", "promote", trained.document.bundle, "--store", store.url, "--reason", "a test")
    environment = {"MLFLOW_TRACKING_URI": settings.uri, "PREPTIME_MLFLOW_MODEL": settings.model}
    result = run_process(*arguments, program=blocked + PROGRAM, **environment).succeeded()
    assert result.err == ""
    assert champion_bundle(client, settings) == trained.document.bundle


def test_failed_training_is_a_failed_run(settings: TrackingSettings, client: MlflowClient) -> None:
    with pytest.raises(DataError), tracked_run("train", settings):
        raise DataError("The data has 2 days.", "Provide more.")
    run = only_run(client, settings)
    assert (run.info.status, run.data.tags["preptime.error"]) == ("FAILED", "The data has 2 days. Provide more.")


def test_backtest_command_is_logged(
    files: tuple[str, ...], tracking: TrackingSettings, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FitPlan, "from_schema", small_plan)
    run_preptime("backtest", *files, "--from", "2015-06-12", "--to", "2015-06-13", "--json").succeeded()
    run = only_run(client, tracking)
    assert run.info.run_name == "backtest 2015-06-12 to 2015-06-13"
    assert run.data.metrics["quantile/mae_seconds"] > 0
    assert run.data.params["quantile.depth"] == "4"
    assert only_dataset(run).name == "orders.csv"


def test_champion_log_stays_the_source_of_truth(
    store: Store, settings: TrackingSettings, client: MlflowClient, caplog: pytest.LogCaptureFixture
) -> None:
    before = ChampionLog(store).current()
    follow_champion(store, settings)
    client.delete_registered_model_alias(settings.model, "champion")
    assert ChampionLog(store).current() == before
    with caplog.at_level(logging.WARNING, "preptime"):
        follow_champion(store, settings)
    assert not caplog.records
    assert before is not None
    assert champion_bundle(client, settings) == before.bundle


def test_training_in_a_temporary_store_keeps_the_alias(
    trained: TrainedStore, store: Store, settings: TrackingSettings, client: MlflowClient
) -> None:
    with tracked_run("train", settings) as tracked:
        tracked.log_training(trained.document, store, seed=12, orders="a data frame", set_alias=False)
    assert versions(client, settings) == {trained.document.bundle: "1"}
    assert client.get_registered_model(settings.model).aliases == {}


def test_python_api_is_logged(
    data: SyntheticData, tracking: TrackingSettings, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FitPlan, "from_schema", small_plan)
    result = preptime.train(data.orders, data.restaurants, date="2015-06-13", quick=True, progress=False)
    run = only_run(client, tracking)
    assert (run.info.run_name, only_dataset(run).name) == ("train 2015-06-13", "a data frame")
    assert versions(client, tracking) == {result.bundle.id: "1"}


def test_tune_command_logs_a_child_run_for_each_trial(
    files: tuple[str, ...], tmp_path: Path, tracking: TrackingSettings, client: MlflowClient
) -> None:
    options = ("--date", "2015-06-15", "--days", "2", "--trials", "2", "--write", "never")
    run_preptime("tune", "xgb", *files, *options, "--study", tmp_path / "study.jsonl", "--json").succeeded()
    experiment = client.get_experiment_by_name(tracking.experiment)
    assert experiment is not None
    by_name = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    search, trials = by_name.pop("tune xgb 2015-06-15"), list(by_name.values())
    assert by_name.keys() == {"xgb trial 0", "xgb trial 1"}
    assert {run.data.tags["mlflow.parentRunId"] for run in trials} == {search.info.run_id}
    assert search.data.metrics["best/mae_seconds"] == min(run.data.metrics["mae_seconds"] for run in trials)
    assert float(by_name["xgb trial 1"].data.params["xgb.learning_rate"]) > 0
