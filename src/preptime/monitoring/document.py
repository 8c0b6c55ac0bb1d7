"""`monitoring.json`: what was known on the morning of D of how the answers did. Typed, frozen, stable as JSON.

A figure that has no value (no orders) is `null`. Seconds, shares (0 to 1) and counts; days are ISO dates, both ends of
a range included. Nothing in it is a clock's time or a path, so the same contents give the same bytes. How to change
the format: docs/monitoring.md, "The document".

What `monitor` wrote, morning by morning, for who shows it: nothing is worked out anew.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from preptime.errors import DataError
from preptime.evaluation.documents import QuantileScore, Segment
from preptime.sources.results import MONITORING_FILE, ResultsFolder

FORMAT = 1
"""The format this code writes and reads."""

RuleStatus = Literal["ok", "fired", "insufficient_data"]
"""quiet: looked at, nothing to say. fired: `alerts` has one of this rule. unknown: too little to judge by."""

RuleKind = Literal["predictions", "inputs", "data"]
"""What a rule is about: answers against outcomes, what the models are given, what the data brings."""

DimensionName = Literal["overall", "city", "type_of_food"]
"""The parts of the orders whose ratio of actual to predicted is watched day by day."""

FallbackLevel = Literal["restaurant", "city_food", "food", "city", "global"]


class DateRange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A range of local days."""

    first: dt.date
    last: dt.date


class PredictionMetrics(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The answers of some days against what happened, as docs/metrics.md defines them; labels up to 3 h."""

    n: int
    """Answered orders with an outcome that may be evaluated."""
    mae: float | None
    bias: float | None
    """Seconds, predicted minus actual: above 0 the food came sooner than said."""
    within_5_min: float | None
    coverage: float | None
    """Share of outcomes inside p10 to p90; 0.8 was promised."""
    lookup_mae: float | None
    """Of the restaurant lookup on those of these orders for which there is one: `lookup_n`."""
    lookup_n: int
    quantiles: tuple[QuantileScore, ...]
    """p10, p50, p80, p90: the share of outcomes at or under each, and its pinball loss in seconds."""


class BacktestBaseline(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the backtest of the champion's training said: its figures on days its models had not seen."""

    bundle: str
    """The bundle that was trained: the champion, or the parent of a refresh."""
    days: DateRange
    metrics: PredictionMetrics


class PredictionCounts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How many orders of the window were answered, by whom, and what became of them. Each order counts once."""

    orders: int
    """Orders in the table acknowledged in the window and ready before the morning of D, duplicates left out."""
    with_prediction: int
    """Of those, the ones that an answer was found for."""
    without_prediction: int
    """The others: an outcome without a prediction."""
    without_outcome: int
    """Answers without an outcome as yet: not ready, ready later than this morning, or never delivered."""
    evaluated: int
    """Answered, with an outcome that may be evaluated."""
    from_batch: int
    """Of the orders answered (open ones included), those whose answer is the one of `score --date`."""
    from_api: int
    """Those whose answer is the API's: where both answered an order, this is the one that counts."""
    in_both: int
    """Orders answered by both."""
    duplicates: int
    """Answers to an order that had been answered the same way before: the first one counts."""
    unreadable_log_lines: int
    """Lines of the API's log that hold no record, such as the half line of a killed process."""
    without_order_key: int
    """Answers to orders that nothing tells apart, so that no outcome can be found for them."""


class Day(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One local day of acknowledgement."""

    date: dt.date
    predictions: int
    """Orders answered, with an outcome by now or without."""
    without_outcome: int
    """Of those, without an outcome by now."""
    orders: int
    """Orders in the table that were ready before the morning of D."""
    bundles: tuple[str, ...]
    """Whose answers these are."""
    by_fallback_level: dict[FallbackLevel, int]
    """Orders answered, by the level of history behind the answer; every level is there."""
    unknown_restaurants: int
    """Orders of restaurants that the restaurants file doesn't have."""
    unknown_categories: int
    """Orders whose city or type of food the answering bundle didn't know."""
    median_predicted_seconds: float | None
    actual_to_predicted_ratio: float | None
    """Typical actual ÷ predicted: 1.15 is food that takes 15 % longer than said. exp of the mean clipped log ratio."""
    metrics: PredictionMetrics


class BundleMetrics(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One bundle that answered in the window."""

    bundle: str
    orders: int
    days: DateRange
    """First and last day with an answer of it."""
    metrics: PredictionMetrics


class RatioDay(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One day of a trail."""

    date: dt.date
    n: int
    ratio: float
    """Typical actual ÷ predicted of the day."""
    statistic: float
    """How sure it was on the morning after that day that the ratio had moved: standard errors beyond what is
    tolerated, above 0 slower, below 0 faster. At `Trail.threshold` it fires."""
    fired: bool


class RatioSeries(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How actual ÷ predicted of one part of the orders went, day by day: what the rules `slower_than_predicted` and `faster_than_predicted` watch."""

    segment: DimensionName
    value: str
    n: int
    """Orders in the window."""
    reference_ratio: float | None
    """Its usual ratio before the latest days; null while there are too few days to know."""
    recent_ratio: float | None
    """Of the stretch of latest days that differs most."""
    recent_days: int
    """How long that stretch is."""
    threshold: float
    days: tuple[RatioDay, ...]
    """Days with an evaluated order."""


class Bin(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One bin of a distribution."""

    label: str
    """For people: `12.5 to 16.1`, or the category's name."""
    low: float | None
    """At or above this; null where the bin has no end, and for a category. Likewise `high`: under it."""
    high: float | None
    reference: float
    """Share of the reference's orders, weekdays weighing alike."""
    recent: float


class FeatureDrift(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a feature, or the prediction (`predicted_seconds`), of the latest days differs from its reference."""

    name: str
    unit: str
    psi: float | None
    """Population stability index. By custom under 0.1 is the same, above 0.25 another population."""
    p_value: float | None
    """Probability of such a difference between days, were nothing different: days are compared, not orders. Null for
    too few days."""
    adjusted_p_value: float | None
    """The same, after Holm, over all features that are tested."""
    tested: bool
    """Whether the rule `feature_drift` looks at it; a feature that grows with time by its nature is shown, not
    tested."""
    drifted: bool
    reference_median: float | None
    recent_median: float | None
    bins: tuple[Bin, ...]


class Drift(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the models are given lately, beside what they were trained on."""

    reference: DateRange | None
    """The latest whole weeks of the training window of the models that answer; null when there is none."""
    prediction_reference: DateRange | None
    """The prediction is compared with the answers of the whole weeks before; null when there is none."""
    recent: DateRange | None
    reference_orders: int
    recent_orders: int
    features: tuple[FeatureDrift, ...]
    """Every feature in the order of docs/features.md, then the prediction."""
    unavailable_reason: str | None
    """Why there is nothing to compare, in a sentence."""


class LabelReason(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How many orders carry one reason of docs/validation-reasons.md."""

    reason: str
    description: str
    orders: int
    """In the window."""
    orders_on_last_day: int
    """On its last day."""


class LabelAudit(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the audit says of the window's orders."""

    rows: int
    """Rows of the table acknowledged in the window and known this morning; rows whose times cannot be read too."""
    evaluable: int
    reasons: tuple[LabelReason, ...]
    """Those that occurred, in declared order."""


class Alert(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Something that should not be left unseen."""

    rule: str
    segment: str
    """What part of the orders: `overall`, `city`, `type_of_food`, `feature`."""
    value: str
    """Which one: `London`; `all` for overall."""
    observed: float
    """What was found, in the rule's unit."""
    threshold: float
    since: dt.date
    """The first day of what it is about."""
    message: str
    """For people: what, where, since when, how much."""


class RuleReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One declared rule, and how it stands this morning."""

    rule: str
    kind: RuleKind
    description: str
    threshold: float
    unit: str
    threshold_reason: str
    """Why this threshold."""
    false_alarm_rate: str
    """How often it fires without a cause, as measured."""
    status: RuleStatus
    observed: float | None
    """The value nearest to the threshold, or beyond it."""
    message: str


class MonitoringDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The document of one morning."""

    format: int = FORMAT
    date: dt.date
    """D: known is what was ready before its local midnight."""
    window: DateRange
    """The days looked at: `figures`, `segments` and `answers` are about these."""
    headline: tuple[str, ...]
    """The whole in a few sentences; the first says whether anything fired."""
    champion: str | None
    """As of D; null when there was none."""
    backtest_baseline: BacktestBaseline | None
    alerts: tuple[Alert, ...]
    """What fired this morning; `monitor` ends with exit status 1 when there is one."""
    rules: tuple[RuleReport, ...]
    """Every declared rule, fired or not."""
    metrics: PredictionMetrics
    recent_metrics: PredictionMetrics
    """The latest seven days of the window."""
    recent_days: DateRange
    prediction_counts: PredictionCounts
    days: tuple[Day, ...]
    """Every day of the window that has an order or an answer, oldest first."""
    bundles: tuple[BundleMetrics, ...]
    segments: tuple[Segment, ...]
    """By city, type of food, hour, items and basis, as in a training's report; `lookup_mae` is null where a lookup is
    not known for all of a segment's orders."""
    ratio_series: tuple[RatioSeries, ...]
    """All orders, the largest cities and types of food, and everything that fired."""
    drift: Drift
    label_audit: LabelAudit


class _FormatHeader(msgspec.Struct):
    """All that is read before the format is known."""

    format: int


def encode(document: MonitoringDocument) -> bytes:
    """`monitoring.json`: sorted, indented, ending in a newline."""
    return msgspec.json.format(msgspec.json.encode(document, order="sorted"), indent=1) + b"\n"


def decode(raw: bytes, name: str = "monitoring.json") -> MonitoringDocument:
    """Read `monitoring.json`; `name` is what an error calls it. Raises `DataError` for what is none of this format."""
    try:
        format_number = msgspec.json.decode(raw, type=_FormatHeader).format
        if format_number != FORMAT:
            raise DataError(
                f"{name} has format {format_number}; this preptime reads format {FORMAT}.",
                "Run `preptime monitor` for that date again.",
            )
        return msgspec.json.decode(raw, type=MonitoringDocument)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(
            f"{name} cannot be read as a monitoring document: {error}.", "Run `preptime monitor` for that date again."
        ) from error


MAX_DOCUMENTS = 60
"""How many are read at most: two months of alerts, and with the first one's window three months of days."""


@dataclass(frozen=True)
class MonitoringHistory:
    """The latest mornings that `monitor` looked at."""

    documents: tuple[MonitoringDocument, ...]
    """Oldest first."""
    unreadable: dict[dt.date, str]
    """Why a morning's document cannot be read."""
    unread_count: int
    """Earlier mornings that are there and were not read."""


def read_monitoring_history(results: ResultsFolder, limit: int = MAX_DOCUMENTS) -> MonitoringHistory:
    """The latest `most` documents. Raises nothing for a damaged one: it is told beside the others."""
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
    """Every day that one of these mornings speaks of, as the latest of them knows it; oldest first."""
    days_by_date: dict[dt.date, Day] = {}
    for document in sorted(documents, key=lambda one: one.date):
        days_by_date |= {day.date: day for day in document.days}
    return tuple(days_by_date[date] for date in sorted(days_by_date))
