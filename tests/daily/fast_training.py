"""Trainings that are done in a second: what is tested is what becomes of them."""

from __future__ import annotations

import pytest

from preptime.evaluation.report import ReportContext
from preptime.training import train
from preptime.training.fitting import FitPlan
from tests.training.factories import quick_plan


def fast_plan(threads: int) -> FitPlan:
    """In place of `FitPlan.default`: two small models."""
    return quick_plan(threads=threads)


def fast_report(data: ReportContext) -> str:
    """In place of the real one, whose pictures take longer than all else: what it would be drawn from."""
    return (
        f"<html>{data.bundle_id} {data.orders_used} {data.data_fingerprint} {data.label_audit} {data.rows_read}</html>"
    )


def use_fast_training(patched: pytest.MonkeyPatch) -> None:
    """Until `patched` is undone."""
    patched.setattr(FitPlan, "default", fast_plan)
    patched.setattr(train, "render_report", fast_report)
