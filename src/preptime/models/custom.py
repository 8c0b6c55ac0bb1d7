"""Custom models: classes of a user's own file, which `[models]` in `schema.toml` names (docs/custom-models.md).

A class has `fit`, and its result has `predict` and `to_onnx`. Everything else is done here: names and shapes, clipping,
calibration, the order of quantiles, importance, and messages. The code never enters a bundle: a bundle has the exported
graph, the hyperparameters, and the name and hash of the file.
"""

from __future__ import annotations

import datetime as dt
import difflib
import hashlib
import importlib.util
import inspect
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from preptime.domain.orders import DEFAULT_MODEL, MEDIAN_INDEX, QUANTILE_LEVELS
from preptime.errors import UsageError
from preptime.models.model import FittedModel, as_seconds, check_training_rows, normalized_shares
from preptime.models.quantile import FittedQuantileModel
from preptime.models.user_code import PROTOCOL, UserCode
from preptime.schema.keys import expected_number, find_line
from preptime.schema.schema import ModelSettings

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

IMPORTANCE_ROWS = 500
"""Rows for the permutation importance of a model that doesn't report its own."""

Parameters = Mapping[str, int | float | str | bool]


@dataclass(frozen=True)
class CustomModel(ABC):
    """A model of a user's class, or an offered graph."""

    libraries: ClassVar[tuple[str, ...]] = ()

    name: str
    create: Callable[[], Any]
    """Returns a new object with `fit`. Each fit has its own, because a `fit` can return its object."""
    code: UserCode
    parameters: Parameters
    sha256: str
    """Of the file."""
    fitted_through: dt.date | None = None
    """For an offered graph: the last day that it was fitted on. Only later days can calibrate and evaluate it."""

    @abstractmethod
    def fit(self, X: NDArray[np.float32], y: NDArray[np.float64], *, threads: int, seed: int) -> FittedModel:
        """Return the fitted model. Raises `UsageError` if the class fails or returns another kind of object."""


class CustomPointModel(CustomModel):
    """A custom model that predicts [N]."""

    def fit(self, X: NDArray[np.float32], y: NDArray[np.float64], *, threads: int, seed: int) -> FittedCustomModel:
        """Return the fitted model. Raises `UsageError` as `CustomModel.fit`."""
        return FittedCustomModel(_fit(self, X, y, threads, seed))


class CustomQuantileModel(CustomModel):
    """A custom model that predicts [N, 4] and replaces the model `quantile`. It's calibrated in the same way."""

    def fit(self, X: NDArray[np.float32], y: NDArray[np.float64], *, threads: int, seed: int) -> FittedQuantileModel:
        """Return the fitted model, uncalibrated. Raises `UsageError` as `CustomModel.fit`."""
        return FittedQuantileModel(CustomQuantiles(_fit(self, X, y, threads, seed)))


@dataclass(frozen=True)
class FittedClass:
    """The object that a user's `fit` returned, with checks of what it returns."""

    code: UserCode
    fitted: Any
    columns: int
    """Of a prediction: 1, or 4 for quantiles."""
    X: NDArray[np.float32]
    """Some of the fitted rows, for the permutation importance."""
    y: NDArray[np.float64]

    @property
    def n_features(self) -> int:
        """The number of feature columns, F."""
        return int(self.X.shape[1])

    def predict(self, X: NDArray[np.float32]) -> NDArray[np.floating]:
        """Return the numbers of the class, [N] or [N, 4]. Raises `UsageError` for another shape."""
        with self.code.run("predict"):
            output = np.asarray(self.fitted.predict(X.copy()))  # the class can change it in place
        expected = (len(X),) if self.columns == 1 else (len(X), self.columns)
        if self.columns == 1 and output.shape == (len(X), 1):
            output = output[:, 0]
        if output.shape != expected or output.dtype.kind not in "fiu":
            hint = PROTOCOL
            if output.shape == (len(X), len(QUANTILE_LEVELS)):
                hint = (
                    "A model of quantiles replaces the default prediction: "
                    f'[models] {DEFAULT_MODEL} = "{self.code.path.name}:{self.code.class_name}".'
                )
            raise self.code.fail(
                f"predict returned {output.dtype} of shape {output.shape} for {len(X)} rows; expected numbers of shape "
                f"{expected}",
                hint,
            )
        return output

    def to_onnx(self) -> ModelProto:
        """Return the graph of the class. Raises `UsageError` if it isn't an ONNX model."""
        from onnx import ModelProto

        with self.code.run("to_onnx"):
            model = self.fitted.to_onnx()
            if isinstance(model, bytes):
                model = ModelProto.FromString(model)
        if not isinstance(model, ModelProto):
            raise self.code.fail(f"to_onnx returned {type(model).__name__}; expected an onnx.ModelProto or bytes")
        copy = ModelProto()
        copy.CopyFrom(model)
        return copy

    def importance(self) -> NDArray[np.float64]:
        """Return the importance of each feature, [F]: the class's own, else by permutation of each column."""
        if not hasattr(self.fitted, "importance"):
            return self._permutation_importance()
        with self.code.run("importance"):
            importance = np.asarray(self.fitted.importance(), np.float64)
        if importance.shape != (self.n_features,):
            raise self.code.fail(f"importance has shape {importance.shape}; expected ({self.n_features},)")
        return normalized_shares(importance)

    def _permutation_importance(self) -> NDArray[np.float64]:
        """Return how much the absolute error grows if a column is permuted, [F], as shares."""
        order = np.random.default_rng(len(self.X)).permutation(len(self.X))
        error = self._error(self.X)
        growth = np.zeros(self.n_features)
        for column in range(self.n_features):
            permuted = self.X.copy()
            permuted[:, column] = permuted[order, column]
            growth[column] = max(self._error(permuted) - error, 0.0)
        return normalized_shares(growth)

    def _error(self, X: NDArray[np.float32]) -> float:
        predicted = self.predict(X)
        return float(np.abs((predicted if self.columns == 1 else predicted[:, MEDIAN_INDEX]) - self.y).mean())


@dataclass(frozen=True)
class FittedCustomModel:
    """A fitted class as a point model: never negative, [N]."""

    inner: FittedClass

    def predict(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return seconds, [N]."""
        return as_seconds(self.inner.predict(X))

    def importance(self) -> NDArray[np.float64]:
        """Return the importance of each feature, [F], as shares with the sum 1."""
        return self.inner.importance()

    def to_onnx(self) -> ModelProto:
        """Return the graph with the names and shapes of preptime."""
        from preptime.models import graph_requirements

        return graph_requirements.point_model(self.inner.to_onnx(), self.inner.n_features)


@dataclass(frozen=True)
class CustomQuantiles:
    """A fitted class as the source of uncalibrated quantiles (`FittedQuantileModel.trees`)."""

    inner: FittedClass

    @property
    def n_features(self) -> int:
        """The number of feature columns, F."""
        return self.inner.n_features

    def predict_raw(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return seconds, [N, 4], unclipped."""
        return self.inner.predict(X).astype(np.float64)

    def importance(self) -> NDArray[np.float64]:
        """Return the importance of each feature, [F], as shares with the sum 1."""
        return self.inner.importance()

    def raw_nodes(self) -> tuple[list[NodeProto], list[TensorProto]]:
        """Return the nodes and constants that compute `raw`, float32 [N, 4]."""
        from preptime.models import graph_requirements

        return graph_requirements.quantile_nodes(self.inner.to_onnx(), self.n_features)


def load_class(name: str, settings: ModelSettings, folder: Path | None) -> CustomModel:
    """Return the custom model of a class, created with its hyperparameters. Each call executes the file again.

    The class of `quantile` predicts [N, 4], and the others [N].

    Raises `UsageError` if the file or the class is missing, the file fails, or a hyperparameter is wrong.
    """
    file, _, class_name = settings.source.rpartition(":")
    base = Path(settings.origin).parent if folder is None and settings.origin else folder or Path()
    code = UserCode(name, base / file, class_name, _place(settings, name))
    try:
        content = code.path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"The file {code.path} of the model {name} can't be read: {error.strerror} ({code.origin}).",
            "The path is relative to the folder of schema.toml.",
        ) from error
    loaded = getattr(_execute(code), class_name, None)
    if not inspect.isclass(loaded):
        raise code.fail("the file has no such class")
    if not callable(getattr(loaded, "fit", None)):
        raise code.fail("the class has no method fit")
    parameters = _parameters(code, loaded, settings)
    create = partial(loaded, **{key: value for key, value in parameters.items() if key in settings.parameters})
    with code.run("the constructor"):
        create()
    model_type = CustomQuantileModel if name == DEFAULT_MODEL else CustomPointModel
    return model_type(name, create, code, parameters, hashlib.sha256(content).hexdigest())


def _execute(code: UserCode) -> ModuleType:
    module_name = f"preptime_custom_{code.name}"
    with code.run("loading the file"):
        spec = importlib.util.spec_from_file_location(module_name, code.path.absolute())
        if spec is None or spec.loader is None:
            raise code.fail("Python can't load the file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module  # dataclasses need it
        spec.loader.exec_module(module)
    return module


def _parameters(code: UserCode, loaded: type, settings: ModelSettings) -> dict[str, int | float | str | bool]:
    """Return all hyperparameters: those of the settings, else the defaults. Raises `UsageError` for a wrong one."""
    accepted = {
        key: parameter.default
        for key, parameter in inspect.signature(loaded).parameters.items()
        if parameter.kind in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY} and key != "name"
    }
    for key, value in settings.parameters.items():
        place = _place(settings, code.name, key)
        if key not in accepted:
            similar = difflib.get_close_matches(key, accepted, 1)
            known = f"Its hyperparameters: {', '.join(accepted) or 'none'}."
            raise UsageError(
                f"{place}: {code.class_name} has no hyperparameter {key!r}.",
                f"Did you mean {similar[0]}?" if similar else known,
            )
        expected = expected_number(accepted[key], value)
        if expected is not None:
            raise UsageError(f"{place}: {key} is {value!r}; expected {expected}.", f"Write {key} as {expected}.")
    missing = [
        key
        for key, default in accepted.items()
        if default is inspect.Parameter.empty and key not in settings.parameters
    ]
    if missing:
        raise code.fail(
            f"the hyperparameter {missing[0]} has no value",
            f"Give it a default, or write [models.{code.name}] {missing[0]} = …",
        )
    values = {**accepted, **settings.parameters}
    return {key: value for key, value in values.items() if isinstance(value, int | float | str | bool)}


def _fit(model: CustomModel, X: NDArray[np.float32], y: NDArray[np.float64], threads: int, seed: int) -> FittedClass:
    """Return the fitted class. It gets its own copies of X and y, because it can change them in place."""
    check_training_rows(X, y)
    with model.code.run("fit"):
        fitted = model.create().fit(X.copy(), y.copy(), threads=threads, seed=seed)
    for method in ("predict", "to_onnx"):
        if not callable(getattr(fitted, method, None)):
            raise model.code.fail(f"fit returned {type(fitted).__name__}, which has no method {method}")
    rows = np.linspace(0, len(X) - 1, min(len(X), IMPORTANCE_ROWS)).astype(np.intp)
    columns = len(QUANTILE_LEVELS) if isinstance(model, CustomQuantileModel) else 1
    return FittedClass(model.code, fitted, columns, X[rows], y[rows])


def _place(settings: ModelSettings, *path: str) -> str:
    """Return the schema file and the line of a key in `[models]`, as far as they are known."""
    try:
        text = Path(settings.origin).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):  # a schema that isn't from a file
        return settings.origin
    return f"{settings.origin}, line {find_line(text, ('models', *path))}"
