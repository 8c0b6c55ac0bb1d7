"""The notebook's reproduction in words: ours beside the published figures, and why they differ."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from preptime.training.notebook import ESTIMATOR_SEED, PUBLISHED_CAT_MSE, PUBLISHED_ORDERS, SPLIT_SEED, Reproduction
from preptime.training.notebook_rows import ORDER_COUNT_THRESHOLD

PUBLISHED_DAYS = ("2015-06-01", "2015-06-30")
LIBRARIES = ("scikit-learn", "catboost", "xgboost-cpu", "xgboost", "numpy")


def render_text(reproduction: Reproduction) -> str:
    """Tables, then a sentence per difference; every number in it is of this run or published."""
    return (
        "\n".join(
            [
                *_render_cleaning(reproduction),
                "",
                *_render_score_tables(reproduction),
                "",
                *_explain_differences(reproduction),
            ]
        )
        + "\n"
    )


def _render_cleaning(reproduction: Reproduction) -> Iterator[str]:
    yield f"{'orders':>8}  after"
    for step in reproduction.rows.steps:
        yield f"{step.orders:>8,}  {step.description}"


def _render_score_tables(reproduction: Reproduction) -> Iterator[str]:
    document = reproduction.document
    yield f"{'set':>3}  {'model':<8}  {'R² here':>8}  {'published':>9}  {'difference':>10}  {'MSE, s²':>9}"
    for row in document.rows:
        prefix = f"{row.feature_set:>3}  {row.model:<8}  {_format_r2(row.r2):>8}  {_format_r2(row.published_r2):>9}"
        yield f"{prefix}  {_format_difference(row.r2, row.published_r2):>10}  {row.mse:>9,.0f}"
    yield ""
    yield f"{'3-fold':<13}  {'R² here':>8}  {'published':>9}  {'difference':>10}  {'± folds':>9}"
    for fold in document.cross_validation_scores:
        prefix = f"     {fold.model:<8}  {_format_r2(fold.r2_mean):>8}  {_format_r2(fold.published_r2):>9}"
        yield f"{prefix}  {_format_difference(fold.r2_mean, fold.published_r2):>10}  {fold.r2_std:>9.3f}"


def _explain_differences(reproduction: Reproduction) -> Iterator[str]:
    yield "What differs from the published run, and why:"
    yield f"- {_explain_orders(reproduction)}"
    largest = max(
        abs(reproduced - published)
        for reproduced, published in [
            *((row.r2, row.published_r2) for row in reproduction.document.rows),
            *((fold.r2_mean, fold.published_r2) for fold in reproduction.document.cross_validation_scores),
        ]
        if published is not None
    )
    yield (
        f"- The largest difference of R² is {largest:.3f}; another draw of the test rows alone moves a test R² by "
        f"about {reproduction.r2_standard_error:.3f} (standard error, bootstrap of the test rows)."
    )
    yield (
        f"- The published run names one seed, the split's ({SPLIT_SEED}), and CatBoost's is its library's default; "
        f"those of the forest, the boosting and the stacking are unknown, here they are {ESTIMATOR_SEED}."
    )
    yield f"- The published run's library versions are unknown; here: {', '.join(_library_versions())}."
    yield f"- Stacking's test row was not published. CatBoost's MSE was: {PUBLISHED_CAT_MSE:,} s²."


def _explain_orders(reproduction: Reproduction) -> str:
    rows = reproduction.rows
    orders_read = rows.steps[0].orders
    is_subset = (
        rows.first_day >= PUBLISHED_DAYS[0] and rows.last_day <= PUBLISHED_DAYS[1] and orders_read <= PUBLISHED_ORDERS
    )
    description = f"{orders_read:,} orders of {rows.first_day} to {rows.last_day}"
    if not is_subset:
        return (
            f"The published figures are of other data ({PUBLISHED_ORDERS:,} orders of {' to '.join(PUBLISHED_DAYS)}; "
            f"here {description}): they are shown for orientation and say nothing about this run."
        )
    if orders_read == PUBLISHED_ORDERS:
        return f"As many orders as published, {description}: if they are the same ones, so is the split."
    missing_text = f"{PUBLISHED_ORDERS - orders_read:,} fewer than the published {PUBLISHED_ORDERS:,}"
    return (
        f"Here {description}, {missing_text}. If these are among those, other restaurants pass {ORDER_COUNT_THRESHOLD} orders and the same seed "
        "deals other test rows; on any other data the published column says nothing."
    )


def _library_versions() -> Iterator[str]:
    yield f"Python {platform.python_version()}"
    for library in LIBRARIES:
        try:
            yield f"{library} {version(library)}"
        except PackageNotFoundError:
            continue  # xgboost-cpu and xgboost stand in for each other


def _format_r2(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _format_difference(reproduced: float, published: float | None) -> str:
    return "–" if published is None else f"{round(reproduced - published, 3) + 0.0:+.3f}"
