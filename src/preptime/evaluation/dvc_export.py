"""Export of an evaluation for DVC: metrics by name, and CSV tables to plot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from preptime.atomic_write import write_bytes
from preptime.evaluation.documents import BacktestDocument, Score
from preptime.evaluation.summary_text import shown_arrivals

METRICS_FILE = "metrics.json"
MODELS_FILE = "models.csv"
CALIBRATION_FILE = "calibration.csv"
HOURS_FILE = "hours.csv"

_DIGITS = 4
"""Rounds seconds to a tenth of a millisecond, so that machines that fit the same model write the same bytes."""

MetricValues = dict[str, float | None]


def dvc_metrics(document: BacktestDocument) -> dict[str, MetricValues]:
    """Return metrics over labels up to 3 h by model or baseline, of interval and quantiles, and waiting costs."""
    values = {score.name: _score_metrics(score) for score in document.scores if score.labels == "up_to_3h"}
    values["interval"] = {
        "coverage": _rounded(document.interval.coverage),
        "median_width_seconds": _rounded(document.interval.median_width_seconds),
    }
    values["coverage"] = {f"p{quantile.p * 100:.0f}": _rounded(quantile.coverage) for quantile in document.quantiles}
    values["pinball_seconds"] = {
        f"p{quantile.p * 100:.0f}": _rounded(quantile.pinball) for quantile in document.quantiles
    }
    for cost in document.waiting_costs:
        name = f"waiting_cost_seconds_{cost.courier_cost:g}_to_{cost.food_cost:g}"
        values[name] = {arrival: _rounded(getattr(cost, arrival)) for arrival in shown_arrivals([cost])}
    return values


def write_dvc_files(folder: Path, document: BacktestDocument) -> None:
    """Write metrics and tables to `folder`, each file atomically. The same document gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(dvc_metrics(document), indent=1, sort_keys=True)
    write_bytes(folder / METRICS_FILE, f"{text}\n".encode())
    scores = [score for score in document.scores if score.labels == "up_to_3h"]
    _write_csv(folder / MODELS_FILE, ("model", "mae_seconds"), [(item.name, item.mae) for item in scores])
    calibration = [(item.p, item.coverage) for item in document.quantiles]
    _write_csv(folder / CALIBRATION_FILE, ("nominal", "observed"), calibration)
    hours = [item for item in document.segments if item.segment == "hour" and item.n]
    sorted_hours = sorted(hours, key=lambda item: int(item.value))
    columns = ("hour", "orders", "mae_seconds", "lookup_mae_seconds")
    _write_csv(
        folder / HOURS_FILE, columns, [(int(item.value), item.n, item.mae, item.lookup_mae) for item in sorted_hours]
    )


def _score_metrics(score: Score) -> MetricValues:
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


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[str | float | None]]) -> None:
    lines = [",".join(columns), *(",".join(_format_cell(value) for value in row) for row in rows)]
    write_bytes(path, ("\n".join(lines) + "\n").encode())


def _format_cell(value: str | float | None) -> str:
    if value is None:
        return ""
    return str(_rounded(value)) if isinstance(value, float) else str(value)
