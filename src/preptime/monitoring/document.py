"""`monitoring.json`: the results of `preptime monitor` as of one date, and reading them back.

A metric without a value (no orders) is `null`. Values are seconds, shares (0 to 1), and counts. Days are ISO dates, and
ranges include both ends. The document holds no clock times and no paths, so the same inputs give the same bytes. To
change the format, see "The document" in docs/monitoring.md.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from preptime.errors import DataError
from preptime.evaluation.documents import QuantileScore, Segment, WaitingCost
from preptime.sources.results import MONITORING_FILE, ResultsFolder

FORMAT = 2
"""The format that this code writes and reads."""

MAX_DOCUMENTS = 60
"""Two months of alerts. With the window of the first document, three months of days."""

RuleStatus = Literal["quiet", "undecided", "alerting"]
"""quiet: evaluated without an alert. undecided: too little data. alerting: `alerts` has one of this rule."""

RuleKind = Literal["predictions", "inputs", "data"]
"""The subject of a rule: predictions against outcomes, inputs of the models, or the data itself."""

DimensionName = Literal["overall", "city", "type_of_food"]
"""Dimensions whose ratio of actual to predicted time is monitored daily."""

FallbackLevel = Literal["restaurant", "city_food", "food", "city", "global"]


class DateRange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A range of local days."""

    first: dt.date
    last: dt.date


class PredictionMetrics(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Metrics of predictions over a range of days, for labels up to 3 h. See docs/metrics.md."""

    n: int
    """Predicted orders with an evaluable outcome."""
    mae: float | None
    bias: float | None
    """Seconds, predicted minus actual. Above 0, orders were ready earlier than predicted."""
    within_5_min: float | None
    coverage: float | None
    """Share of outcomes within p10–p90. The target is 0.8."""
    coverage_inside: float | None = None
    """`coverage` without the outcomes that are equal to p10 or p90. `null` if the document is of an earlier release."""
    interval_n: int | None = None
    """The orders with an interval, which `coverage` is about. Predictions of the take-home route have none. `null` if
    the document is of an earlier release."""
    lookup_mae: float | None
    """MAE of the restaurant lookup, over the `lookup_n` orders for which it is known."""
    lookup_n: int
    quantiles: tuple[QuantileScore, ...]
    """p10, p50, p80, p90: the share of outcomes at or under each, and the pinball loss in seconds."""
    waiting_costs: tuple[WaitingCost, ...] = ()
    """At each cost ratio. The lookup's and the constant's are null unless `lookup_n` is `n`. Empty if the backtest or
    the document is of an earlier release."""


class BacktestBaseline(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The backtest of the training run behind the predictions: its metrics on held-out days."""

    bundle: str
    """The trained bundle: the champion, or the parent of a refresh."""
    days: DateRange
    metrics: PredictionMetrics


class PredictionCounts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How many orders of the window have predictions and outcomes. Each order counts once.

    `orders` is `usable` plus `unusable`. `usable` is `with_prediction`, `without_prediction`, and
    `before_first_prediction` together.
    """

    orders: int
    """Orders acknowledged in the window and known as of the date, without duplicates and without open orders."""
    usable: int
    """Orders with an outcome and with every value that a prediction needs."""
    unusable: int
    """Orders whose validation reasons exclude them from predictions, or whose outcome can't be read."""
    with_prediction: int
    """Usable orders with a prediction."""
    without_prediction: int
    """Usable orders without a prediction, from the day of the first prediction."""
    before_first_prediction: int
    """Usable orders of the days before the first prediction, which no prediction was expected for."""
    first_prediction: dt.date | None
    """The first day with a prediction among the days that were read, or null without predictions."""
    without_outcome: int
    """Predictions without an outcome as of the date: not ready yet, or missing from the orders."""
    evaluated: int
    """Orders with a prediction and an evaluable outcome."""
    from_batch: int
    """Predicted orders, including open ones, whose prediction is from `score --date`."""
    from_api: int
    """Predicted orders whose prediction is from the API. If an order has both, the API's counts."""
    in_both: int
    """Orders with predictions from both."""
    duplicates: int
    """Repeated predictions of the same kind. The first one counts."""
    unreadable_log_lines: int
    """Lines of the API's log that can't be parsed, such as a truncated line of a killed process."""
    without_order_key: int
    """Predictions without an order key, which can't be joined with an outcome."""


class Day(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One local day of acknowledgement."""

    date: dt.date
    predictions: int
    """Orders with a prediction, with or without an outcome."""
    without_outcome: int
    """Orders with a prediction and without an outcome."""
    orders: int
    """Orders known as of the date, without duplicates and without open orders: usable or not."""
    usable: int
    """Orders with an outcome and with every value that a prediction needs."""
    bundles: tuple[str, ...]
    """The bundles that made the predictions."""
    by_fallback_level: dict[FallbackLevel, int]
    """Orders with a prediction, by fallback level. Every level is present."""
    unknown_restaurants: int
    """Usable orders of restaurants that aren't in the restaurants file."""
    unknown_categories: int
    """Usable orders with a prediction whose city or type of food the bundle didn't know."""
    median_predicted_seconds: float | None
    actual_to_predicted_ratio: float | None
    """Typical actual ÷ predicted: exp of the mean clipped log ratio. 1.15 means 15% longer than predicted."""
    metrics: PredictionMetrics


class BundleMetrics(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One bundle with predictions in the window."""

    bundle: str
    orders: int
    days: DateRange
    """The first and last day with its predictions."""
    metrics: PredictionMetrics


class RatioDay(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One day of a `RatioSeries`."""

    date: dt.date
    n: int
    ratio: float
    """Typical actual ÷ predicted of the day."""
    statistic: float
    """The test statistic as of the next day: standard errors by which the ratio's change exceeds the tolerance. Above 0
    is slower, below 0 is faster. The rule fires at `RatioSeries.threshold`."""
    fired: bool


class RatioSeries(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Actual ÷ predicted of one segment by day, as input of `slower_than_predicted` and `faster_than_predicted`."""

    segment: DimensionName
    value: str
    n: int
    """Orders in the window."""
    reference_ratio: float | None
    """The ratio in the reference window, or null with too few days."""
    recent_ratio: float | None
    """The ratio in the recent window that differs most."""
    recent_days: int
    """The length of that window in days."""
    threshold: float
    days: tuple[RatioDay, ...]
    """Days with an evaluated order."""


class Bin(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One bin of a distribution."""

    label: str
    """For people: `12.5 to 16.1`, or the category's name."""
    low: float | None
    """The lower end, included. Null without a lower end and for categories."""
    high: float | None
    """The upper end, not included. Null without an upper end and for categories."""
    reference: float
    """Share of the reference orders, with equal weights for weekdays."""
    recent: float


class FeatureDrift(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the latest days of a feature, or of the prediction (`predicted_seconds`), differ from the reference."""

    name: str
    unit: str
    psi: float | None
    """Population stability index. By convention, under 0.1 is the same population, and above 0.25 a different one."""
    p_value: float | None
    """Probability of such a difference by chance. The test compares days, not orders. Null with too few days."""
    adjusted_p_value: float | None
    """`p_value` with Holm's adjustment over all tested features."""
    tested: bool
    """Whether `feature_drift` tests the feature. Features that grow with time by definition aren't tested."""
    drifted: bool
    reference_median: float | None
    recent_median: float | None
    bins: tuple[Bin, ...]


class Drift(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Distributions of the features and of the prediction, compared with their references."""

    reference: DateRange | None
    """The latest whole weeks of the training window behind the predictions, or null."""
    prediction_reference: DateRange | None
    """The whole weeks of predictions before the recent days, or null."""
    recent: DateRange | None
    reference_orders: int
    recent_orders: int
    features: tuple[FeatureDrift, ...]
    """Every feature in the order of docs/features.md, then the prediction."""
    unavailable_reason: str | None
    """A sentence that says why there is no comparison, or null."""


class LabelReason(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The number of rows with one reason of docs/validation-reasons.md. A row can have several reasons."""

    reason: str
    description: str
    orders: int
    """Rows in the window."""
    orders_on_last_day: int
    """On the last day of the window."""


class LabelAudit(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Validation results of the orders in the window."""

    rows: int
    """Rows acknowledged in the window and known as of the date, including rows whose times can't be parsed."""
    evaluable: int
    reasons: tuple[LabelReason, ...]
    """The reasons that occurred, in the order of docs/validation-reasons.md."""


class Alert(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One alert."""

    rule: str
    segment: str
    """The kind of segment: `overall`, `city`, `type_of_food`, `feature`."""
    value: str
    """The segment's value, such as `London`. `all` for overall."""
    observed: float
    """The observed value, in the rule's unit."""
    threshold: float
    since: dt.date
    """The first affected day."""
    message: str
    """A sentence that says what changed, where, since when, and by how much."""


class RuleDefinition(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A rule: its meaning, its threshold, and the reason of the threshold."""

    name: str = msgspec.field(name="rule")
    kind: RuleKind
    description: str
    threshold: float
    unit: str
    threshold_reason: str
    false_alarm_rate: str
    """How often the rule fires without a cause, as measured."""


class RuleReport(RuleDefinition, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A rule and its result."""

    status: RuleStatus
    observed: float | None
    """The value closest to the threshold, or beyond it. Null with too little data."""
    message: str


class MonitoringDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The results as of one date."""

    format: int = FORMAT
    date: dt.date
    """The as-of date. Only events before local midnight of this date are used."""
    window: DateRange
    """The days that `metrics`, `segments`, and `prediction_counts` cover."""
    headline: tuple[str, ...]
    """A summary in sentences. The first says whether a rule is alerting, or how many rules had enough data."""
    status: RuleStatus
    """alerting: a rule is. undecided: no rule is alerting, and one or more are undecided. quiet: all rules are."""
    champion: str | None
    """The champion as of the date, or null."""
    backtest_baseline: BacktestBaseline | None
    alerts: tuple[Alert, ...]
    """The alerts. With at least one, `monitor` exits with status 1."""
    rules: tuple[RuleReport, ...]
    """Every rule with its status."""
    metrics: PredictionMetrics
    recent_metrics: PredictionMetrics
    """Metrics of `recent_days`, the latest seven days of the window."""
    recent_days: DateRange
    prediction_counts: PredictionCounts
    days: tuple[Day, ...]
    """Every day of the window with an order or a prediction, oldest first."""
    bundles: tuple[BundleMetrics, ...]
    segments: tuple[Segment, ...]
    """By city, type of food, hour, items, and fallback level, as in the training report. `lookup_mae` is null unless
    the lookup is known for all orders of the segment."""
    ratio_series: tuple[RatioSeries, ...]
    """All orders, the largest cities and types of food, and every segment that fired."""
    drift: Drift
    label_audit: LabelAudit


class _FormatHeader(msgspec.Struct):
    """The only field that is read before the format is known."""

    format: int


def encode(document: MonitoringDocument) -> bytes:
    """Return the bytes of `monitoring.json`: sorted, indented, with a final newline."""
    return msgspec.json.format(msgspec.json.encode(document, order="sorted"), indent=1) + b"\n"


def decode(raw: bytes, name: str = "monitoring.json") -> MonitoringDocument:
    """Return the document in `raw`. Errors call it `name`.

    Raises `DataError` if it isn't a monitoring document of this format.
    """
    try:
        format_number = msgspec.json.decode(raw, type=_FormatHeader).format
        if format_number != FORMAT:
            raise DataError(
                f"{name} has format {format_number}, but this version of preptime reads format {FORMAT}.",
                "To rewrite it, run `preptime monitor` for that date.",
            )
        return msgspec.json.decode(raw, type=MonitoringDocument)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(
            f"{name} isn't a valid monitoring document: {error}.",
            "To rewrite it, run `preptime monitor` for that date.",
        ) from error


@dataclass(frozen=True)
class MonitoringHistory:
    """The latest monitoring documents."""

    documents: tuple[MonitoringDocument, ...]
    """Oldest first."""
    unreadable: dict[dt.date, str]
    """Error messages of documents that can't be read, by date."""
    unread_count: int
    """The number of earlier documents that weren't read."""


def read_monitoring_history(results: ResultsFolder, limit: int = MAX_DOCUMENTS) -> MonitoringHistory:
    """Return the latest `limit` documents. A damaged document is reported in `unreadable` and raises nothing."""
    days = results.days(MONITORING_FILE)
    documents, unreadable = list[MonitoringDocument](), dict[dt.date, str]()
    for day in days[-limit:]:
        path = results.path(day, MONITORING_FILE)
        try:
            documents.append(decode(path.read_bytes(), f"{MONITORING_FILE} of {day}"))
        except (DataError, OSError) as error:
            unreadable[day] = str(error)
    return MonitoringHistory(tuple(documents), unreadable, max(0, len(days) - limit))


def latest_days(documents: Sequence[MonitoringDocument]) -> tuple[Day, ...]:
    """Return every day of the documents as the latest of them reports it, oldest first."""
    days_by_date: dict[dt.date, Day] = {}
    for document in sorted(documents, key=lambda document: document.date):
        days_by_date |= {day.date: day for day in document.days}
    return tuple(days_by_date[date] for date in sorted(days_by_date))
