"""The rules `feature_drift` and `prediction_drift`."""

from __future__ import annotations

from preptime.monitoring.document import Alert, Drift
from preptime.monitoring.drift import PREDICTION
from preptime.monitoring.rules import FEATURE_DRIFT, PREDICTION_DRIFT, Judged, Rule, unknown


def judge_drift(drifted: Drift) -> tuple[Judged, Judged]:
    """`feature_drift` and `prediction_drift`."""
    return _drifted(drifted, FEATURE_DRIFT), _drifted(drifted, PREDICTION_DRIFT)


def _drifted(drifted: Drift, rule: Rule) -> Judged:
    mine = [one for one in drifted.features if (one.name == PREDICTION) == (rule is PREDICTION_DRIFT)]
    tested = [one for one in mine if one.tested and one.psi is not None]
    if not tested or drifted.recent is None:
        return unknown(rule, drifted.why_not or "Too few whole weeks have been answered.")
    alerts = tuple(
        Alert(
            rule=rule.name,
            segment="feature",
            value=one.name,
            found=one.psi or 0.0,
            threshold=rule.threshold,
            since=drifted.recent.first,
            sentence=f"{one.name} differs from its reference: PSI {one.psi:.2f} in the week to {drifted.recent.last}.",
        )
        for one in sorted(tested, key=lambda one: -(one.psi or 0.0))
        if one.drifted
    )
    largest = max(tested, key=lambda one: one.psi or 0.0)
    if alerts:
        return Judged(rule, alerts[0].found, alerts[0].sentence, alerts)
    return Judged(
        rule, largest.psi, f"The largest is {largest.name}: PSI {largest.psi:.3f}, p {largest.p_adjusted:.2g}."
    )
