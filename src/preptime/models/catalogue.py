"""The catalogue of models, and the models of a training: with the hyperparameters and custom models of a schema.

To add a model, add a file to this folder and a line here; the conformance suite covers it. Importing this module loads
no learning library: a model imports its library when it fits.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from preptime.domain.orders import DEFAULT_MODEL
from preptime.errors import UsageError
from preptime.models.catboost_models import CatBoostModel
from preptime.models.custom import CustomModel, load_class
from preptime.models.model import Model
from preptime.models.quantile import QuantileModel
from preptime.models.sklearn_models import GradientBoostingModel, RandomForestModel, StackingModel
from preptime.models.xgboost_models import XGBoostModel
from preptime.schema.schema import ModelSettings

NOTEBOOK_MODELS: tuple[Model, ...] = (RandomForestModel(), GradientBoostingModel(), CatBoostModel(), XGBoostModel())
"""The base models of `stacking`."""

_MODELS: tuple[Model, ...] = (
    *NOTEBOOK_MODELS,
    StackingModel(NOTEBOOK_MODELS),
    QuantileModel(),
)

CATALOGUE: Mapping[str, Model] = MappingProxyType({model.name: model for model in _MODELS})
"""Models by name, in the order in which tables and documents list them."""


def models_of(
    settings: Mapping[str, ModelSettings], folder: Path | None = None, names: Sequence[str] | None = None
) -> dict[str, Model]:
    """Return the models of a training: the catalogue and the custom models, with their hyperparameters.

    Loading a custom model executes its file, which is the user's own. Files of models that aren't in `names` aren't
    loaded. `quantile` is always one of the models, because its p50 is the default prediction.

    Args:
        settings: The section `[models]` of a schema (`Schema.models`).
        folder: The folder that the files of custom models are relative to. The default is that of the schema file.
        names: The models to return. None returns all of them.

    Raises:
        UsageError: A name is unknown, a class can't be loaded, or a hyperparameter is wrong.

    Example:
        >>> list(models_of({"quantile": ModelSettings(parameters={"depth": 5})}, names=["xgb"]))
        ['xgb', 'quantile']
    """
    chosen = [name for name in _known_names(settings) if names is None or name in {*names, DEFAULT_MODEL}]
    if names is not None:
        check_names(names, _known_names(settings))
    models = {name: _build(name, settings.get(name, ModelSettings()), folder) for name in chosen}
    stacking = models.get("stacking")
    if isinstance(stacking, StackingModel):  # its base models have the same hyperparameters as the models themselves
        bases = tuple(
            models.get(base.name) or _build(base.name, settings.get(base.name, ModelSettings()), folder)
            for base in stacking.models
        )
        models["stacking"] = dataclasses.replace(stacking, models=bases)
    return models


def left_out(settings: Mapping[str, ModelSettings], names: Sequence[str] | None) -> tuple[str, ...]:
    """Return the models that `names` leaves out."""
    known = _known_names(settings)
    return () if names is None else tuple(name for name in known if name not in {*names, DEFAULT_MODEL})


def check_names(names: Sequence[str], known: Collection[str]) -> None:
    """Raise `UsageError` for a name that isn't known, with the most similar one."""
    for name in names:
        if name not in known:
            similar = difflib.get_close_matches(name, known, 1)
            raise UsageError(
                f"There is no model {name!r}.",
                f"Did you mean {similar[0]}?"
                if similar
                else f"Models: {', '.join(known)}. Add another one to [models] in schema.toml.",
            )


def hyperparameters(model: Model) -> dict[str, int | float | str | bool]:
    """Return the hyperparameters of a model by name. Those of the base models of `stacking` aren't included."""
    if isinstance(model, CustomModel):
        return dict(model.parameters)
    fields: dict[str, Any] = {field.name: getattr(model, field.name) for field in dataclasses.fields(model)}  # type: ignore[arg-type]
    return {
        name: value for name, value in fields.items() if name != "name" and isinstance(value, int | float | str | bool)
    }


def _known_names(settings: Mapping[str, ModelSettings]) -> list[str]:
    """Return all names, with `quantile` last."""
    names = [*CATALOGUE, *(name for name in settings if name not in CATALOGUE)]
    return [name for name in names if name != DEFAULT_MODEL] + [DEFAULT_MODEL]


def _build(name: str, settings: ModelSettings, folder: Path | None) -> Model:
    if settings.source:
        return load_class(name, settings, folder)
    model: Any = CATALOGUE[name]
    values = {
        key: float(value) if isinstance(getattr(model, key), float) else value
        for key, value in settings.parameters.items()
    }
    result: Model = dataclasses.replace(model, **values)
    return result
