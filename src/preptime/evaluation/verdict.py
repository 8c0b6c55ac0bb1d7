"""What the figures say, in plain words for people who don't read tables."""

from __future__ import annotations

from preptime.evaluation.documents import BacktestDocument, Score
from preptime.evaluation.evaluated import LABEL_SETS, LOOKUP, LabelSet
from preptime.evaluation.metrics import MAE
from preptime.evaluation.scores import coverage_in_band

NO_VALUE = "–"


def format_minutes(seconds: float | None, digits: int = 1) -> str:
    """Seconds as minutes for people, `–` where there is no value. Never a negative nought."""
    return NO_VALUE if seconds is None else f"{round(seconds / 60, digits) + 0.0:.{digits}f}"


def format_percent(share: float | None, digits: int = 1) -> str:
    """A share as a percentage for people, `–` where there is no value."""
    return NO_VALUE if share is None else f"{share:.{digits}%}".replace("%", "\N{NO-BREAK SPACE}%")


def find_score(document: BacktestDocument, name: str, labels: LabelSet = LABEL_SETS[0]) -> Score | None:
    """The row of the table for `name` over `labels`, if there is one."""
    return next((row for row in document.scores if (row.name, row.labels) == (name, labels)), None)


def summary_sentences(document: BacktestDocument) -> list[str]:
    """A few sentences: how close the answers are, how close the lookup, whether the interval keeps its promise."""
    default, lookup = find_score(document, document.default_model), find_score(document, LOOKUP)
    if default is None or default.median_ae is None:
        return ["No orders with a label were evaluated, so nothing can be said about how good the answers are."]
    within = f"{format_percent(default.within_5_min)} are within five."
    sentences = [
        f"Half of the answers are within {format_minutes(default.median_ae)} minutes of the truth, and {within}"
    ]
    if lookup is not None and default.mae is not None and lookup.mae:
        sentences.append(_lookup_sentence(default.mae, lookup.mae))
    return [*sentences, _interval_sentence(document), *_closer_models_sentences(document, default)]


def _lookup_sentence(mae: float, lookup_mae: float) -> str:
    share = format_percent(abs(1 - mae / lookup_mae), 0)
    prefix = f"An answer is {format_minutes(mae)} minutes off on average, the restaurant lookup {format_minutes(lookup_mae)}:"
    if MAE.is_better(mae, lookup_mae):
        return f"{prefix} the model is {share} closer."
    if MAE.is_better(lookup_mae, mae):
        return f"{prefix} the model is {share} farther off than a table of averages, and should not be used."
    return f"{prefix} no difference."


def _interval_sentence(document: BacktestDocument) -> str:
    coverage, level = document.interval.coverage, document.interval.level
    sentence = (
        f"p10–p90 holds {format_percent(coverage)} of the orders (promised {format_percent(level, 0)}) and is typically "
        f"{format_minutes(document.interval.median_width_seconds)} minutes wide"
    )
    return f"{sentence}." if coverage_in_band(coverage) else f"{sentence}: the promise is not kept."


def _closer_models_sentences(document: BacktestDocument, default: Score) -> list[str]:
    rivals = [row for row in document.scores if row.labels == default.labels and row.name != default.name]
    better_names = [row.name for row in rivals if MAE.is_better(row.mae, default.mae)]
    return [f"Closer on average: {', '.join(better_names)}."] if better_names else []
