"""Every rule that may raise an alert: one table. Nothing else decides what is too much.

Thresholds were set on quiet synthetic months of seeds 1000 to 1059 and measured anew on others: docs/monitoring.md,
"How often it is wrong", holds the table of `python -m benchmarks alerts`.
"""

from __future__ import annotations

from dataclasses import dataclass

from preptime.monitoring.document import Alert, RuleKind, RuleReport

STANDARD_ERRORS = "standard errors"
SCAN_THRESHOLD_REASON = (
    "Each morning tries some hundred parts of the orders and seven lengths of time. The largest of all in 80 quiet "
    "months is 4.6; at 5 a city of most orders that slows down by 15 % is seen a day later."
)
DAILY_SHARE_THRESHOLD_REASON = (
    "One figure a morning, against the scatter of its own past days, beyond what is tolerated."
)
NO_FALSE_ALARMS = "none in 80 quiet months"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: what it looks at, and from where on it fires."""

    name: str
    kind: RuleKind
    description: str
    threshold: float
    unit: str
    threshold_reason: str
    """Why this threshold."""
    false_alarm_rate: str
    """As measured."""
    triggers_training: bool = False
    """Whether `respond` answers it with a training: new models may help. They don't where the data is at fault."""


SLOWER_THAN_PREDICTED = Rule(
    "slower_than_predicted",
    "predictions",
    "Food takes longer than said: in all, in a city or for a type of food, against its own past",
    4.7,
    STANDARD_ERRORS,
    SCAN_THRESHOLD_REASON,
    NO_FALSE_ALARMS,
    triggers_training=True,
)
FASTER_THAN_PREDICTED = Rule(
    "faster_than_predicted",
    "predictions",
    "Food is ready sooner than said, likewise",
    4.7,
    STANDARD_ERRORS,
    SCAN_THRESHOLD_REASON,
    NO_FALSE_ALARMS,
    triggers_training=True,
)
COVERAGE = Rule(
    "coverage",
    "predictions",
    "p10 to p90 holds fewer than 75 % or more than 85 % of the last seven days' orders",
    5.0,
    STANDARD_ERRORS,
    "The band is the promotion gate's (D7); days scatter, so the band's edge alone would fire every other month.",
    NO_FALSE_ALARMS,
    triggers_training=True,
)
WORSE_THAN_BACKTEST = Rule(
    "worse_than_backtest",
    "predictions",
    "The mean error of the last seven days is more than 25 % above the backtest's",
    5.0,
    STANDARD_ERRORS,
    "A week's mean error differs from another's by up to 10 % on its own; a quarter is what people notice.",
    NO_FALSE_ALARMS,
    triggers_training=True,
)
WORSE_THAN_LOOKUP = Rule(
    "worse_than_lookup",
    "predictions",
    "The restaurant lookup is closer than the model over the last seven days, by more than 1 %",
    5.0,
    STANDARD_ERRORS,
    "Both answer the same orders, so that days scatter little; below it the model has nothing to offer.",
    NO_FALSE_ALARMS,
    triggers_training=True,
)
FEATURE_DRIFT = Rule(
    "feature_drift",
    "inputs",
    "What the models are given differs from what they were trained on",
    0.25,
    "PSI, of a feature whose days differ too (Holm, p ≤ 0.01)",
    "By custom above 0.25 is another population. The test alone would fire at differences nobody needs to know of.",
    NO_FALSE_ALARMS,
    triggers_training=True,
)
PREDICTION_DRIFT = Rule(
    "prediction_drift",
    "inputs",
    "What is answered differs from what was answered in the weeks before",
    0.25,
    "PSI, if days differ too (Holm, p ≤ 0.01)",
    "As for features.",
    NO_FALSE_ALARMS,
)
FALLBACK_RATE = Rule(
    "fallback_rate",
    "inputs",
    "More answers than usual have no order of their restaurant behind them, by 5 points or more",
    5.0,
    STANDARD_ERRORS,
    DAILY_SHARE_THRESHOLD_REASON,
    NO_FALSE_ALARMS,
)
UNKNOWN_RESTAURANTS = Rule(
    "unknown_restaurants",
    "data",
    "More orders than usual are of restaurants that the restaurants file doesn't have, by 5 points or more",
    5.0,
    STANDARD_ERRORS,
    DAILY_SHARE_THRESHOLD_REASON,
    NO_FALSE_ALARMS,
)
UNKNOWN_CATEGORIES = Rule(
    "unknown_categories",
    "inputs",
    "More orders than usual are of a city or type of food that the models don't know, by 5 points or more",
    5.0,
    STANDARD_ERRORS,
    DAILY_SHARE_THRESHOLD_REASON,
    NO_FALSE_ALARMS,
    triggers_training=True,
)
VOLUME_LOW = Rule(
    "volume_low",
    "data",
    "Fewer orders than half of what the weekday usually has, in all or in a city of 30 a day, chance allowed for",
    0.5,
    "share of the usual",
    "The data gate's threshold: half a day's orders is what an export cut short looks like.",
    NO_FALSE_ALARMS,
)
VOLUME_HIGH = Rule(
    "volume_high",
    "data",
    "More orders than twice what the weekday usually has, likewise",
    2.0,
    "share of the usual",
    "Twice is what a day delivered twice under new ids looks like.",
    NO_FALSE_ALARMS,
)
INVALID_LABELS = Rule(
    "invalid_labels",
    "data",
    "More labels than usual are no preparation times (zero, under a minute, over three hours, contradictory)",
    5.0,
    STANDARD_ERRORS,
    DAILY_SHARE_THRESHOLD_REASON,
    NO_FALSE_ALARMS,
)
MISSING_PREDICTIONS = Rule(
    "missing_predictions",
    "data",
    "More orders than usual have no answer, by 5 points or more",
    5.0,
    STANDARD_ERRORS,
    DAILY_SHARE_THRESHOLD_REASON,
    NO_FALSE_ALARMS,
)
MISSING_OUTCOMES = Rule(
    "missing_outcomes",
    "data",
    "More answers than usual have no outcome, by 5 points or more",
    5.0,
    STANDARD_ERRORS,
    DAILY_SHARE_THRESHOLD_REASON,
    NO_FALSE_ALARMS,
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
"""In the order in which alerts are told."""


@dataclass(frozen=True, slots=True)
class RuleResult:
    """How a rule stands this morning."""

    rule: Rule
    observed: float | None
    """The value nearest to the threshold, or beyond; None where there is too little to judge by."""
    message: str
    alerts: tuple[Alert, ...] = ()

    def to_report(self) -> RuleReport:
        """As the document says it."""
        rule = self.rule
        return RuleReport(
            rule=rule.name,
            kind=rule.kind,
            description=rule.description,
            threshold=rule.threshold,
            unit=rule.unit,
            threshold_reason=rule.threshold_reason,
            false_alarm_rate=rule.false_alarm_rate,
            status="fired" if self.alerts else "insufficient_data" if self.observed is None else "ok",
            observed=self.observed,
            message=self.message,
        )


def insufficient_data(rule: Rule, reason: str) -> RuleResult:
    """Too little to judge by."""
    return RuleResult(rule, None, reason)


def find_rule(name: str) -> Rule | None:
    """The rule of that name, if this preptime has one."""
    return next((rule for rule in RULES if rule.name == name), None)
