"""Replaces slow parts of a training, for tests of what happens before and after it."""

from __future__ import annotations

import pytest

from preptime.evaluation.report import ReportContext
from preptime.training import challenger
from preptime.training.fitting import FitPlan
from tests.training.factories import quick_plan


def fast_plan(threads: int) -> FitPlan:
    """Return a plan with two small models, instead of `FitPlan.default`."""
    return quick_plan(threads=threads)


def fast_report(data: ReportContext) -> str:
    """Return a report without the slow charts."""
    return (
        f"<html>{data.bundle_id} {data.orders_used} {data.data_fingerprint} {data.label_audit} {data.rows_read}</html>"
    )


def use_fast_training(patched: pytest.MonkeyPatch) -> None:
    """Use the fast replacements until `patched` is undone."""
    patched.setattr(FitPlan, "default", fast_plan)
    patched.setattr(challenger, "render_report", fast_report)
