"""The check of models on few rows: fit, predict, export, and compare, before any fit that takes minutes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from preptime.errors import PreptimeError, UsageError
from preptime.models.custom import CustomModel
from preptime.models.fitting import fit_all
from preptime.models.model import FittedModel, Model, StackedModel
from preptime.models.onnx_export import check_batch_invariance, check_parity, merge_to_onnx

CHECKED_ROWS = 60
SINGLE_ROWS = 10
"""Rows that are also predicted alone."""
_CUSTOM_HINT = "The requirements are in docs/custom-models.md."


def check_models(models: Mapping[str, Model], X: NDArray[np.float32], y: NDArray[np.float64], *, seed: int) -> None:
    """Fit each model on at most `CHECKED_ROWS` rows of X [N, F] and y [N] seconds, and check predictions and export.

    The predictions must be finite and not negative, and the same bits for a row in every batch. The exported graph must
    predict the same. A custom model must also give the same bits with the same seed.

    Raises:
        UsageError: A model fails. The message has the model's name, the step, and what is required.
        OperationError: The export of a model differs from it, or contains other nodes than expected.
    """
    rows = np.linspace(0, len(X) - 1, min(len(X), CHECKED_ROWS)).astype(np.intp)
    X, y = np.ascontiguousarray(X[rows]), y[rows]
    if len(X) < 2 or (X[0] == X).all():
        return  # the fit on all rows reports it, if all rows are identical
    fitted: dict[str, FittedModel] = {}
    for name, model in models.items():
        bases = {base.name: base for base in model.models} if isinstance(model, StackedModel) else {}
        with _step(name, "fit", len(X)):
            known = {base: fitted[base] for base in bases if base in fitted and models.get(base) == bases[base]}
            if isinstance(model, StackedModel):
                fitted[name] = model.fit_with_bases(known, X, y, threads=1, seed=seed)
            else:
                fitted.update(fit_all({name: model}, X, y, threads=1, seed=seed))
        if isinstance(model, CustomModel):
            predicted = _check_predictions(name, fitted[name], X)
            with _step(name, "second fit with the same seed", len(X)):
                second = model.fit(X, y, threads=2, seed=seed)
                _check_same_bits(second.predict(X), predicted)
                _check_unchanged(fitted[name].predict(X), predicted)
        _check_export(name, fitted[name], X)
        if isinstance(model, CustomModel):
            _check_batches(name, fitted[name], X)


def _check_predictions(name: str, fitted: FittedModel, X: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the predictions, checked."""
    with _step(name, "predict", len(X)):
        predicted = fitted.predict(X)
        if not np.isfinite(predicted).all():
            row = int(np.argwhere(~np.isfinite(predicted))[0][0])
            raise UsageError(
                f"Expected finite seconds, found {predicted[row]} in row {row}.", f"Change predict. {_CUSTOM_HINT}"
            )
        for row in range(min(SINGLE_ROWS, len(X))):
            alone = fitted.predict(X[row : row + 1])[0]
            if not np.array_equal(alone, predicted[row]):
                raise UsageError(
                    f"Row {row} is {predicted[row]} s in a batch, and {alone} s alone. Expected the same bits.",
                    f"Predict each row independently of the others. {_CUSTOM_HINT}",
                )
    with _step(name, "importance", len(X)):
        fitted.importance()
    return predicted


def _check_same_bits(first: NDArray[np.float32], second: NDArray[np.float32]) -> None:
    if not np.array_equal(first, second):
        raise UsageError(
            "The two fits predict different seconds. Expected the same bits.",
            f"Pass seed to every library that draws random numbers. {_CUSTOM_HINT}",
        )


def _check_unchanged(later: NDArray[np.float32], predicted: NDArray[np.float32]) -> None:
    if not np.array_equal(later, predicted):
        raise UsageError(
            "The second fit changed the predictions of the first one. Expected the same bits.",
            f"Keep what fit learns in the object that it returns, not in the class or the file. {_CUSTOM_HINT}",
        )


def _check_export(name: str, fitted: FittedModel, X: NDArray[np.float32]) -> None:
    with _step(name, "export to ONNX", len(X)):
        graph = merge_to_onnx({name: fitted}, X.shape[1])
    with _step(name, "parity of the ONNX graph", len(X)):
        check_parity(graph, {name: fitted}, X)


def _check_batches(name: str, fitted: FittedModel, X: NDArray[np.float32]) -> None:
    """Check that the graph gives a row the same bits alone and in a batch."""
    graph = merge_to_onnx({name: fitted}, X.shape[1])
    with _step(name, "ONNX graph in other batches", len(X)):
        check_batch_invariance(graph, name, X)


@contextmanager
def _step(name: str, step: str, rows: int) -> Iterator[None]:
    """Add the model and the step to errors, and raise errors of libraries as `UsageError`."""
    where = f"The model {name} failed its check on {rows} rows, at the step {step!r}."
    try:
        yield
    except PreptimeError as error:
        raise type(error)(f"{where} {error.facts}", error.hint) from error
    except Exception as error:
        first = (str(error).splitlines() or ["no message"])[0][:300]
        raise UsageError(
            f"{where} {type(error).__name__}: {first}", f"Change its hyperparameters in [models.{name}] of schema.toml."
        ) from error
