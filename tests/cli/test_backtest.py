"""`backtest`: its document, key by key, and its table."""

from __future__ import annotations

from typing import Literal

import msgspec
import pytest

from preptime.training.fitting import FitPlan
from tests.cli.conftest import Files
from tests.cli.run_command import error_document, preptime
from tests.training.factories import quick_plan

pytestmark = pytest.mark.usefixtures("quick_models")


class Score(msgspec.Struct, forbid_unknown_fields=True):
    """The metrics of a model or a baseline."""

    name: str
    kind: Literal["model", "live", "baseline"]
    labels: Literal["up_to_3h", "within_label_limit"]
    n: int
    mae: float
    median_ae: float
    rmse: float
    r2: float
    bias: float
    within_5_min: float


class Interval(msgspec.Struct, forbid_unknown_fields=True):
    """The coverage of the interval."""

    level: float
    coverage: float
    median_width_seconds: float
    coverage_inside: float


class Quantile(msgspec.Struct, forbid_unknown_fields=True):
    """The calibration of a quantile."""

    p: float
    coverage: float
    pinball: float


class Document(msgspec.Struct, forbid_unknown_fields=True):
    """The document of `backtest --json`. All keys are required, and there are no others."""

    from_: str = msgspec.field(name="from")
    to: str
    default_model: str
    scores: list[Score]
    interval: Interval
    quantiles: list[Quantile]
    segments: list[dict[str, object]]
    waiting_costs: list[dict[str, float | None]]


def test_backtest_document_has_required_keys(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FitPlan, "default", lambda threads: quick_plan(threads=threads, with_live_model=True))
    result = preptime("backtest", *files.options, "--from", "2015-06-10", "--to", "2015-06-12", "--json").succeeded()
    document = result.document(Document)
    assert (document.from_, document.to) == ("2015-06-10", "2015-06-12")
    assert document.default_model == "quantile"
    baselines = {"restaurant_lookup": "baseline", "global_median": "baseline"}
    kinds = {"quantile": "model", "rf": "model", "live": "live", **baselines}
    assert {(score.name, score.kind) for score in document.scores} == set(kinds.items())
    assert len(document.scores) == 2 * len(kinds)
    assert document.interval.level == 0.8
    assert [quantile.p for quantile in document.quantiles] == [0.1, 0.5, 0.8, 0.9]
    assert {"overall", "city", "type_of_food", "hour"} <= {segment["segment"] for segment in document.segments}
    wide = {score.n for score in document.scores if score.labels == "up_to_3h"}
    assert len(wide) == 1
    assert [(cost["courier_cost"], cost["food_cost"]) for cost in document.waiting_costs] == [(1, 1), (2, 1), (1, 2)]
    assert {cost["n"] for cost in document.waiting_costs} == wide
    assert all(score.n <= min(wide) for score in document.scores)


def test_backtest_table_has_baselines_below_the_line(files: Files) -> None:
    days = ("--from", "2015-06-11", "--to", "2015-06-12", "--retrain-every", "1")
    text = preptime("backtest", *files.options, *days).succeeded().out
    assert text.startswith("2015-06-11 to 2015-06-12, ")
    positions = [text.index(name) for name in ("quantile (default)", "├", "restaurant_lookup", "global_median")]
    assert positions == sorted(positions)
    assert "(nominal: 80%)" in text
    assert text.index("(nominal: 80%)") < text.index("Waiting cost per 1,000 orders, in minutes")
    assert "lookup's quantile" in text
    assert max(len(line) for line in text.splitlines() if line.startswith("│")) <= 80


@pytest.mark.parametrize(("first", "last"), [("2015-06-12", "2015-06-10"), ("2016-06-10", "2016-06-12")])
def test_backtest_invalid_days_is_reported(first: str, last: str, files: Files) -> None:
    result = preptime("backtest", *files.options, "--from", first, "--to", last, "--json")
    assert result.status in {1, 2}
    error_document(result, result.status, {1: "DataError", 2: "UsageError"}[result.status])
