"""Names of columns: which ones are results of scoring, and free names for those that a table uses itself."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from preptime.domain.orders import DEFAULT_MODEL, QUANTILE_LEVELS
from preptime.models.catalogue import CATALOGUE
from preptime.scoring.explanation_columns import is_explanation_column
from preptime.scoring.scorer import (
    FALLBACK_LEVEL,
    PREDICTED_READY_AT,
    PREDICTED_SECONDS,
    PREDICTION_BUNDLE,
    PREDICTION_LIVE,
    PREDICTION_REASON,
    RESTAURANT_DIFFERS,
    model_column,
    quantile_column,
)
from preptime.scoring.travel_column import DISPATCH_COLUMNS

_FILE_SUFFIX = " (file)"
RESULT_COLUMNS = frozenset(
    (
        *(PREDICTED_SECONDS, PREDICTED_READY_AT, FALLBACK_LEVEL, RESTAURANT_DIFFERS),
        *(PREDICTION_REASON, PREDICTION_BUNDLE, PREDICTION_LIVE),
        *DISPATCH_COLUMNS,
        *(quantile_column(level) for level in QUANTILE_LEVELS),
        *(model_column(name) for name in CATALOGUE if name != DEFAULT_MODEL),
    )
)
"""The columns that scoring can write, without those of explanations and of custom models."""


def is_result_column(name: str, models: Collection[str] = ()) -> bool:
    """Return whether scoring writes a column of this name, so that a file has it from an earlier scoring.

    `models` are custom models. Any name can be one of a custom model, so `predicted_travel_seconds` is a result only
    if `travel` is in `models`.
    """
    is_of_model = name in {model_column(model) for model in models}
    return name in RESULT_COLUMNS or is_explanation_column(name) or is_of_model


def unique_name(name: str, taken: Collection[str], *, prefix: str = "", suffix: str = "") -> str:
    """Return `name`, with the prefix and the suffix repeated until it isn't one of the `taken` names.

    Example:
        >>> unique_name("row", {"row", "row (file)"}, suffix=" (file)")
        'row (file) (file)'
    """
    while name in taken:
        name = f"{prefix}{name}{suffix}"
    return name


def file_column_names(columns: Sequence[str], table_columns: Collection[str]) -> dict[str, str]:
    """Return the name of each column of a file in a table that has columns of its own.

    A name that the table uses itself gets the suffix ` (file)`.
    """
    taken = {*columns, *table_columns}
    names: dict[str, str] = {}
    for column in columns:
        names[column] = unique_name(column, taken, suffix=_FILE_SUFFIX) if column in table_columns else column
        taken.add(names[column])
    return names
