"""The rules `feature_drift` and `prediction_drift`."""

from __future__ import annotations

from preptime.monitoring.document import Alert, Drift
from preptime.monitoring.drift import PREDICTION_FEATURE
from preptime.monitoring.rules import FEATURE_DRIFT, PREDICTION_DRIFT, Rule, RuleResult, insufficient_data


def evaluate_drift(drift: Drift) -> tuple[RuleResult, RuleResult]:
    """`feature_drift` and `prediction_drift`."""
    return _evaluate_drift_rule(drift, FEATURE_DRIFT), _evaluate_drift_rule(drift, PREDICTION_DRIFT)


def _evaluate_drift_rule(drift: Drift, rule: Rule) -> RuleResult:
    candidates = [
        feature for feature in drift.features if (feature.name == PREDICTION_FEATURE) == (rule is PREDICTION_DRIFT)
    ]
    tested = [feature for feature in candidates if feature.tested and feature.psi is not None]
    if not tested or drift.recent is None:
        return insufficient_data(rule, drift.unavailable_reason or "Too few whole weeks have been answered.")
    alerts = tuple(
        Alert(
            rule=rule.name,
            segment="feature",
            value=feature.name,
            observed=feature.psi or 0.0,
            threshold=rule.threshold,
            since=drift.recent.first,
            message=f"{feature.name} differs from its reference: PSI {feature.psi:.2f} in the week to {drift.recent.last}.",
        )
        for feature in sorted(tested, key=lambda feature: -(feature.psi or 0.0))
        if feature.drifted
    )
    largest = max(tested, key=lambda feature: feature.psi or 0.0)
    if alerts:
        return RuleResult(rule, alerts[0].observed, alerts[0].message, alerts)
    return RuleResult(
        rule, largest.psi, f"The largest is {largest.name}: PSI {largest.psi:.3f}, p {largest.adjusted_p_value:.2g}."
    )
