"""Scoring as a serverless Spark batch: Google's operator, hook, and trigger against a fake of Google's API clients."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from scripts.make_locks import IMAGE_EXTRAS
from tests.dags.installation import DAGS, Installation
from tests.requirements import ROOT, airflow_google_python

SETTINGS = {
    "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": "google-cloud-platform://",
    "PREPTIME_RUNNER": "dataproc",
    "PREPTIME_SPARK_IMAGE": "eu.example/preptime/spark@sha256:1",
    "PREPTIME_SPARK_PROJECT": "preptime-staging",
    "PREPTIME_SPARK_REGION": "europe-west1",
    "PREPTIME_SPARK_ACCOUNT": "preptime-spark@preptime-staging.iam.gserviceaccount.com",
    "PREPTIME_SPARK_SUBNETWORK": "projects/p/regions/europe-west1/subnetworks/spark",
    "PREPTIME_SPARK_STAGING_BUCKET": "gs://preptime-staging-preptime-spark",
    "PREPTIME_SPARK_ORDERS": "gs://orders/date={date}",
    "PREPTIME_SPARK_OUT": "gs://predictions/date={date}",
    "PREPTIME_SPARK_CORPUS": "gs://corpus/{date}",
    "PREPTIME_SPARK_TRAINING_ORDERS": "gs://orders",
    "PREPTIME_SPARK_SCHEMA": "gs://orders/schema.toml",
    "PREPTIME_STORE": "gs://store/models",
    "PREPTIME_RESTAURANTS": "gs://orders/restaurants.parquet",
}
BATCH_ID = "preptime-score-2015-06-24"
CREATE = f"create projects/preptime-staging/regions/europe-west1 {BATCH_ID}"
CORPUS_ID = "preptime-corpus-2015-06-24"
CREATE_CORPUS = f"create projects/preptime-staging/regions/europe-west1 {CORPUS_ID}"
GET_CORPUS, DELETE_CORPUS = f"get {CORPUS_ID}", f"delete {CORPUS_ID}"
GET, DELETE = f"get {BATCH_ID}", f"delete {BATCH_ID}"


class Result(msgspec.Struct):
    """A case in the output of `inside/run_batches.py`."""

    outcome: str
    calls: list[str]
    batch: dict[str, Any]


@pytest.fixture(scope="module")
def google(installation: Installation) -> Installation:
    """The installation with Google's provider."""
    return replace(installation, python=airflow_google_python())


@pytest.fixture(scope="module")
def results(google: Installation) -> dict[str, Result]:
    """The task after no batch, a running one, and ended ones, and with a batch that fails."""
    cases = ("none", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLED")
    return msgspec.convert(google.run_inside("run_batches", *cases, **SETTINGS), dict[str, Result])


def test_task_creates_a_batch_of_job_and_date(results: dict[str, Result]) -> None:
    result = results["none"]
    assert (result.outcome, result.calls) == ("success", [GET, CREATE, GET])
    assert re.fullmatch("[a-z0-9-]{4,63}", BATCH_ID)


def test_batch_has_image_account_and_network(results: dict[str, Result]) -> None:
    batch = results["none"].batch
    assert batch["pyspark_batch"]["main_python_file_uri"] == "file:///opt/spark_main.py"
    assert batch["pyspark_batch"]["args"] == [
        "score", "--orders", "gs://orders/date=2015-06-24", "--out", "gs://predictions/date=2015-06-24",
        "--store", "gs://store/models", "--restaurants", "gs://orders/restaurants.parquet", "--date", "2015-06-24",
    ]  # fmt: skip
    runtime = batch["runtime_config"]
    assert (runtime["version"], runtime["container_image"]) == ("3.0", SETTINGS["PREPTIME_SPARK_IMAGE"])
    execution = batch["environment_config"]["execution_config"]
    assert execution["service_account"] == SETTINGS["PREPTIME_SPARK_ACCOUNT"]
    assert execution["subnetwork_uri"] == SETTINGS["PREPTIME_SPARK_SUBNETWORK"]
    assert execution["staging_bucket"] == "preptime-staging-preptime-spark"
    assert execution["ttl"] == "3600s"


def test_executor_has_memory_for_python_workers(results: dict[str, Result]) -> None:
    """0.6 GB for each core (docs/scale.md). Google accepts 1,024 to 7,424 MB for each core."""
    properties = results["none"].batch["runtime_config"]["properties"]
    cores = int(properties["spark.executor.cores"])
    overhead = int(properties["spark.executor.memoryOverhead"].removesuffix("m"))
    heap = int(properties["spark.executor.memory"].removesuffix("g")) * 1024
    assert overhead >= cores * 0.6 * 1000
    assert cores * 1024 <= overhead + heap <= cores * 7424


def test_retry_finds_the_running_batch(results: dict[str, Result]) -> None:
    """The first try's worker died, but its batch still runs. The retry waits for it and starts no second one."""
    result = results["RUNNING"]
    assert (result.outcome, result.calls) == ("success", [GET, CREATE, GET])
    assert "pyspark_batch" not in result.batch  # still the batch that existed


def test_retry_takes_the_result_of_an_ended_batch(results: dict[str, Result]) -> None:
    assert (results["SUCCEEDED"].outcome, results["SUCCEEDED"].calls) == ("success", [GET, CREATE, GET])


@pytest.mark.parametrize("state", ["FAILED", "CANCELLED"])
def test_retry_replaces_a_failed_batch(results: dict[str, Result], state: str) -> None:
    """Google's operator alone would report the old failure at every retry."""
    assert (results[state].outcome, results[state].calls) == ("success", [GET, DELETE, CREATE, GET])


def test_failed_batch_fails_the_task(results: dict[str, Result]) -> None:
    outcome = results["new fails"].outcome
    assert outcome.startswith(f"AirflowException: Batch job {BATCH_ID} failed with error: ")


def test_dag_file_has_the_batch(google: Installation) -> None:
    """Scoring is a batch with the date of the run. Training stays on one machine, on orders that a batch selects."""
    dags = _parse(google, SETTINGS)
    types = {task: kind for dag in dags for task, kind in dag["types"].items()}
    assert types["score"] == types["corpus"] == "PreptimeBatchOperator"
    assert types["train"] == "PreptimeOperator"
    (training,) = [dag for dag in dags if "train" in dag["tasks"]]
    assert training["tasks"]["corpus"] == ["train"]
    assert "train --corpus 'gs://corpus/{{ as_of_date" in training["commands"]["train"]


@pytest.mark.parametrize("setting", [{"PREPTIME_SPARK_CORPUS": ""}, {"PREPTIME_RUNNER": "command"}])
def test_training_without_spark_reads_the_orders(google: Installation, setting: dict[str, str]) -> None:
    (training,) = [dag for dag in _parse(google, SETTINGS | setting) if "train" in dag["tasks"]]
    assert "corpus" not in training["tasks"]
    assert "--corpus" not in training["commands"]["train"]


def test_corpus_batch_has_addresses_schema_and_date(results: dict[str, Result]) -> None:
    result = results["corpus"]
    assert (result.outcome, result.calls[1].rpartition(" ")[2]) == ("success", "preptime-corpus-2015-06-24")
    assert result.batch["pyspark_batch"]["args"] == [
        "corpus", "--orders", "gs://orders", "--out", "gs://corpus/2015-06-24",
        "--restaurants", "gs://orders/restaurants.parquet", "--schema-url", "gs://orders/schema.toml",
        "--date", "2015-06-24",
    ]  # fmt: skip


@pytest.mark.parametrize("state", ["SUCCEEDED", "FAILED"])
def test_cleared_corpus_is_selected_again(results: dict[str, Result], state: str) -> None:
    """Orders can arrive, or be corrected, after a batch of the same date has succeeded."""
    result = results[f"corpus {state}"]
    assert (result.outcome, result.calls) == ("success", [GET_CORPUS, DELETE_CORPUS, CREATE_CORPUS, GET_CORPUS])


def test_corpus_retry_finds_the_running_batch(results: dict[str, Result]) -> None:
    result = results["corpus RUNNING"]
    assert (result.outcome, result.calls) == ("success", [GET_CORPUS, CREATE_CORPUS, GET_CORPUS])
    assert "pyspark_batch" not in result.batch


def test_first_try_of_train_starts_no_batch(results: dict[str, Result]) -> None:
    """The task `corpus` has just selected the orders."""
    assert (results["train 1"].outcome, results["train 1"].calls) == ("success", [])


@pytest.mark.parametrize("state", ["SUCCEEDED", "FAILED"])
def test_retry_of_train_selects_orders_again(results: dict[str, Result], state: str) -> None:
    """Training refused incomplete orders. The retry waits for a new batch, with the arguments of the task `corpus`."""
    result = results[f"train 2 {state}"]
    assert (result.outcome, result.calls) == ("success", [GET_CORPUS, DELETE_CORPUS, CREATE_CORPUS, GET_CORPUS])
    for field in ("pyspark_batch", "runtime_config", "environment_config"):
        assert result.batch[field] == results["corpus"].batch[field]


def test_retry_of_train_fails_with_its_batch(results: dict[str, Result]) -> None:
    """Training doesn't run on the orders of an earlier batch."""
    outcome = results["train 2 fails"].outcome
    assert outcome.startswith("AirflowException: Batch job preptime-corpus-2015-06-24 failed with error: ")


def _parse(google: Installation, settings: dict[str, str]) -> list[dict[str, Any]]:
    """Return the DAGs of prediction and training, which have no errors."""
    files = (DAGS / "daily_prediction_run.py", DAGS / "daily_training_run.py")
    document: Any = google.run_inside("parse_dags", *map(str, files), **settings)
    assert [file["errors"] for file in document["files"].values()] == [[], []]
    assert document["loaded"] == []
    return [dag for file in document["files"].values() for dag in file["dags"].values()]


def test_main_file_is_in_the_image() -> None:
    dockerfile = (ROOT / "deploy" / "docker" / "Dockerfile").read_text(encoding="utf-8")
    assert "COPY deploy/docker/spark_main.py /opt/spark_main.py" in dockerfile
    assert "spark" in IMAGE_EXTRAS
