"""The report's pieces of HTML. Everything that came from data passes through `text` on its way here."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from preptime.evaluation.documents import Score
from preptime.evaluation.metrics import BIAS, MAE, MEDIAN_AE, R2, RMSE, WITHIN_5_MIN, PointMetric
from preptime.evaluation.verdict import NO_VALUE, format_minutes, format_percent

_COLUMNS = (
    (MAE, "mean error, min"),
    (WITHIN_5_MIN, "within 5 min"),
    (MEDIAN_AE, "half within, min"),
    (BIAS, "bias, min"),
    (R2, "R²"),
    (RMSE, "RMSE, min"),
)
_BOLD_BEST_METRICS = (MAE, MEDIAN_AE, RMSE, R2, WITHIN_5_MIN)


def escape(value: object) -> str:
    """`value` as text in HTML, quotes included."""
    return html.escape(str(value), quote=True)


def tile(value: str, unit: str, label: str) -> str:
    """A large figure with its label."""
    return f'<div class="tile"><b>{escape(value)}<small> {escape(unit)}</small></b><span>{escape(label)}</span></div>'


def definition_list(entries: Iterable[tuple[str, str]]) -> str:
    """Name and value, pair by pair."""
    return "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in entries)


def chart_figure(title: str, caption: str, wide: str, narrow: str) -> str:
    """A picture drawn twice, for wide and for narrow pages, with one sentence that says what it shows."""
    return (
        f'<figure class="card"><h3>{escape(title)}</h3><p class="caption">{escape(caption)}</p>'
        f'<div class="wide">{wide}</div><div class="narrow">{narrow}</div></figure>'
    )


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are HTML already; the first of each row names it."""
    head = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in headings)
    body = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in other_cells)}</tr>'
        for first, *other_cells in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def bar_cell(share: float, content: str) -> str:
    """A cell with a bar behind its content; `share` of the cell's width."""
    return f'<span class="bar" style="--share:{min(max(share, 0.0), 1.0):.3f}">{content}</span>'


def score_table(rows: Sequence[Score], default_model: str) -> str:
    """Each model beside the baselines; the best figure of a column is bold, the default model is marked."""
    largest = max((row.mae for row in rows if row.mae is not None), default=0.0)
    return table(
        ["model", *(heading for _, heading in _COLUMNS)],
        (
            [_model_cell(row, default_model), *(_score_cell(row, metric, rows, largest) for metric, _ in _COLUMNS)]
            for row in rows
        ),
    )


def _model_cell(row: Score, default_model: str) -> str:
    if row.name == default_model:
        return f'{escape(row.name)} <i class="tag">default</i>'
    return f"{escape(row.name.replace('_', ' '))}{' <i>baseline</i>' if row.kind == 'baseline' else ''}"


def _score_cell(row: Score, metric: PointMetric, rows: Sequence[Score], largest: float) -> str:
    value = _value(row, metric)
    formatted = _format_value(value, metric)
    if (
        metric in _BOLD_BEST_METRICS
        and value is not None
        and not any(metric.is_better(_value(o, metric), value) for o in rows)
    ):
        formatted = f"<strong>{formatted}</strong>"
    return bar_cell(value / largest, formatted) if metric is MAE and value is not None and largest else formatted


def _value(row: Score, metric: PointMetric) -> float | None:
    value: float | None = getattr(row, metric.name)
    return value


def _format_value(value: float | None, metric: PointMetric) -> str:
    if value is None:
        return NO_VALUE
    if metric.unit == "s":
        sign = "+" if metric is BIAS and value > 0 else ""
        return f'<span title="{value:.1f} s">{sign}{format_minutes(value, 2)}</span>'.replace("-", "−")
    return format_percent(value) if metric.unit == "share" else f"{round(value, 3) + 0.0:.3f}".replace("-", "−")
