"""The ranges in which `preptime tune` searches the hyperparameters of a model.

A model of the catalogue has its ranges here. A custom model declares its own in its class, without an import:
`search_space = {"depth": (2, 8), "learning_rate": (0.01, 0.3, "log"), "loss": ["absolute", "squared"]}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from preptime.errors import UsageError
from preptime.models.catalogue import hyperparameters, models_of
from preptime.models.custom import CustomModel
from preptime.models.model import Model
from preptime.schema.schema import ModelSettings

ParameterValue: TypeAlias = int | float | str | bool
Parameters: TypeAlias = dict[str, ParameterValue]
"""Hyperparameters by the name of the model's field."""


class NumberRange(msgspec.Struct, frozen=True, tag=True):
    """The numbers from `low` through `high`: whole numbers if both are."""

    low: int | float
    high: int | float
    is_log: bool = False
    """Whether the logarithm is drawn, so that 0.01 to 0.1 is as likely as 0.1 to 1."""

    @property
    def is_whole(self) -> bool:
        """Whether the numbers are whole."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def including(self, value: ParameterValue) -> NumberRange:
        """Return the range, extended to a current value outside of it."""
        if isinstance(value, str):
            return self
        return msgspec.structs.replace(self, low=min(self.low, value), high=max(self.high, value))


class Choices(msgspec.Struct, frozen=True, tag=True):
    """Values without an order."""

    values: tuple[ParameterValue, ...]

    def including(self, value: ParameterValue) -> Choices:
        """Return the choices, with a current value that isn't one of them."""
        return self if value in self.values else Choices((*self.values, value))


SearchSpace: TypeAlias = dict[str, NumberRange | Choices]
"""The range of each searched hyperparameter, by the name of the model's field."""

_BOOSTING: SearchSpace = {
    "tree_count": NumberRange(50, 400, is_log=True),
    "learning_rate": NumberRange(0.02, 0.3, is_log=True),
    "depth": NumberRange(2, 8),
}
"""Each range is about a third to three times the defaults, which are the notebook's."""

SEARCH_SPACES: Mapping[str, SearchSpace] = {
    "rf": {
        "min_samples_split": NumberRange(2, 40, is_log=True),
        "max_leaf_nodes": NumberRange(20, 500, is_log=True),
    },
    "gbr": _BOOSTING | {"depth": NumberRange(2, 6)},
    "cat": _BOOSTING,
    "xgb": _BOOSTING,
    "quantile": {
        "tree_count": NumberRange(100, 600, is_log=True),
        "learning_rate": NumberRange(0.015, 0.2, is_log=True),
        "depth": NumberRange(3, 6),  # deeper trees take seconds to explain: `explanations.tree_shap.MAX_TABLE_SPLITS`
        "column_fraction": NumberRange(0.2, 1.0),
    },
}
"""The ranges of the catalogue's models. The number of trees of `rf` has none: more trees only cost more time."""

_EXAMPLE = 'search_space = {"depth": (2, 8)}'
_EXPECTED = 'expected (low, high), (low, high, "log"), or a list of values'


def search_space(model: Model, name: str) -> SearchSpace:
    """Return the ranges of a model.

    Args:
        model: The model.
        name: Its name in the schema.

    Raises:
        UsageError: The model has no ranges, or a range isn't valid.

    Example:
        >>> from preptime.models.quantile import QuantileModel
        >>> search_space(QuantileModel(), "quantile")["depth"]
        NumberRange(low=3, high=6, is_log=False)
    """
    is_custom = isinstance(model, CustomModel)
    declared = _declared_space(model) if isinstance(model, CustomModel) else SEARCH_SPACES.get(name)
    if declared is None:
        raise UsageError(
            f"The model {name} has no ranges of hyperparameters to search.",
            f"Add search_space to its class, such as {_EXAMPLE}."
            if is_custom
            else f"Models of the catalogue with ranges: {', '.join(SEARCH_SPACES)}.",
        )
    space = SEARCH_SPACES[name] if not is_custom else _read_space(declared, name)
    current = hyperparameters(model)
    for field in space:
        if field not in current:
            raise UsageError(
                f"search_space of the model {name} has {field!r}, which isn't one of its hyperparameters with a value.",
                f"Hyperparameters: {', '.join(current) or 'none'}.",
            )
    return space


def _declared_space(model: CustomModel) -> object:
    """Return `search_space` of a new object of the model's class, or None."""
    with model.code.run("the constructor"):
        return getattr(model.create(), "search_space", None)


def model_with(models: Mapping[str, ModelSettings], name: str, parameters: Parameters) -> Model:
    """Return a model of a schema with other hyperparameters, as training builds it (`models_of`).

    Raises `UsageError` for an unknown name, with the most similar one, and for a wrong value.
    """
    changed = dict(models)
    if parameters:
        settings = models.get(name, ModelSettings())
        changed[name] = msgspec.structs.replace(settings, parameters={**settings.parameters, **parameters})
    return models_of(changed, names=[name])[name]


def default_parameters(models: Mapping[str, ModelSettings], name: str, space: SearchSpace) -> Parameters | None:
    """Return the defaults of the searched hyperparameters, or None if one has no default."""
    settings = models.get(name, ModelSettings())
    kept = {field: value for field, value in settings.parameters.items() if field not in space}
    try:
        model = models_of({**models, name: msgspec.structs.replace(settings, parameters=kept)}, names=[name])[name]
    except UsageError:  # a custom class without a default
        return None
    return {field: value for field, value in hyperparameters(model).items() if field in space}


def _read_space(declared: object, name: str) -> SearchSpace:
    """Return the ranges that a class declares."""
    if not isinstance(declared, Mapping):
        raise UsageError(
            f"search_space of the model {name} is {declared!r}; expected ranges by field.",
            f"Write it as {_EXAMPLE}.",
        )
    return {str(field): _read_range(value, str(field), name) for field, value in declared.items()}


def _read_range(value: object, field: str, name: str) -> NumberRange | Choices:
    if isinstance(value, list) and value and all(isinstance(item, int | float | str) for item in value):
        return Choices(tuple(value))
    numbers = value[:2] if isinstance(value, tuple) else ()
    is_log = isinstance(value, tuple) and value[2:] == ("log",)
    is_range = len(numbers) == 2 and all(type(number) in {int, float} for number in numbers)
    if not isinstance(value, tuple) or not is_range or not (is_log or len(value) == 2):
        raise UsageError(f"search_space of the model {name}: {field} is {value!r}; {_EXPECTED}.", "Change the range.")
    low, high = numbers
    if not low < high or (is_log and low <= 0):
        wanted = "0 < low < high" if is_log else "low < high"
        raise UsageError(f"search_space of the model {name}: {field} is {value!r}; expected {wanted}.", "Change it.")
    return NumberRange(low, high, is_log)
