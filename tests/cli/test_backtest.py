"""`backtest`: the document that others read, key by key."""

from __future__ import annotations

from typing import Literal

import msgspec
import pytest

from tests.cli.conftest import Files
from tests.cli.run_command import preptime, error_document

pytestmark = pytest.mark.usefixtures("quick")


class Score(msgspec.Struct, forbid_unknown_fields=True):
    """As issue 2 has it."""

    name: str
    kind: Literal["model", "baseline"]
    labels: Literal["up_to_3h", "within_label_limit"]
    n: int
    mae: float
    median_ae: float
    rmse: float
    r2: float
    bias: float
    within_5_min: float


class Interval(msgspec.Struct, forbid_unknown_fields=True):
    """As issue 2 has it."""

    level: float
    coverage: float
    median_width_seconds: float


class Quantile(msgspec.Struct, forbid_unknown_fields=True):
    """As issue 2 has it."""

    p: float
    coverage: float
    pinball: float


class Document(msgspec.Struct, forbid_unknown_fields=True):
    """As issue 2 has it: every key must be there, and no other may be."""

    from_: str = msgspec.field(name="from")
    to: str
    default_model: str
    scores: list[Score]
    interval: Interval
    quantiles: list[Quantile]
    segments: list[dict[str, object]]


def test_the_document_has_the_keys_that_others_rely_on(files: Files) -> None:
    ran = preptime("backtest", *files.options, "--from", "2015-06-10", "--to", "2015-06-12", "--json").succeeded()
    document = ran.document(Document)
    assert (document.from_, document.to) == ("2015-06-10", "2015-06-12")
    assert document.default_model == "quantile"
    kinds = {"quantile": "model", "rf": "model", "restaurant_lookup": "baseline", "global_median": "baseline"}
    assert {(one.name, one.kind) for one in document.scores} == set(kinds.items())
    assert len(document.scores) == 2 * len(kinds)
    assert document.interval.level == 0.8
    assert [one.p for one in document.quantiles] == [0.1, 0.5, 0.8, 0.9]
    assert {"overall", "city", "type_of_food", "hour"} <= {one["segment"] for one in document.segments}
    wide = {score.n for score in document.scores if score.labels == "up_to_3h"}
    assert len(wide) == 1
    assert all(score.n <= min(wide) for score in document.scores)


def test_people_get_the_table_with_the_baselines_below_the_line(files: Files) -> None:
    days = ("--from", "2015-06-11", "--to", "2015-06-12", "--retrain-every", "1")
    said = preptime("backtest", *files.options, *days).succeeded().out
    assert said.startswith("2015-06-11 to 2015-06-12, ")
    places = [said.index(name) for name in ("quantile (default)", "├", "restaurant_lookup", "global_median")]
    assert places == sorted(places)
    assert "(80% is promised)" in said
    assert max(len(line) for line in said.splitlines() if line.startswith("│")) <= 80


@pytest.mark.parametrize(("first", "last"), [("2015-06-12", "2015-06-10"), ("2016-06-10", "2016-06-12")])
def test_days_that_cannot_be_walked_are_no_fault(first: str, last: str, files: Files) -> None:
    ran = preptime("backtest", *files.options, "--from", first, "--to", last, "--json")
    assert ran.status in {1, 2}
    error_document(ran, ran.status, {1: "DataError", 2: "UsageError"}[ran.status])
