"""`notebook`: the document that others read, key by key."""

from __future__ import annotations

from typing import Literal

import msgspec

from tests.cli.conftest import Files
from tests.cli.run_command import preptime

FIVE = ["rf", "gbr", "cat", "xgb", "stacking"]


class Row(msgspec.Struct, forbid_unknown_fields=True):
    """As issue 2 has it."""

    feature_set: Literal[1, 2]
    model: str
    r2: float
    mse: float
    published_r2: float | None


class CrossValidated(msgspec.Struct, forbid_unknown_fields=True):
    """As issue 2 has it."""

    model: str
    r2_mean: float
    r2_std: float
    published_r2: float | None


class Document(msgspec.Struct, forbid_unknown_fields=True):
    """As issue 2 has it: every key must be there, and no other may be."""

    n: int
    rows: list[Row]
    cross_validation_scores: list[CrossValidated]


def test_the_document_has_the_keys_that_others_rely_on(files: Files) -> None:
    ran = preptime("notebook", *files.options, "--json").succeeded()
    document = ran.document(Document)
    assert [(row.feature_set, row.model) for row in document.rows] == [(1, "rf"), *((2, name) for name in FIVE)]
    assert [row.published_r2 for row in document.rows] == [0.287, 0.337, 0.345, 0.353, 0.343, None]
    assert [fold.model for fold in document.cross_validation_scores] == FIVE
    assert ran.err.startswith("Reading the orders\nFitting the notebook's models\n")
    assert "What differs from the published run, and why:" in ran.err
