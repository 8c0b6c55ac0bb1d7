"""The table of all alert rules. Every threshold of an alert is here.

Thresholds were set on quiet synthetic months with seeds 1000 to 1059 and measured on other seeds. For the results of
`python -m benchmarks alerts`, see "False alarms and detection time" in docs/monitoring.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from preptime.monitoring.document import Alert, RuleDefinition, RuleReport, RuleStatus
from preptime.validation.daily_baselines import SHARE_ERRORS

STANDARD_ERRORS = "standard errors"
SHIFT_THRESHOLD_REASON = (
    "Each day compares about a hundred segments over seven window lengths. The largest statistic in 80 quiet months is "
    "4.6. At 5, a 15% slowdown in the city with the most orders is detected a day later."
)
DAILY_SHARE_THRESHOLD_REASON = (
    "Each day compares one share with the variation of its own past days, beyond a tolerance."
)
NO_FALSE_ALARMS = "none in 80 quiet months of 1,080 orders a day"


class Rule(RuleDefinition, frozen=True, kw_only=True):
    """One rule."""

    triggers_training: bool = False
    """Whether `respond` trains new models when the rule fires. New models don't help if the data is wrong."""


SLOWER_THAN_PREDICTED = Rule(
    name="slower_than_predicted",
    kind="predictions",
    description="Actual times are longer than predicted, for all orders, in a city, or for a type of "
    "food, relative to the segment's baseline",
    threshold=4.7,
    unit=STANDARD_ERRORS,
    threshold_reason=SHIFT_THRESHOLD_REASON,
    false_alarm_rate=NO_FALSE_ALARMS,
    triggers_training=True,
)
FASTER_THAN_PREDICTED = Rule(
    name="faster_than_predicted",
    kind="predictions",
    description="Actual times are shorter than predicted, for all orders, in a city, or for a type of "
    "food, relative to the segment's baseline",
    threshold=4.7,
    unit=STANDARD_ERRORS,
    threshold_reason=SHIFT_THRESHOLD_REASON,
    false_alarm_rate=NO_FALSE_ALARMS,
    triggers_training=True,
)
COVERAGE = Rule(
    name="coverage",
    kind="predictions",
    description="The p10–p90 interval holds fewer than 75% or more than 85% of the orders of the last seven days",
    threshold=5.0,
    unit=STANDARD_ERRORS,
    threshold_reason="The band is that of the promotion gate. Days vary, so a rule without standard errors would "
    "fire every other month.",
    false_alarm_rate=NO_FALSE_ALARMS,
    triggers_training=True,
)
WORSE_THAN_BACKTEST = Rule(
    name="worse_than_backtest",
    kind="predictions",
    description="The mean error of the last seven days is more than 25% above the backtest's",
    threshold=5.0,
    unit=STANDARD_ERRORS,
    threshold_reason="The mean errors of two weeks differ by up to 10% by chance. Users notice a difference of 25%.",
    false_alarm_rate=NO_FALSE_ALARMS,
    triggers_training=True,
)
WORSE_THAN_LOOKUP = Rule(
    name="worse_than_lookup",
    kind="predictions",
    description="The mean error of the last seven days is more than 1% above the restaurant lookup's",
    threshold=5.0,
    unit=STANDARD_ERRORS,
    threshold_reason="Both predict the same orders, so days vary little. A model that is worse is useless.",
    false_alarm_rate=NO_FALSE_ALARMS,
    triggers_training=True,
)
FEATURE_DRIFT = Rule(
    name="feature_drift",
    kind="inputs",
    description="The distribution of a feature differs from the training data",
    threshold=0.25,
    unit="PSI, of a feature whose days also differ (Holm, p ≤ 0.01)",
    threshold_reason="By convention, a PSI above 0.25 means a different population. The test alone would fire at "
    "differences without consequences.",
    false_alarm_rate=NO_FALSE_ALARMS,
    triggers_training=True,
)
PREDICTION_DRIFT = Rule(
    name="prediction_drift",
    kind="inputs",
    description="The distribution of predictions differs from the weeks before",
    threshold=0.25,
    unit="PSI, if days also differ (Holm, p ≤ 0.01)",
    threshold_reason="The same as for `feature_drift`.",
    false_alarm_rate=NO_FALSE_ALARMS,
)
FALLBACK_RATE = Rule(
    name="fallback_rate",
    kind="inputs",
    description="The share of predictions without restaurant history is at least 5 percentage points above normal",
    threshold=SHARE_ERRORS,
    unit=STANDARD_ERRORS,
    threshold_reason=DAILY_SHARE_THRESHOLD_REASON,
    false_alarm_rate=NO_FALSE_ALARMS,
)
UNKNOWN_RESTAURANTS = Rule(
    name="unknown_restaurants",
    kind="data",
    description="The share of orders whose restaurant isn't in the restaurants file is at least 5 percentage points "
    "above normal",
    threshold=SHARE_ERRORS,
    unit=STANDARD_ERRORS,
    threshold_reason=DAILY_SHARE_THRESHOLD_REASON,
    false_alarm_rate=NO_FALSE_ALARMS,
)
UNKNOWN_CATEGORIES = Rule(
    name="unknown_categories",
    kind="inputs",
    description="The share of orders whose city or type of food the models don't know is at least 5 percentage points "
    "above normal",
    threshold=SHARE_ERRORS,
    unit=STANDARD_ERRORS,
    threshold_reason=DAILY_SHARE_THRESHOLD_REASON,
    false_alarm_rate=NO_FALSE_ALARMS,
    triggers_training=True,
)
VOLUME_LOW = Rule(
    name="volume_low",
    kind="data",
    description="A day has fewer than half of the normal orders of its weekday, in total or in a city with at least 30 "
    "orders a day",
    threshold=0.5,
    unit="share of normal",
    threshold_reason="A truncated export looks like half a day of orders. The data gate requires 60%, because it tests "
    "only the total.",
    false_alarm_rate=NO_FALSE_ALARMS,
)
VOLUME_HIGH = Rule(
    name="volume_high",
    kind="data",
    description="A day has more than twice the normal orders of its weekday, in total or in a city with at least 30 "
    "orders a day",
    threshold=2.0,
    unit="share of normal",
    threshold_reason="A day that was delivered twice under new IDs has twice the orders.",
    false_alarm_rate=NO_FALSE_ALARMS,
)
INVALID_LABELS = Rule(
    name="invalid_labels",
    kind="data",
    description="The share of invalid labels (zero, under a minute, over three hours, contradictory) is at least "
    "5 percentage points above normal",
    threshold=SHARE_ERRORS,
    unit=STANDARD_ERRORS,
    threshold_reason=DAILY_SHARE_THRESHOLD_REASON,
    false_alarm_rate=NO_FALSE_ALARMS,
)
MISSING_PREDICTIONS = Rule(
    name="missing_predictions",
    kind="data",
    description="The share of orders without a prediction is at least 5 percentage points above normal",
    threshold=SHARE_ERRORS,
    unit=STANDARD_ERRORS,
    threshold_reason=DAILY_SHARE_THRESHOLD_REASON,
    false_alarm_rate=NO_FALSE_ALARMS,
)
MISSING_OUTCOMES = Rule(
    name="missing_outcomes",
    kind="data",
    description="The share of predictions without an outcome at the end of their day is at least 5 percentage points "
    "above normal",
    threshold=SHARE_ERRORS,
    unit=STANDARD_ERRORS,
    threshold_reason=DAILY_SHARE_THRESHOLD_REASON,
    false_alarm_rate=NO_FALSE_ALARMS,
)

RULES = (
    SLOWER_THAN_PREDICTED,
    FASTER_THAN_PREDICTED,
    COVERAGE,
    WORSE_THAN_BACKTEST,
    WORSE_THAN_LOOKUP,
    FEATURE_DRIFT,
    PREDICTION_DRIFT,
    FALLBACK_RATE,
    UNKNOWN_CATEGORIES,
    UNKNOWN_RESTAURANTS,
    VOLUME_LOW,
    VOLUME_HIGH,
    INVALID_LABELS,
    MISSING_PREDICTIONS,
    MISSING_OUTCOMES,
)
"""In the order in which alerts are reported."""


@dataclass(frozen=True, slots=True)
class RuleResult:
    """The result of a rule on one day."""

    rule: Rule
    observed: float | None
    """The value closest to the threshold, or beyond it. None if there is too little data."""
    message: str
    alerts: tuple[Alert, ...] = ()

    def to_report(self) -> RuleReport:
        """Return the result as part of the monitoring document."""
        definition = {name: getattr(self.rule, name) for name in RuleDefinition.__struct_fields__}
        return RuleReport(**definition, status=self.status, observed=self.observed, message=self.message)

    @property
    def status(self) -> RuleStatus:
        """The status of the rule."""
        return "alerting" if self.alerts else "undecided" if self.observed is None else "quiet"


def insufficient_data(rule: Rule, reason: str) -> RuleResult:
    """Return a result that says why there is too little data."""
    return RuleResult(rule, None, reason)


def overall_status(results: Sequence[RuleResult]) -> RuleStatus:
    """Return the status of all rules together. One alert decides, and one undecided rule is enough for `undecided`."""
    statuses = {result.status for result in results}
    return "alerting" if "alerting" in statuses else "undecided" if "undecided" in statuses else "quiet"


def summarize_statuses(results: Sequence[RuleResult]) -> str:
    """Return a sentence about how many rules are quiet, undecided, and alerting.

    Example:
        `7 of 15 rules had enough data: quiet. 8 are undecided.`
    """
    counts, total = Counter(result.status for result in results), len(results)
    decided, undecided = total - counts["undecided"], counts["undecided"]
    undecided_text = f" {undecided} {'is' if undecided == 1 else 'are'} undecided." if undecided else ""
    if not decided:
        return f"None of the {total} rules has enough data. All are undecided."
    subject = f"{decided} of {total} rules" if undecided else f"All {total} rules"
    if counts["alerting"]:
        return f"{subject} had enough data: {counts['alerting']} alerting, {counts['quiet']} quiet.{undecided_text}"
    return f"{subject} had enough data: quiet.{undecided_text}"


def find_rule(name: str) -> Rule | None:
    """Return the rule with that name, or None."""
    return next((rule for rule in RULES if rule.name == name), None)
