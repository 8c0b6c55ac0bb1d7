"""What a run shows in MLflow: parameters, metrics, tags, files, and the dataset, from the documents of a command.

Nothing here imports MLflow.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain, count
from typing import TYPE_CHECKING

import msgspec

from preptime.bundle.manifest import Manifest
from preptime.evaluation.documents import BacktestDocument
from preptime.evaluation.dvc_export import dvc_metrics
from preptime.redaction import redact_address, redact_text
from preptime.schema.schema import Schema

if TYPE_CHECKING:  # a refresh also sets the alias, and it doesn't need the libraries that train
    from preptime.training.fitting import FitPlan
    from preptime.training.train import TrainDocument
    from preptime.training.tuning import TrialResult, TuneDocument

SEGMENT_METRICS = {
    "orders": "n",
    "mae_seconds": "mae",
    "bias_seconds": "bias",
    "within_5_min": "within_5_min",
    "coverage": "coverage",
    "lookup_mae_seconds": "lookup_mae",
}
"""The field of a segment for each of its metrics."""
TAG_PREFIX = "preptime."
"""Start of the names of all tags, so that they differ from those of MLflow and of the user."""

_INVALID_CHARACTER = re.compile(r"[^\w.\- :]")
"""What a part of a metric's name can't contain. MLflow groups metrics by `/`."""
_MAX_NAME = 250
_MAX_VALUE = 5_000
"""Limits of MLflow on characters."""


@dataclass(frozen=True)
class DatasetVersion:
    """The orders that a run used."""

    name: str
    digest: str
    """The first characters of the data fingerprint. MLflow shows at most 36."""
    location: str
    """Where the orders are, without secrets."""
    columns: dict[str, str]
    """The data type of each of the company's columns."""
    facts: dict[str, str]
    """More about the data, such as the number of orders."""


@dataclass
class RunContent:
    """A run of a command, collected while it runs. It contains no secrets."""

    command: str
    title: str = ""
    description: str = ""
    parameters: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    """Content by file name."""
    dataset: DatasetVersion | None = None
    bundle: str | None = None
    """The bundle to register as a model version."""
    children: list[RunContent] = field(default_factory=list)
    """The trials of a search."""

    def add_parameters(self, values: Mapping[str, object]) -> None:
        """Add parameters. A value that is None is left out."""
        self.parameters |= {_valid_name(name): _text(value) for name, value in values.items() if value is not None}

    def add_tags(self, values: Mapping[str, object]) -> None:
        """Add tags with the prefix `preptime.`. A value that is None or empty is left out."""
        self.tags |= {f"{TAG_PREFIX}{name}": _text(value) for name, value in values.items() if value not in (None, "")}

    def add_metrics(self, values: Mapping[str, float | None]) -> None:
        """Add metrics. A metric without a value is left out."""
        self.metrics |= {name: float(value) for name, value in values.items() if value is not None}

    def add_plan(self, plan: FitPlan) -> None:
        """Add the models with their hyperparameters, such as `quantile.depth`, and the seed."""
        from preptime.models.catalogue import hyperparameters

        self.add_parameters({"models": ", ".join(plan.models), "seed": plan.seed})
        for name, model in plan.models.items():
            self.add_parameters({f"{name}.{key}": value for key, value in hyperparameters(model).items()})

    def add_bundle(self, manifest: Manifest) -> None:
        """Add the models of a bundle with their hyperparameters and files, its data, and its versions."""
        window = manifest.window
        self.add_parameters(
            {
                "date": manifest.date,
                "models": ", ".join(manifest.models),
                "weak_models": ", ".join(manifest.weak_models) or None,
                "first_day": window.first_day,
                "last_day": window.last_day,
                "gated_from": window.gated_from,
                "gated_through": window.gated_through,
                "data_fingerprint": manifest.data_fingerprint,
                "dvc_revision": manifest.dvc_revision,
                "git_revision": manifest.git_revision,
            }
        )
        for name, details in manifest.model_details.items():
            self.add_parameters({f"{name}.{key}": value for key, value in details.hyperparameters.items()})
            self.add_parameters({f"{name}.source": details.source or None, f"{name}.sha256": details.sha256 or None})
        self.add_parameters({f"version.{name}": version for name, version in manifest.libraries.items()})

    def add_schema(self, schema: Schema) -> None:
        """Add the schema as a file, and the target as a parameter."""
        from preptime.schema.toml_text import schema_to_toml

        self.add_parameters({"target": schema.target.name})
        self.files["schema.toml"] = schema_to_toml(schema).encode()

    def add_evaluation(self, document: BacktestDocument) -> None:
        """Add the metrics by model and by segment, and the document as a file."""
        self.add_parameters({"evaluated_from": document.first_day, "evaluated_to": document.last_day})
        self.add_metrics(evaluation_metrics(document))
        self.files["evaluation.json"] = _json(document)

    def add_training(self, document: TrainDocument, manifest: Manifest) -> None:
        """Add the decision, the bundle, the metrics, and the data gate's thresholds of a training."""
        self.description = f"**{document.outcome}**: {redact_text(document.reason)}"
        self.bundle = document.bundle
        self.add_bundle(manifest)
        self.add_schema(manifest.schema)
        self.add_parameters({"fitted_orders": document.orders})
        self.add_parameters({f"gate.{check.name}": check.threshold for check in document.data_gate.checks})
        self.add_tags(
            {
                "bundle": document.bundle,
                "outcome": document.outcome,
                "reason": document.reason,
                "champion": document.champion,
                "date": document.date,
            }
        )
        if document.evaluation is not None:
            self.add_evaluation(document.evaluation)
        parity = document.parity_seconds.items()
        self.add_metrics({metric_name("parity", name, "seconds"): value for name, value in parity})
        self.files["training.json"] = _json(document)

    def add_tuning(self, document: TuneDocument) -> None:
        """Add the search, its best hyperparameters, and each trial as a child."""
        self.title = f"tune {document.model} {document.date}"
        self.add_parameters(
            {
                "date": document.date,
                "model": document.model,
                "evaluated_from": document.first_day,
                "evaluated_to": document.last_day,
                "retrain_every": document.retrain_every,
                "seed": document.seed,
                "objective": document.objective,
                "data_fingerprint": document.data_fingerprint,
            }
        )
        best = {f"best.{name}": value for name, value in document.best.parameters.items()}
        self.add_parameters(best | {"best_trial": document.best.number, "is_better": document.is_better})
        for name, trial in (("best", document.best), ("start", document.start)):
            self.add_metrics({f"{name}/loss_seconds": trial.loss, f"{name}/mae_seconds": trial.mae})
        self.add_metrics({metric_name("importance", name): share for name, share in document.importance.items()})
        self.children = [_trial_content(document.model, trial) for trial in document.trials]
        self.files["tuning.json"] = _json(document)

    def add_dataset(self, location: str, fingerprint: str, schema: Schema, **facts: object) -> None:
        """Add the orders: where they are, their fingerprint, and their columns."""
        shown = redact_text(redact_address(location))
        name = re.split(r"[/\\]", shown.partition("?")[0].rstrip("/\\"))[-1] or "orders"
        texts = {key: _text(value) for key, value in facts.items() if value is not None}
        self.dataset = DatasetVersion(
            name=name[:_MAX_NAME],
            digest=fingerprint.rpartition(":")[2][:36],
            location=shown,
            columns=column_types(schema),
            facts=texts | {"fingerprint": fingerprint},
        )


def _trial_content(model: str, trial: TrialResult) -> RunContent:
    content = RunContent("tune", title=f"{model} trial {trial.number}", description=redact_text(trial.error))
    content.add_parameters({f"{model}.{name}": value for name, value in trial.parameters.items()})
    content.add_metrics({"loss_seconds": trial.loss, "mae_seconds": trial.mae})
    content.add_tags({"command": "tune", "state": trial.state})
    return content


def evaluation_metrics(document: BacktestDocument) -> dict[str, float | None]:
    """Return the metrics by name: `mae_seconds` of the default model, those of each model, and those of each segment.

    The names are those of `dvc_metrics`, with `/` between model and metric, and `segments/city/London/mae_seconds`.
    """
    by_model = dvc_metrics(document)
    metrics = {metric_name(group, name): value for group, values in by_model.items() for name, value in values.items()}
    metrics |= by_model.get(document.default_model, {})
    for segment in document.segments:
        if segment.segment != "overall":
            name = _unused_name(metric_name("segments", segment.segment, segment.value), metrics)
            metrics |= {f"{name}/{metric}": getattr(segment, key) for metric, key in SEGMENT_METRICS.items()}
    return metrics


def _unused_name(name: str, metrics: Mapping[str, float | None]) -> str:
    """Return the name of a segment, with a number if another segment has the same name after the replacements."""
    numbered = (f"{name} {number}" for number in count(2))
    return next(item for item in chain([name], numbered) if f"{item}/orders" not in metrics)


def metric_name(*parts: str) -> str:
    """Return a name that MLflow allows: the parts with `/` between them, other characters replaced by `_`.

    Example:
        >>> metric_name("segments", "type_of_food", "fish & chips", "mae_seconds")
        'segments/type_of_food/fish _ chips/mae_seconds'
    """
    return "/".join(_INVALID_CHARACTER.sub("_", part)[:100].strip() or "_" for part in parts)[:_MAX_NAME]


def column_types(schema: Schema) -> dict[str, str]:
    """Return the data type of each of the company's columns of an order at its acknowledgement."""
    from preptime.domain.data_dictionary import order_column

    types = {feature.name: feature.type for feature in schema.order_features}
    return {column: types.get(name) or order_column(name).data_type for name, column in schema.request_fields().items()}


def _valid_name(name: str) -> str:
    return re.sub(r"[^\w.\- :/]", "_", name)[:_MAX_NAME]


def _text(value: object) -> str:
    return redact_text(str(value))[:_MAX_VALUE]


def _json(document: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"
