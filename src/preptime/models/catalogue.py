"""The catalogue of models. To add a model, add a file to this folder and a line here; the conformance suite covers it.

Importing this module loads no learning library: a model imports its library when it fits.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from preptime.models.catboost_models import CatBoostModel
from preptime.models.model import Model
from preptime.models.quantile import QuantileModel
from preptime.models.sklearn_models import GradientBoostingModel, RandomForestModel, StackingModel
from preptime.models.xgboost_models import XGBoostModel

NOTEBOOK_MODELS: tuple[Model, ...] = (RandomForestModel(), GradientBoostingModel(), CatBoostModel(), XGBoostModel())
"""The base models of `stacking`."""

_MODELS: tuple[Model, ...] = (
    *NOTEBOOK_MODELS,
    StackingModel(NOTEBOOK_MODELS),
    QuantileModel(),
)

CATALOGUE: Mapping[str, Model] = MappingProxyType({model.name: model for model in _MODELS})
"""Models by name, in the order in which tables and documents list them."""
