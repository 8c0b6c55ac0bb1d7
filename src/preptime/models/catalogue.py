"""The models there are. Adding one is a file beside this one and a line here; the conformance suite then covers it.

Importing this loads no learning library: a recipe imports its own when it fits.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from preptime.models.catboost_models import CatBoostModel
from preptime.models.model import Model
from preptime.models.quantile import QuantileModel
from preptime.models.sklearn_models import GradientBoostingModel, RandomForestModel
from preptime.models.stacking import StackingModel
from preptime.models.xgboost_models import XGBoostModel

NOTEBOOK_MODELS: tuple[Model, ...] = (RandomForestModel(), GradientBoostingModel(), CatBoostModel(), XGBoostModel())
"""What `stacking` stands on."""

_MODELS: tuple[Model, ...] = (
    *NOTEBOOK_MODELS,
    StackingModel(NOTEBOOK_MODELS),
    QuantileModel(),
)

CATALOGUE: Mapping[str, Model] = MappingProxyType({model.name: model for model in _MODELS})
"""By name, in the order in which tables and documents list them."""
