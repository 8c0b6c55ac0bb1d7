"""The models there are. Adding one is a file beside this one and a line here; the conformance suite then covers it.

Importing this loads no learning library: a recipe imports its own when it fits.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from preptime.models.cat import Cat
from preptime.models.gbr import GradientBoosting
from preptime.models.model import Model
from preptime.models.quantile import Quantile
from preptime.models.rf import Forest
from preptime.models.stacking import Stacking
from preptime.models.xgb import XGBoost

NOTEBOOK: tuple[Model, ...] = (Forest(), GradientBoosting(), Cat(), XGBoost())
"""What `stacking` stands on."""

_MODELS: tuple[Model, ...] = (
    *NOTEBOOK,
    Stacking(NOTEBOOK),
    Quantile(),
)

CATALOGUE: Mapping[str, Model] = MappingProxyType({model.name: model for model in _MODELS})
"""By name, in the order in which tables and documents list them."""
