"""`notebook`: its document, key by key."""

from __future__ import annotations

from typing import Literal

import msgspec

from tests.cli.conftest import Files
from tests.cli.run_command import preptime

MODELS = ["rf", "gbr", "cat", "xgb", "stacking"]


class Row(msgspec.Struct, forbid_unknown_fields=True):
    """The metrics of a model."""

    feature_set: Literal[1, 2]
    model: str
    r2: float
    mse: float
    published_r2: float | None


class CrossValidated(msgspec.Struct, forbid_unknown_fields=True):
    """The cross-validation score of a model."""

    model: str
    r2_mean: float
    r2_std: float
    published_r2: float | None


class Document(msgspec.Struct, forbid_unknown_fields=True):
    """The document of `notebook --json`. All keys are required, and there are no others."""

    n: int
    rows: list[Row]
    cross_validation_scores: list[CrossValidated]


def test_notebook_document_has_required_keys(files: Files) -> None:
    result = preptime("notebook", *files.options, "--json").succeeded()
    document = result.document(Document)
    assert [(row.feature_set, row.model) for row in document.rows] == [(1, "rf"), *((2, name) for name in MODELS)]
    assert [row.published_r2 for row in document.rows] == [0.287, 0.337, 0.345, 0.353, 0.343, None]
    assert [fold.model for fold in document.cross_validation_scores] == MODELS
    assert result.err.startswith("Reading the orders\nFitting the notebook's models\n")
    assert "Differences from the published run:" in result.err
