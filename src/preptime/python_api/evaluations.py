"""The evaluation of models as data frames and charts: of a backtest, or of a bundle's gate."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl

from preptime.domain.orders import DEFAULT_MODEL
from preptime.domain.time_units import MINUTES, TimeUnit
from preptime.errors import UsageError
from preptime.evaluation import aggregates
from preptime.evaluation.documents import BacktestDocument
from preptime.evaluation.evaluated_orders import LABEL_SETS, EvaluatedOrders, build_backtest_document
from preptime.evaluation.metrics import REGRESSION_MIN_ORDERS
from preptime.evaluation.report_data import ReportData, summarize_predictions
from preptime.evaluation.summary_text import summary_sentences
from preptime.python_api.dataframes import FrameKind, from_polars

if TYPE_CHECKING:
    from preptime.evaluation.chart_set import NamedChart
    from preptime.evaluation.charts import Chart

CHART_PIXELS = 548


class Evaluation:
    """Metrics of all models and baselines on days that they weren't fitted on. Times are in seconds.

    The tables are data frames of the library of the input, or Polars frames for files.

    Example:
        >>> evaluation = training.bundle.evaluation
        >>> sorted(evaluation.tables)
        ['calibration', 'models', 'quantiles', 'segments', 'waiting_costs']
        >>> evaluation.charts
        ('density', 'errors', 'hours', 'calibration', 'segment-errors', 'segment-coverage', 'importance')
    """

    def __init__(
        self,
        document: BacktestDocument,
        report_data: ReportData | None,
        *,
        kind: FrameKind,
        unit: TimeUnit = MINUTES,
        feature_titles: Mapping[str, str] | None = None,
        orders: EvaluatedOrders | None = None,
    ) -> None:
        self.document = document
        """All values, as in the output of `preptime backtest --json`."""
        self._report_data = report_data
        self._kind: FrameKind = kind
        self._unit = unit
        self._feature_titles = feature_titles or {}
        self._orders = orders

    @property
    def models(self) -> Any:
        """The metrics by model and baseline, and by label set (docs/metrics.md)."""
        return self._table(self.document.scores)

    @property
    def quantiles(self) -> Any:
        """The coverage and the pinball loss by quantile."""
        return self._table(self.document.quantiles)

    @property
    def segments(self) -> Any:
        """The metrics of the default model and of the restaurant lookup by segment, for example by city."""
        rows = [
            {name: value for name, value in msgspec.structs.asdict(segment).items() if name != "quantiles"}
            for segment in self.document.segments
        ]
        return from_polars(pl.DataFrame(rows, infer_schema_length=None), self._kind)

    @property
    def calibration(self) -> Any:
        """The nominal and the observed coverage by quantile: over all orders, and by fallback level."""
        rows = aggregates.calibration_rows(self.document.segments, REGRESSION_MIN_ORDERS)
        return from_polars(pl.DataFrame(rows, infer_schema_length=None).drop("tip", strict=False), self._kind)

    @property
    def waiting_costs(self) -> Any:
        """The waiting cost by cost ratio, for each way to choose when a courier arrives (docs/metrics.md)."""
        return self._table(self.document.waiting_costs)

    @property
    def by_day(self) -> Any:
        """The metrics of the default model by day. Only a backtest has them.

        Raises:
            UsageError: This is the evaluation of a bundle.
        """
        if self._orders is None:
            raise UsageError(
                "The evaluation of a bundle has no metrics by day.", "Use preptime.backtest, whose result has them."
            )
        return from_polars(_daily_metrics(self._orders), self._kind)

    @property
    def tables(self) -> dict[str, Any]:
        """All tables by name."""
        names = ["models", "quantiles", "segments", "calibration", "waiting_costs"]
        return {name: getattr(self, name) for name in (*names, *([] if self._orders is None else ["by_day"]))}

    @cached_property
    def _charts(self) -> dict[str, NamedChart]:
        from preptime.evaluation import chart_set  # Altair takes 0.5 s

        report = self._report_data
        predictions = None if report is None else report.predictions
        if self._orders is not None:
            predictions = summarize_predictions(self._orders)
        importances = {} if report is None else report.importance.get(DEFAULT_MODEL, {})
        found = [
            *chart_set.prediction_charts(predictions, self._unit),
            *chart_set.hour_and_calibration_charts(self.document, self._unit),
            *chart_set.segment_charts(self.document, self._unit),
            *chart_set.importance_charts(
                {self._feature_titles.get(name, name): importances[name] for name in importances}
            ),
        ]
        return {chart.name: chart for chart in found}

    @property
    def charts(self) -> tuple[str, ...]:
        """The names of the charts."""
        return tuple(self._charts)

    def chart(self, name: str, *, width: int = CHART_PIXELS, dark: bool = False) -> Chart:
        """Return a chart of Altair, which a notebook shows.

        Args:
            name: One of `charts`.
            width: Width in pixels.
            dark: Colors for a dark background.

        Returns:
            The chart.

        Raises:
            UsageError: There is no chart of this name.
        """
        from preptime.evaluation.charts import DARK, LIGHT

        chart = self._charts.get(name)
        if chart is None:
            raise UsageError(f"There is no chart {name!r}.", f"The charts are {', '.join(self.charts)}.")
        palette = DARK if dark else LIGHT
        title = {
            "text": chart.title,
            "subtitle": _lines(chart.caption, width),
            "anchor": "start",
            "color": palette.text,
            "subtitleColor": palette.secondary_text,
        }
        return chart.draw(width, palette).properties(title=title)

    def __repr__(self) -> str:
        return " ".join(summary_sentences(self.document, self._unit))

    def _repr_html_(self) -> str:
        rows = [score for score in self.document.scores if score.labels == LABEL_SETS[0]]
        sentences = html.escape(repr(self))
        return f"<p>{sentences}</p>{pl.DataFrame([msgspec.structs.asdict(row) for row in rows])._repr_html_()}"

    def _table(self, rows: Sequence[msgspec.Struct]) -> Any:
        return from_polars(
            pl.DataFrame([msgspec.structs.asdict(row) for row in rows], infer_schema_length=None), self._kind
        )


def evaluate_backtest(
    orders: EvaluatedOrders, first_day: str, last_day: str, kind: FrameKind, unit: TimeUnit
) -> Evaluation:
    """Return the evaluation of a backtest."""
    return Evaluation(build_backtest_document(orders, first_day, last_day), None, kind=kind, unit=unit, orders=orders)


def _daily_metrics(orders: EvaluatedOrders) -> pl.DataFrame:
    from preptime.evaluation.metrics import compute_interval, compute_score
    from preptime.training.training_data import date_from_day_number

    eligible, rows = orders.take(orders.up_to_3h), []
    for day in sorted(set(eligible.day.tolist())):
        part = eligible.take(eligible.day == day)
        score = compute_score(DEFAULT_MODEL, "model", "up_to_3h", part.actual, part.default_predictions)
        values = {
            name: value for name, value in msgspec.structs.asdict(score).items() if name not in {"kind", "labels"}
        }
        coverage = compute_interval(part.actual, part.quantiles).coverage
        rows.append({"day": date_from_day_number(day), **values, "coverage": coverage})
    return pl.DataFrame(rows, infer_schema_length=None)


def _lines(caption: str, width: int) -> list[str]:
    """Return a caption in lines that fit below the title of a chart."""
    import textwrap

    return textwrap.wrap(caption, max(20, width // 6))
