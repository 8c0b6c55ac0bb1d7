"""`tune`: the losses of a trial, the search, its file of trials, and what it refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from preptime.domain.orders import DEFAULT_MODEL
from preptime.errors import DataError, OperationError, UsageError
from preptime.evaluation.metrics import quantile_scores
from preptime.models.catalogue import CATALOGUE
from preptime.models.catboost_models import CatBoostModel
from preptime.models.quantile import QuantileModel
from preptime.schema.schema import ModelSettings
from preptime.training import tuning
from preptime.training.as_of_features import FeatureMatrix
from preptime.training.gate import calibrate_by_day, walk_forward
from preptime.training.search_spaces import (
    SEARCH_SPACES,
    Choices,
    NumberRange,
    Parameters,
    SearchSpace,
    default_parameters,
)
from preptime.training.training_data import day_number
from preptime.training.tuning import SearchPlan, TrialResult, TuneDocument, TuningDays, tune
from preptime.training.tuning_study import DailyLosses, Report, StudySettings, open_study
from tests.requirements import ROOT
from tests.training.factories import QUANTILE, SyntheticData, june, quick_plan, with_stray_orders
from tests.training.tunable_model import MODEL_SOURCE

DATE = june(13)
DAYS = 6
"""The search predicts 7 to 12 June."""


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of a custom model that predicts `factor` times the median label."""
    path = tmp_path_factory.mktemp("custom") / "my_models.py"
    path.write_text(MODEL_SOURCE, encoding="utf-8")
    return path


Search = Callable[..., TuneDocument]


@pytest.fixture
def search(data: SyntheticData, model_file: Path, tmp_path: Path) -> Search:
    """Return `tune` for the custom model, whose default factor of 3 is bad."""

    def run(study: str = "study.jsonl", **options: Any) -> TuneDocument:
        searched: SyntheticData = options.pop("data", data)
        name, date = options.pop("name", "mine"), options.pop("date", DATE)
        others = {key: options.pop(key) for key in ("models", "on_trial", "restart") if key in options}
        plan = SearchPlan(**{"days": DAYS, "retrain_every": 2} | options)
        others.setdefault("models", settings_of(model_file))
        return tune(searched.audited, searched.restaurant_index, date, name, tmp_path / study, plan=plan, **others)

    return run


def settings_of(path: Path, class_name: str = "Scaled", **parameters: float | str) -> dict[str, ModelSettings]:
    """Return the section `[models]` with the custom model."""
    return {"mine": ModelSettings(f"{path}:{class_name}", parameters)}


def test_loss_is_that_of_models_fitted_before_each_block(features: FeatureMatrix, search: Search) -> None:
    document = search(trials=1)
    data = features.data
    errors = []
    for first in (7, 9, 11):
        was_ready = data.is_fitting & (data.ready_day < day_number(june(first)))
        block = (data.acknowledged_day >= day_number(june(first))) & (
            data.acknowledged_day <= day_number(june(first + 1))
        )
        is_evaluated = block & data.is_evaluation & (data.ready_day < day_number(DATE))
        errors.append(np.abs(data.labels[is_evaluated] - 3 * np.median(data.labels[was_ready])))
    expected = np.concatenate(errors)
    assert document.orders == len(expected)
    assert document.start.loss == pytest.approx(expected.mean(), abs=1e-3)
    assert document.start.mae == document.start.loss
    assert document.objective == "mae"


def test_quantile_loss_is_that_of_the_gate(features: FeatureMatrix) -> None:
    gate = walk_forward(features, june(9), june(14), quick_plan())
    expected = np.mean([score.pinball for score in quantile_scores(gate.actual, gate.quantiles)])
    blocks = tuple((june(day), june(day)) for day in range(9, 15))
    reports: list[tuple[int, float]] = []
    losses = TuningDays(features, blocks, 1, 12).evaluate(QUANTILE, lambda *report: reports.append(report))
    assert losses.mean_loss == pytest.approx(expected, rel=1e-12)
    assert sum(losses.errors) == pytest.approx(np.abs(gate.default_predictions - gate.actual).sum(), rel=1e-6)
    assert losses.objective == "pinball"
    assert [number for number, _ in reports] == [0, 1, 2, 3, 4]
    assert all(loss > 0 for _, loss in reports)


def test_quantiles_of_a_block_are_values_of_the_labels_before_it(features: FeatureMatrix) -> None:
    """All labels are multiples of 5 minutes, and from 13 June of 7 minutes, which no prediction is."""
    data = features.data
    known, later = (np.maximum(np.round(data.labels / step), 1) * step for step in (300, 420))
    labels = np.where(data.acknowledged_day >= day_number(june(13)), later, known)
    completed = replace(data.completed, prep_time_seconds=labels.astype(data.completed.prep_time_seconds.dtype))
    changed = replace(features, data=replace(data, completed=completed))
    blocks = ((june(11), june(12)), (june(13), june(14)))
    predicted: list[NDArray[np.float32]] = []

    def record(*arguments: Any) -> NDArray[np.float32]:
        predicted.append(calibrate_by_day(*arguments))
        return predicted[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuning, "calibrate_by_day", record)
        TuningDays(changed, blocks, 1, 12).evaluate(QUANTILE, lambda *_: None)
    assert (predicted[0] % 300 == 0).all()


def test_search_improves_a_bad_default_and_stops_early(search: Search) -> None:
    results: list[TrialResult] = []
    document = search(trials=16, on_trial=results.append)
    assert document.start.parameters == {"factor": 3.0}
    assert document.start.number == 0
    assert document.is_better
    assert document.loss_difference.difference < -500
    assert document.best.loss == min(trial.loss for trial in document.trials if trial.loss is not None)
    assert 0.8 < float(document.best.parameters["factor"]) < 1.25
    assert document.trials == tuple(results)
    assert "stopped" in {trial.state for trial in document.trials}
    assert document.importance == {"factor": pytest.approx(1.0)}


def test_killed_search_continues_with_the_same_trials(
    data: SyntheticData, model_file: Path, search: Search, tmp_path: Path
) -> None:
    whole = search("whole.jsonl", trials=12)
    data.orders.write_parquet(tmp_path / "orders.parquet")
    data.restaurants.write_parquet(tmp_path / "restaurants.parquet")
    program = (
        "import datetime as dt, sys; from pathlib import Path; from preptime.sources.registry import open_source\n"
        "from preptime.schema.schema import ModelSettings; from preptime.training.tuning import SearchPlan, tune\n"
        "from preptime.validation.audit import audit_orders\n"
        "from preptime.validation.restaurants import read_restaurants\n"
        "folder = Path(sys.argv[1])\n"
        "restaurants = read_restaurants(open_source(folder / 'restaurants.parquet').frame())\n"
        "audited = audit_orders(open_source(folder / 'orders.parquet').frame(), restaurants, need_label=True)\n"
        f"tune(audited, restaurants, dt.date(2015, 6, {DATE.day}), 'mine', folder / 'killed.jsonl', "
        f"plan=SearchPlan(days={DAYS}, retrain_every=2, trials=12), "
        "models={'mine': ModelSettings(sys.argv[2])})\n"
    )
    killed = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, tmp_path, f"{model_file}:Scaled"],
        env=os.environ | {"EXIT_AT_FIT": "15"},
        capture_output=True,
        check=False,
    )
    assert killed.returncode == 9, killed.stderr
    interrupted: list[TrialResult] = []
    assert search("killed.jsonl", trials=12, on_trial=interrupted.append) == whole
    assert 0 < len(interrupted) < 12


def test_equal_seeds_give_equal_trials_and_others_differ(search: Search) -> None:
    first, second, other = search("a.jsonl", trials=3), search("b.jsonl", trials=3), search("c.jsonl", trials=3, seed=5)
    assert first == second
    assert first.trials[0].parameters == other.trials[0].parameters
    assert first.trials[1].parameters != other.trials[1].parameters


def test_finished_search_runs_no_more_trials(search: Search) -> None:
    document = search(trials=4)
    results: list[TrialResult] = []
    assert search(trials=4, on_trial=results.append) == document
    assert search(trials=2, on_trial=results.append) == document
    assert results == []


def test_changed_search_is_refused_until_restart(
    data: SyntheticData, model_file: Path, search: Search, tmp_path: Path
) -> None:
    search(trials=2)
    fewer = SyntheticData.from_frames(data.orders.tail(-5), data.restaurants)
    edited = tmp_path / "edited.py"
    edited.write_text(MODEL_SOURCE + "\n# changed\n", encoding="utf-8")
    wider = tmp_path / "wider.py"
    wider.write_text(MODEL_SOURCE.replace("(0.1, 10.0", "(0.1, 20.0"), encoding="utf-8")
    changes: list[tuple[Mapping[str, object], str]] = [
        ({"days": 5}, "another first day: 2015-06-07. Now: 2015-06-08"),
        ({"retrain_every": 3}, "another number of days between fits: 2. Now: 3"),
        ({"seed": 13}, "another seed: 12. Now: 13"),
        ({"data": fewer, "date": DATE}, "another data fingerprint"),
        ({"models": settings_of(model_file, shift=5.0)}, 'other hyperparameters: {"shift":0.0}. Now: {"shift":5.0}'),
        ({"models": settings_of(edited)}, "another version of the model's file"),
        ({"models": settings_of(wider)}, "another search space"),
    ]
    for options, message in changes:
        with pytest.raises(UsageError, match="--restart") as raised:
            search(trials=3, **options)
        assert message in str(raised.value)
        assert "--study FILE" in str(raised.value)
    restarted = search(trials=2, days=5, restart=True)
    assert restarted.first_day == june(8)
    assert len(restarted.trials) == 2


def test_written_parameters_dont_change_the_search(model_file: Path, search: Search) -> None:
    document = search(trials=4)
    tuned = search(trials=5, models=settings_of(model_file, factor=1.01))
    assert tuned.trials[:4] == document.trials
    assert tuned.start == document.start


def test_search_starts_with_own_parameters_and_defaults(model_file: Path, search: Search) -> None:
    document = search(trials=2, models=settings_of(model_file, factor=40.0))
    assert [trial.parameters for trial in document.trials] == [{"factor": 40.0}, {"factor": 3.0}]
    assert search(trials=6, models=settings_of(model_file, factor=40.0)).trials[:2] == document.trials


def test_failed_trial_is_recorded_and_the_first_is_raised(model_file: Path, search: Search) -> None:
    document = search(trials=8, models=settings_of(model_file, "Picky"))
    failed = [trial for trial in document.trials if trial.state == "failed"]
    assert failed
    assert all(float(trial.parameters["factor"]) > 4 for trial in failed)
    assert "the factor is too large" in failed[0].error
    with pytest.raises(UsageError, match="the factor is too large"):
        search("other.jsonl", trials=8, models=settings_of(model_file, "Picky", factor=5.0))


def test_trial_that_catboost_refuses_is_recorded(features: FeatureMatrix, tmp_path: Path) -> None:
    settings = StudySettings("cat", june(13), june(14), 2, 12, "0", {}, {"depth": NumberRange(2, 17)})
    days = TuningDays(features, ((june(13), june(14)),), 1, 12)

    def evaluate(parameters: Mapping[str, Any], report: Any) -> DailyLosses:
        return days.evaluate(CatBoostModel(tree_count=2, **parameters), report)

    with open_study(tmp_path / "study.jsonl", settings, [{"depth": 2}, {"depth": 17}]) as study:
        first, second = (study.run_trial(evaluate) for _ in range(2))
    assert (first.state, second.state) == ("complete", "failed")
    assert "CatBoost can't fit" in second.error
    assert "Maximum tree depth is 16" in second.error


@pytest.mark.parametrize(
    ("name", "class_name", "message"),
    [
        ("mime", "Scaled", "Did you mean mine?"),
        ("stacking", "Scaled", "stacking has no ranges of hyperparameters"),
        ("lookup", "Scaled", "There is no model 'lookup'"),
        ("mine", "NoSpace", 'Add search_space to its class, such as search_space = {"depth": (2, 8)}'),
        (
            "mine",
            "WrongField",
            "'faktor', which isn't one of its hyperparameters with a value. Hyperparameters: factor",
        ),
        ("mine", "WrongRange", "factor is (3, 1); expected low < high"),
        ("mine", "WrongLog", "factor is (0, 1, 'log'); expected 0 < low < high"),
        ("mine", "NoRange", "factor is 5; expected (low, high)"),
    ],
)
def test_model_without_usable_ranges_is_refused(
    model_file: Path, search: Search, name: str, class_name: str, message: str
) -> None:
    with pytest.raises(UsageError) as raised:
        search(name=name, models=settings_of(model_file, class_name))
    assert message in str(raised.value)


def test_incomplete_last_line_costs_only_that_line(search: Search, tmp_path: Path) -> None:
    document = search(trials=3)
    with (tmp_path / "study.jsonl").open("ab") as file:
        file.write(b'{"op_code":4,"worker')
    assert search(trials=3) == document
    assert search(trials=5) == search("whole.jsonl", trials=5)
    with (tmp_path / "study.jsonl").open("ab") as file:
        file.write(b'{"op_code":4,"worker\n{}\n')
    with pytest.raises(UsageError, match="it's damaged"):
        search(trials=5)


def test_choices_are_exact_and_ranges_are_not_left(tmp_path: Path) -> None:
    """Values are rounded to four digits only where that's a number of the range."""
    levels = (0.33333, 0.45678, 0.66667)
    narrow, wide = NumberRange(0.123456, 0.123499), NumberRange(0.01, 0.3, is_log=True)
    space: SearchSpace = {"level": Choices(levels), "narrow": narrow, "wide": wide}
    settings = StudySettings("mine", june(7), june(12), 2, 12, "0", {}, space)
    start: Parameters = {"level": levels[0], "narrow": 0.12347, "wide": 0.1}

    def evaluate(parameters: Parameters, report: Report) -> DailyLosses:
        return DailyLosses("mae", (1,), (10,), (50.0,), (50.0,))

    with open_study(tmp_path / "study.jsonl", settings, [start]) as study:
        drawn = [study.run_trial(evaluate).parameters for _ in range(30)][1:]
        assert [trial.params["level"] for trial in study.study.trials[1:]] == [values["level"] for values in drawn]
    assert {values["level"] for values in drawn} == set(levels)
    assert all(0.123456 <= float(values["narrow"]) <= 0.123499 for values in drawn)
    assert len({values["narrow"] for values in drawn}) > 1
    assert all(values["wide"] == float(f"{values['wide']:.4g}") for values in drawn)


def test_second_process_ends_the_first_with_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "shared.jsonl"
    settings = StudySettings("mine", june(7), june(12), 2, 12, "0", {}, {"factor": NumberRange(1, 2)})

    def evaluate(parameters: Mapping[str, object], report: object) -> DailyLosses:
        with open_study(path, settings, [{"factor": 1}]):
            return DailyLosses("mae", (1, 2), (10, 10), (50.0, 60.0), (50.0, 60.0))

    with (
        open_study(path, settings, [{"factor": 1}]) as study,
        pytest.raises(OperationError, match="Another process used"),
    ):
        study.run_trial(evaluate)


def test_day_without_orders_is_left_out(data: SyntheticData, search: Search) -> None:
    closed = data.orders.filter(pl.col("order_acknowledged_at").dt.date() != june(9))
    document = search(data=SyntheticData.from_frames(closed, data.restaurants), trials=1, retrain_every=1)
    assert document.loss_difference.days == DAYS - 1


def test_file_that_is_no_study_is_refused_and_kept(search: Search, tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    for content in ("a,b\n1,2\n", "{}\n", "7\n"):
        path.write_text(content, encoding="utf-8")
        with pytest.raises(UsageError, match="isn't a file of preptime tune"):
            search("orders.csv", trials=1)
        assert path.read_text(encoding="utf-8") == content


def test_too_few_days_are_refused_with_the_possible_number(search: Search, data: SyntheticData) -> None:
    with pytest.raises(DataError, match="needs 16 days of orders") as raised:
        search(days=14)
    assert "Use --days 10, or provide orders from 2015-05-28" in str(raised.value)
    assert search(days=10, trials=1).first_day == june(3)
    few = SyntheticData.from_frames(
        data.orders.filter(pl.col("order_acknowledged_at").dt.date() >= june(10)), data.restaurants
    )
    with pytest.raises(DataError, match="nothing to tune"):
        search(data=few, days=2, date=june(14))


def test_stray_old_order_doesnt_count_as_days_to_fit_on(search: Search, data: SyntheticData) -> None:
    """The first fit of a search on 14 days would have only the order of the year before."""
    with pytest.raises(DataError, match=r"days count from 2015-06-01") as raised:
        search(data=with_stray_orders(data, june(1), 1), days=14, date=june(15))
    assert "The first completed order is of 2014-06-01" in raised.value.facts
    assert "Use --days 12, or provide orders from 2015-05-30 or earlier." in raised.value.hint


def test_catalogue_model_has_ranges_around_its_defaults(search: Search) -> None:
    document = search(
        name="gbr", trials=2, retrain_every=6, models={"gbr": ModelSettings(parameters={"max_distinct_values": 32})}
    )
    assert document.start.parameters == {"tree_count": 100, "learning_rate": 0.1, "depth": 3}
    assert 50 <= int(document.trials[1].parameters["tree_count"]) <= 400
    assert isinstance(document.trials[1].parameters["depth"], int)


def test_quantiles_of_a_custom_class_are_tuned_by_pinball(model_file: Path, search: Search) -> None:
    settings = {DEFAULT_MODEL: ModelSettings(f"{model_file}:Quantiles")}
    document = search(name=DEFAULT_MODEL, trials=3, models=settings)
    assert document.objective == "pinball"
    assert document.start.parameters == {"spread": "narrow"}
    assert {trial.parameters["spread"] for trial in document.trials} <= {"narrow", "wide"}
    assert document.start.mae is not None
    assert document.start.loss is not None
    assert document.start.loss < document.start.mae


def test_default_quantile_is_the_first_trial() -> None:
    defaults = default_parameters({}, DEFAULT_MODEL, SEARCH_SPACES[DEFAULT_MODEL])
    model = QuantileModel()
    assert defaults == {name: getattr(model, name) for name in SEARCH_SPACES[DEFAULT_MODEL]}


def test_ranges_in_the_docs_are_those_of_the_code() -> None:
    def text(field: str, limits: NumberRange | Choices) -> str:
        assert isinstance(limits, NumberRange)
        return f"`{field}` {limits.low} to {limits.high}{' (log)' if limits.is_log else ''}"

    rows = {
        name: f"| `{name}` | {', '.join(text(field, limits) for field, limits in space.items())} |"
        for name, space in SEARCH_SPACES.items()
    }
    page = (ROOT / "docs" / "tuning.md").read_text(encoding="utf-8")
    table = page.partition("<!-- search_spaces -->\n")[2].partition("<!-- /search_spaces -->")[0]
    assert table.splitlines()[2:] == list(rows.values())
    assert set(rows) == set(CATALOGUE) - {"stacking"}
