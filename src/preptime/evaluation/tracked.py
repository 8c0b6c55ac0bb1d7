"""An evaluation as small files that a tool for experiments compares: numbers by name, and tables to plot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from preptime.evaluation.documents import BacktestDocument, Score

METRICS = "metrics.json"
MODELS = "models.csv"
CALIBRATION = "calibration.csv"
HOURS = "hours.csv"

_DIGITS = 4
"""Seconds to a tenth of a millisecond: what is left differs between no two machines that fit the same."""

Numbers = dict[str, float | None]


def metrics(document: BacktestDocument) -> dict[str, Numbers]:
    """Figures by model or baseline, over labels up to 3 h; the interval and the quantiles beside them."""
    found = {score.name: _of_score(score) for score in document.scores if score.labels == "up_to_3h"}
    found["interval"] = {
        "coverage": _rounded(document.interval.coverage),
        "median_width_seconds": _rounded(document.interval.median_width_seconds),
    }
    found["coverage"] = {f"p{one.p * 100:.0f}": _rounded(one.coverage) for one in document.quantiles}
    found["pinball_seconds"] = {f"p{one.p * 100:.0f}": _rounded(one.pinball) for one in document.quantiles}
    return found


def write_tracked(folder: Path, document: BacktestDocument) -> None:
    """Write the metrics and the tables into `folder`. The same document gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(metrics(document), indent=1, sort_keys=True)
    (folder / METRICS).write_text(f"{text}\n", encoding="utf-8", newline="\n")
    scores = [score for score in document.scores if score.labels == "up_to_3h"]
    _table(folder / MODELS, ("model", "mae_seconds"), [(one.name, one.mae) for one in scores])
    promised = [(one.p, one.coverage) for one in document.quantiles]
    _table(folder / CALIBRATION, ("promised", "found"), promised)
    hours = [one for one in document.segments if one.segment == "hour" and one.n]
    ordered = sorted(hours, key=lambda one: int(one.value))
    names = ("hour", "orders", "mae_seconds", "lookup_mae_seconds")
    _table(folder / HOURS, names, [(int(one.value), one.n, one.mae, one.lookup_mae) for one in ordered])


def _of_score(score: Score) -> Numbers:
    return {
        "mae_seconds": _rounded(score.mae),
        "median_ae_seconds": _rounded(score.median_ae),
        "rmse_seconds": _rounded(score.rmse),
        "r2": _rounded(score.r2),
        "bias_seconds": _rounded(score.bias),
        "within_5_min": _rounded(score.within_5_min),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _DIGITS)


def _table(path: Path, names: Sequence[str], rows: Sequence[Sequence[str | float | None]]) -> None:
    lines = [",".join(names), *(",".join(_cell(value) for value in row) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def _cell(value: str | float | None) -> str:
    if value is None:
        return ""
    return str(_rounded(value)) if isinstance(value, float) else str(value)
