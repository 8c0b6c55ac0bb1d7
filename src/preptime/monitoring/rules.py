"""Every rule that may raise an alert: one table. Nothing else decides what is too much.

Thresholds were set on quiet synthetic months of seeds 1000 to 1059 and measured anew on others: docs/monitoring.md,
"How often it is wrong", holds the table of `python -m benchmarks alerts`.
"""

from __future__ import annotations

from dataclasses import dataclass

from preptime.monitoring.document import Alert, Kind, RuleState

ERRORS = "standard errors"
BEYOND_CHANCE = (
    "Each morning tries some hundred parts of the orders and seven lengths of time. The largest of all in 80 quiet "
    "months is 4.6; at 5 a city of most orders that slows down by 15 % is seen a day later."
)
FIVE_ERRORS_OF_A_DAY = "One figure a morning, against the scatter of its own past days, beyond what is tolerated."
RARELY = "none in 80 quiet months"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: what it looks at, and from where on it fires."""

    name: str
    kind: Kind
    meaning: str
    threshold: float
    unit: str
    reason: str
    """Why this threshold."""
    false_alarms: str
    """As measured."""
    retrain: bool = False
    """Whether `respond` answers it with a training: new models may help. They don't where the data is at fault."""


SLOWER = Rule(
    "slower",
    "answers",
    "Food takes longer than said: in all, in a city or for a type of food, against its own past",
    4.7,
    ERRORS,
    BEYOND_CHANCE,
    RARELY,
    retrain=True,
)
FASTER = Rule(
    "faster",
    "answers",
    "Food is ready sooner than said, likewise",
    4.7,
    ERRORS,
    BEYOND_CHANCE,
    RARELY,
    retrain=True,
)
COVERAGE = Rule(
    "coverage",
    "answers",
    "p10 to p90 holds fewer than 75 % or more than 85 % of the last seven days' orders",
    5.0,
    ERRORS,
    "The band is the promotion gate's (D7); days scatter, so the band's edge alone would fire every other month.",
    RARELY,
    retrain=True,
)
WORSE_THAN_PROMISED = Rule(
    "worse_than_promised",
    "answers",
    "The mean error of the last seven days is more than 25 % above the backtest's",
    5.0,
    ERRORS,
    "A week's mean error differs from another's by up to 10 % on its own; a quarter is what people notice.",
    RARELY,
    retrain=True,
)
WORSE_THAN_LOOKUP = Rule(
    "worse_than_lookup",
    "answers",
    "The restaurant lookup is closer than the model over the last seven days, by more than 1 %",
    5.0,
    ERRORS,
    "Both answer the same orders, so that days scatter little; below it the model has nothing to offer.",
    RARELY,
    retrain=True,
)
FEATURE_DRIFT = Rule(
    "feature_drift",
    "inputs",
    "What the models are given differs from what they were trained on",
    0.25,
    "PSI, of a feature whose days differ too (Holm, p ≤ 0.01)",
    "By custom above 0.25 is another population. The test alone would fire at differences nobody needs to know of.",
    RARELY,
    retrain=True,
)
PREDICTION_DRIFT = Rule(
    "prediction_drift",
    "inputs",
    "What is answered differs from what was answered in the weeks before",
    0.25,
    "PSI, if days differ too (Holm, p ≤ 0.01)",
    "As for features.",
    RARELY,
)
DEGRADED = Rule(
    "degraded_answers",
    "inputs",
    "More answers than usual have no order of their restaurant behind them, by 5 points or more",
    5.0,
    ERRORS,
    FIVE_ERRORS_OF_A_DAY,
    RARELY,
)
UNSEEN = Rule(
    "unseen_restaurants",
    "data",
    "More orders than usual are of restaurants that the restaurants file doesn't have, by 5 points or more",
    5.0,
    ERRORS,
    FIVE_ERRORS_OF_A_DAY,
    RARELY,
)
UNKNOWN_CATEGORIES = Rule(
    "unknown_categories",
    "inputs",
    "More orders than usual are of a city or type of food that the models don't know, by 5 points or more",
    5.0,
    ERRORS,
    FIVE_ERRORS_OF_A_DAY,
    RARELY,
    retrain=True,
)
VOLUME_LOW = Rule(
    "volume_low",
    "data",
    "Fewer orders than half of what the weekday usually has, in all or in a city of 30 a day, chance allowed for",
    0.5,
    "share of the usual",
    "The data gate's threshold: half a day's orders is what an export cut short looks like.",
    RARELY,
)
VOLUME_HIGH = Rule(
    "volume_high",
    "data",
    "More orders than twice what the weekday usually has, likewise",
    2.0,
    "share of the usual",
    "Twice is what a day delivered twice under new ids looks like.",
    RARELY,
)
LABELS = Rule(
    "labels",
    "data",
    "More labels than usual are no preparation times (zero, under a minute, over three hours, contradictory)",
    5.0,
    ERRORS,
    FIVE_ERRORS_OF_A_DAY,
    RARELY,
)
UNANSWERED = Rule(
    "unanswered",
    "data",
    "More orders than usual have no answer, by 5 points or more",
    5.0,
    ERRORS,
    FIVE_ERRORS_OF_A_DAY,
    RARELY,
)
OUTCOMES_MISSING = Rule(
    "outcomes_missing",
    "data",
    "More answers than usual have no outcome, by 5 points or more",
    5.0,
    ERRORS,
    FIVE_ERRORS_OF_A_DAY,
    RARELY,
)

RULES = (
    SLOWER,
    FASTER,
    COVERAGE,
    WORSE_THAN_PROMISED,
    WORSE_THAN_LOOKUP,
    FEATURE_DRIFT,
    PREDICTION_DRIFT,
    DEGRADED,
    UNKNOWN_CATEGORIES,
    UNSEEN,
    VOLUME_LOW,
    VOLUME_HIGH,
    LABELS,
    UNANSWERED,
    OUTCOMES_MISSING,
)
"""In the order in which alerts are told."""


@dataclass(frozen=True, slots=True)
class Judged:
    """How a rule stands this morning."""

    rule: Rule
    found: float | None
    """The value nearest to the threshold, or beyond; None where there is too little to judge by."""
    sentence: str
    alerts: tuple[Alert, ...] = ()

    def state(self) -> RuleState:
        """As the document says it."""
        rule = self.rule
        return RuleState(
            rule=rule.name,
            kind=rule.kind,
            meaning=rule.meaning,
            threshold=rule.threshold,
            unit=rule.unit,
            reason=rule.reason,
            false_alarms=rule.false_alarms,
            state="fired" if self.alerts else "unknown" if self.found is None else "quiet",
            found=self.found,
            sentence=self.sentence,
        )


def unknown(rule: Rule, why: str) -> Judged:
    """Too little to judge by."""
    return Judged(rule, None, why)


def rule_named(name: str) -> Rule | None:
    """The rule of that name, if this preptime has one."""
    return next((rule for rule in RULES if rule.name == name), None)
