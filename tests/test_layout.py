"""The shape of `src/preptime`: number of files, imports, and sizes (CONTRIBUTING.md, "Code").

`python -m tests.layout` prints the figures. A limit grows only with the product. The commit message of a change that
raises one says why.
"""

from __future__ import annotations

from tests.layout import (
    file_lengths,
    function_lengths,
    import_closure,
    percentile,
    single_importers,
    source_files,
)

SINGLE_IMPORTERS = {
    "preptime.api.champion_loading": "Its own subject: checks that workers share. With the watcher: over 450 lines.",
    "preptime.api.batching": "Its own subject: micro-batching (decision 9).",
    "preptime.api.champion_watcher": "Its own subject: how a server finds a new champion.",
    "preptime.api.health_server": "Its own subject: the health port, which only the main process serves.",
    "preptime.api.openapi": "Its own subject: the OpenAPI document. Merged with `app`, it exceeds 450 lines.",
    "preptime.api.custom_features": "Its own subject: one order's custom features. Also bound in `active_model`.",
    "preptime.api.dispatch": "Its own subject: dispatch requests. With `predict`, it exceeds 450 lines.",
    "preptime.api.log_entries": "Its own subject: the prediction log in entries of a platform's log.",
    "preptime.api.prediction_log": "Its own subject: the prediction log and its sinks.",
    "preptime.api.runtime": "`worker` imports it lazily, so that the main process loads no prediction libraries.",
    "preptime.api.supervision": "Its own subject: the workers as processes, which only the main process supervises.",
    "preptime.validation.similar_ids": "Its own subject: spellings that spreadsheets confuse.",
    "preptime.models.sklearn_models": "One file for each model library.",
    "preptime.monitoring.change_detection": "Its own subject: the algorithm, tested without monitoring's data.",
    "preptime.monitoring.rule_evaluation": "Merged with `monitor` or `rules`, it exceeds 450 lines.",
    "preptime.monitoring.shift_rules": "Merged with `monitor` or `rule_evaluation`, it exceeds 450 lines.",
    "preptime.python_api.training": "Its own subject: what `preptime` exports for training. `tuning` is another.",
    "preptime.sources.csv_header": "Its own subject: delimiters. With `files` or `csv_rows`, it exceeds 450 lines.",
    "preptime.cli.spark_training": "Its own subject: the commands that prepare a refresh and a training.",
    "preptime.sources.cloud_logging": "The client of Cloud Logging, imported only for its addresses.",
    "preptime.cli.spark": "`app` imports it by name, like every command. `spark_training` uses its session.",
    "preptime.spark.worker_bundles": "What workers run to score. It imports no PySpark.",
    "preptime.synthetic.orders": "Its own subject: how the times and values of orders are drawn.",
    "preptime.training.challenger": "Its own subject: fitting and writing a bundle, without the decision about it.",
    "preptime.training.offered_graph": "A separate process runs it, which must not load what trains.",
    "preptime.training.promotion": "Its own subject: the choice of the champion. With `train`, it exceeds 450 lines.",
    "preptime.tracking.model_folder": "Its own subject: MLflow's format of a model, without MLflow.",
    "preptime.tracking.server": "The only module that imports MLflow. `runs` imports it lazily.",
    "preptime.training.tuning_study": "The only file that imports Optuna: the trials of a search in a file.",
    "preptime.ui.prediction_tables": "Tables of results. Merged with `predict_file`, it exceeds 450 lines.",
    "preptime.ui.data.charts": "Chart specifications. Merged with `views`, it exceeds 450 lines.",
}
"""Modules whose only importer is in the same folder, with the reason why they're separate."""


def test_source_has_at_most_360_files() -> None:
    # 268 before dispatch decisions, the live model, waiting costs, the walk-forward gate, and the checks of labels.
    # 283 before the Python API, custom models, tuning, explanations, MLflow, OpenTelemetry, and places of the log.
    # 340 before preptime.spark.
    assert len(source_files()) <= 360


def test_prediction_request_imports_at_most_51_modules() -> None:
    # 38 before dispatch decisions and the live model, each in the domain or features and in the API, and
    # `bundle.golden`. 43 before explanations: four of their own, one of the bundle, and one of the API. Then traces.
    # 50 before the folder of a `file://` URL, which stores and settings read with the same function of `network`.
    modules = import_closure("preptime.api.handler")
    assert len(modules) <= 51, sorted(modules)


def test_training_imports_at_most_100_modules() -> None:
    # 74 before the walk-forward gate, the live model, waiting costs, the reduced set, and the checks of labels.
    # 88 before explanations, custom models, their check before long fits, and the settings of models.
    # 98 before the counts of orders, with which refresh makes the same checks. 99 before `network`, as above.
    modules = import_closure("preptime.training.train")
    assert len(modules) <= 100, sorted(modules)


def test_single_importers_have_a_reason() -> None:
    assert set(single_importers()) == set(SINGLE_IMPORTERS)
    # 22 before `training.train` became three: the challenger, its gate, and the decision about it. 23 before MLflow,
    # tuning, offered graphs, and the places of the prediction log: five modules that alone import a library or run in
    # a process of their own.
    # 28 before preptime.spark: two command modules, and what workers run.
    assert len(SINGLE_IMPORTERS) <= 31
    assert all(SINGLE_IMPORTERS.values())


def test_files_have_at_most_450_lines() -> None:
    lengths = file_lengths()
    # 350 before the docstrings of the Python API, which have sections and examples.
    assert percentile(list(lengths.values()), 0.9) <= 360
    assert {path: lines for path, lines in lengths.items() if lines > 450} == {}


def test_functions_have_at_most_56_lines() -> None:
    """Without the docstring: a public function of the Python API has one of about 30 lines."""
    lengths = function_lengths()
    assert percentile(list(lengths.values()), 0.5) <= 6
    assert {name: lines for name, lines in lengths.items() if lines > 56} == {}
