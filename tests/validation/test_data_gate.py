from __future__ import annotations

import re
from dataclasses import fields
from datetime import date, datetime, timedelta

import msgspec
import polars as pl
import pytest

from preptime.cli.options import parse_thresholds
from preptime.errors import DataError, PermanentDataError, UsageError
from preptime.validation.audit import AuditedOrders, audit_orders
from preptime.validation.data_gate import (
    THRESHOLDS_BY_CHECK,
    GateResult,
    GateThresholds,
    Shortfall,
    gate_error,
    thresholds_from_settings,
)
from preptime.validation.gate_checks import evaluate_gate
from tests.validation.factories import make_month, make_restaurant_index

DAY = date(2015, 6, 29)  # the day after 28 days


def _audited(frame: pl.DataFrame) -> AuditedOrders:
    return audit_orders(frame, make_restaurant_index(), need_label=True)


def _failed_checks(frame: pl.DataFrame, day: date = DAY, thresholds: GateThresholds | None = None) -> set[str]:
    result = evaluate_gate(_audited(frame), day, thresholds or GateThresholds())
    assert result.passed == all(check.passed for check in result.checks)
    return {check.name for check in result.checks if not check.passed}


@pytest.fixture(scope="module")
def good_month() -> pl.DataFrame:
    return make_month(per_day=100)


def test_evaluate_gate_good_month_passes_without_notes(good_month: pl.DataFrame) -> None:
    result = evaluate_gate(_audited(good_month), DAY, GateThresholds())
    assert result.passed
    assert result.notes == ()
    assert msgspec.json.decode(msgspec.json.encode(result), type=GateResult) == result


@pytest.mark.parametrize("seed", range(12))
def test_evaluate_gate_small_complete_data_passes(seed: int) -> None:
    assert _failed_checks(make_month(days=10, per_day=200, seed=seed), date(2015, 6, 11)) == set()


def test_evaluate_gate_few_days_pass_with_notes() -> None:
    result = evaluate_gate(_audited(make_month(days=10, per_day=150)), date(2015, 6, 11), GateThresholds())
    assert result.passed
    assert "The gate has three days instead of seven" in result.notes[0]
    assert "weekday" in result.notes[1]


def test_evaluate_gate_too_few_days_or_orders_fails() -> None:
    assert _failed_checks(make_month(days=6, per_day=300), date(2015, 6, 7)) == {"days"}
    assert _failed_checks(make_month(per_day=30)) == {"orders"}


@pytest.mark.parametrize("last_hour", [12, 18])
def test_evaluate_gate_incomplete_day_fails(good_month: pl.DataFrame, last_hour: int) -> None:
    incomplete = good_month.filter(pl.col("order_acknowledged_at") < datetime(2015, 6, 28, last_hour))
    # Without any order on the last day, the freshness fails instead.
    assert _failed_checks(incomplete) in ({"volume", "last_evening"}, {"freshness"})


def test_evaluate_gate_partial_recent_day_fails(good_month: pl.DataFrame) -> None:
    for day in (26, 27, 28):
        on_that_day = pl.col("order_acknowledged_at").dt.date() == date(2015, 6, day)
        assert _failed_checks(good_month.filter(~on_that_day | (pl.int_range(pl.len()) % 3 == 0))) == {"volume"}


def test_evaluate_gate_missing_yesterday_fails_by_default(good_month: pl.DataFrame) -> None:
    later = date(2015, 6, 30)
    assert _failed_checks(good_month, later) == {"freshness"}
    assert _failed_checks(good_month, later, GateThresholds(max_days_behind=2)) == set()
    facts = gate_error(evaluate_gate(_audited(good_month), later, GateThresholds())).facts
    assert "on 2015-06-28, 2 days before 2015-06-30 (none on 2015-06-29); the maximum is 1." in facts


@pytest.mark.parametrize(
    ("days_later", "error_class"),
    [(2, DataError), (6, DataError), (7, PermanentDataError), (4_169, PermanentDataError)],
)
def test_gate_error_of_an_old_export_is_permanent(
    days_later: int, error_class: type[DataError], good_month: pl.DataFrame
) -> None:
    """A daily job is retried for late data only. The last order of the month is one day older than `DAY`."""
    result = evaluate_gate(_audited(good_month), DAY + timedelta(days=days_later), GateThresholds())
    assert type(gate_error(result)) is error_class


def test_gate_error_is_permanent_if_any_check_stays_failed(good_month: pl.DataFrame) -> None:
    incomplete = good_month.filter(pl.col("order_acknowledged_at") < datetime(2015, 6, 28, 12))
    late = evaluate_gate(_audited(incomplete), DAY, GateThresholds())
    assert type(gate_error(late)) is DataError
    assert type(gate_error(late, (Shortfall("There are 3 orders.", "Add orders."),))) is PermanentDataError
    few = evaluate_gate(_audited(incomplete), DAY, GateThresholds(min_days=40))
    assert type(gate_error(few)) is PermanentDataError


def test_evaluate_gate_ignores_orders_after_the_date(good_month: pl.DataFrame) -> None:
    known = good_month.filter(pl.col("order_acknowledged_at") < datetime(2015, 6, 20))
    as_of = date(2015, 6, 20)
    assert evaluate_gate(_audited(good_month), as_of, GateThresholds()) == evaluate_gate(
        _audited(known), as_of, GateThresholds()
    )


def test_evaluate_gate_many_unknown_restaurants_fails(good_month: pl.DataFrame) -> None:
    orders = good_month.with_columns(restaurant_id=pl.when(pl.int_range(pl.len()) % 8 == 0).then(99).otherwise(10))
    assert _failed_checks(orders) == {"unknown_restaurants"}
    assert _failed_checks(orders, thresholds=GateThresholds(max_unknown_restaurant_share=0.2)) == set()


@pytest.mark.parametrize("column", ["order_acknowledged_at", "prep_time_seconds"])
def test_evaluate_gate_many_invalid_cells_fails(good_month: pl.DataFrame, column: str) -> None:
    text = good_month.with_columns(pl.col(pl.Datetime).dt.strftime("%Y-%m-%dT%H:%M:%S")).cast(pl.String)
    invalid = text.with_columns(
        pl.when(pl.int_range(pl.len()) % 8 == 0).then(pl.lit("?")).otherwise(column).alias(column)
    )
    assert _failed_checks(invalid) == {"unusable_orders"}


def test_evaluate_gate_without_orders_fails(good_month: pl.DataFrame) -> None:
    assert _failed_checks(good_month, date(2014, 1, 1)) >= {"days", "orders", "freshness"}


def test_gate_error_names_check_value_and_threshold() -> None:
    result = evaluate_gate(_audited(make_month(days=5, per_day=60)), date(2015, 6, 6), GateThresholds())
    error = gate_error(result)
    assert isinstance(error, DataError)
    assert "There are 5 days with orders; the minimum is 7." in error.facts
    assert "can be used for fitting; the minimum is 1,000." in error.facts
    usable = next(check.value for check in result.checks if check.name == "orders")
    assert error.hint == (
        f"Repair the data. If the data is correct, accept it with --gate min_days=5 --gate min_orders={usable:g}."
    )


def _with_labels(frame: pl.DataFrame, label: pl.Expr) -> pl.DataFrame:
    """Return the orders with other labels, without the ready times that they would contradict."""
    return frame.with_columns(prep_time_seconds=label.cast(pl.Int64)).drop("order_ready_at")


def _refused_months(good_month: pl.DataFrame) -> dict[str, tuple[pl.DataFrame, date]]:
    """Return for each check data that it refuses, and the as-of date."""
    number, at, label = pl.int_range(pl.len()), pl.col("order_acknowledged_at"), pl.col("prep_time_seconds")
    unknown = pl.when(number % 8 == 0).then(99).otherwise(10)
    on_last_day = at.dt.date() == date(2015, 6, 28)

    def relabelled(where: pl.Expr, changed: pl.Expr) -> tuple[pl.DataFrame, date]:
        return _with_labels(good_month, pl.when(where).then(changed).otherwise(label)), DAY

    return {
        "days": (make_month(days=6, per_day=300), date(2015, 6, 7)),
        "orders": (make_month(per_day=30), DAY),
        "freshness": (good_month, date(2015, 7, 3)),
        "volume": (good_month.filter((at.dt.date() != date(2015, 6, 27)) | (number % 3 == 0)), DAY),
        "last_evening": (good_month.filter(at < datetime(2015, 6, 28, 16)), DAY),
        "unknown_restaurants": (good_month.with_columns(restaurant_id=unknown), DAY),
        "unusable_orders": (
            good_month.with_columns(number_of_items=pl.when(number % 7 != 0).then(pl.col("number_of_items"))),
            DAY,
        ),
        "open_orders": relabelled(number % 3 == 0, pl.lit(None)),
        "latest_open_orders": relabelled(on_last_day & (number % 2 == 0), pl.lit(None)),
        "short_labels": relabelled(number % 2 == 0, pl.lit(59)),
        "long_labels": relabelled(number % 15 == 0, pl.lit(10_801)),
        "latest_short_labels": relabelled(on_last_day & (number % 4 == 0), pl.lit(59)),
        "latest_long_labels": relabelled(on_last_day & (number % 4 == 0) & (at.dt.hour() < 20), pl.lit(10_801)),
        "latest_median": relabelled(on_last_day & (at.dt.hour() < 21), label * 3),
        "weekly_median": relabelled(at.dt.date() < date(2015, 6, 8), label * 3),
    }


def test_every_threshold_has_a_check_that_names_it(good_month: pl.DataFrame) -> None:
    assert {*THRESHOLDS_BY_CHECK.values(), "recent_days"} == {field.name for field in fields(GateThresholds)}
    assert [check.name for check in evaluate_gate(_audited(good_month), DAY, GateThresholds()).checks] == [
        *THRESHOLDS_BY_CHECK
    ]


@pytest.mark.parametrize("name", THRESHOLDS_BY_CHECK)
def test_gate_error_option_accepts_exactly_its_check(name: str, good_month: pl.DataFrame) -> None:
    """The message has the literal option. Passing it resolves the refusals of this threshold and no other."""
    frame, as_of = _refused_months(good_month)[name]
    result = evaluate_gate(_audited(frame), as_of, GateThresholds())
    failed = {check.name for check in result.checks if not check.passed}
    assert name in failed
    for check in result.checks:
        assert (check.option is None) == check.passed
        limits = {
            f"{check.threshold:,g} ",
            f"{check.threshold:,}.",
            f"{100 * check.threshold:g}%",
            f"{100 * check.threshold:g} percentage",
        }
        assert check.passed or any(f" is {limit}" in check.message for limit in limits)
    options = dict(re.findall(r"--gate ((\w+)=[\d.]+)\b", gate_error(result).hint))
    assert set(options.values()) == {THRESHOLDS_BY_CHECK[check] for check in failed}
    threshold = THRESHOLDS_BY_CHECK[name]
    assignment = next(text for text, option in options.items() if option == threshold)
    accepted = evaluate_gate(_audited(frame), as_of, thresholds_from_settings(parse_thresholds((assignment,))))
    assert {check.name for check in accepted.checks if not check.passed} == {
        check for check in failed if THRESHOLDS_BY_CHECK[check] != threshold
    }
    everything = thresholds_from_settings(parse_thresholds(tuple(options)))
    assert evaluate_gate(_audited(frame), as_of, everything).passed


@pytest.mark.parametrize(("open_orders", "passed"), [(299, True), (300, True), (301, False)])
def test_open_orders_count_apart_from_unusable_orders(open_orders: int, passed: bool) -> None:
    """They count separately, up to a share of their own, and a note states their number."""
    month = make_month(days=10, per_day=150).head(1_000)
    number = pl.int_range(pl.len())
    is_open = (number * 7 % 1_000) < open_orders
    frame = month.with_columns(
        pl.when(~is_open).then(name).alias(name) for name in ("order_ready_at", "prep_time_seconds")
    )
    as_of = month["order_acknowledged_at"].dt.date().max()
    assert isinstance(as_of, date)
    result = evaluate_gate(_audited(frame), as_of + timedelta(days=1), GateThresholds(min_orders=1))
    checks = {check.name: check for check in result.checks}
    assert (checks["open_orders"].value, checks["open_orders"].passed) == (open_orders / 1_000, passed)
    assert f"{open_orders} of 1,000 orders have no label as of" in checks["open_orders"].message
    assert checks["unusable_orders"].message.startswith(f"0 of {1_000 - open_orders} orders can't be used for fitting;")
    assert checks["orders"].message == (
        f"{1_000 - open_orders} of 1,000 orders ({open_orders} are open) can be used for fitting; the minimum is 1."
    )
    assert (
        f"{open_orders} of 1,000 orders ({open_orders / 1_000:.1%}) are open: they have no label" in (result.notes[-1])
    )


def test_order_ready_after_midnight_is_open_as_of_the_date() -> None:
    month = make_month(days=10, per_day=150)
    early = month.filter(pl.col("order_ready_at") < datetime(2015, 6, 10, 23, 50))
    late = early.tail(40).with_columns(order_ready_at=pl.lit(datetime(2015, 6, 11, 1)), prep_time_seconds=None)
    frame = pl.concat([early.head(-40), late])
    result = evaluate_gate(_audited(frame), date(2015, 6, 11), GateThresholds())
    checks = {check.name: check for check in result.checks}
    assert checks["open_orders"].message.startswith(f"40 of {len(frame):,} orders have no label as of 2015-06-11")
    assert checks["orders"].value == len(frame) - 40
    assert result.passed


def test_gate_error_merges_options_of_one_threshold(good_month: pl.DataFrame) -> None:
    """Both checks of the median fail. One option accepts both: the looser one."""
    at, label = pl.col("order_acknowledged_at").dt.date(), pl.col("prep_time_seconds")
    changed = pl.when(at < date(2015, 6, 8)).then(label * 3).otherwise(label)
    frame = _with_labels(good_month, pl.when(at == date(2015, 6, 27)).then(label // 5 + 60).otherwise(changed))
    result = evaluate_gate(_audited(frame), DAY, GateThresholds())
    values = [check.accepted_by for check in result.checks if not check.passed]
    assert [check.name for check in result.checks if not check.passed] == ["latest_median", "weekly_median"]
    assert len(set(values)) == 2
    assert gate_error(result).hint == (
        f"Repair the data. If the data is correct, accept it with --gate max_median_ratio={max(filter(None, values))}."
    )


def test_gate_error_without_orders_offers_no_option(good_month: pl.DataFrame) -> None:
    error = gate_error(evaluate_gate(_audited(good_month), date(2014, 1, 1), GateThresholds()))
    assert "There is no order before 2014-01-01." in error.facts
    assert "--gate" not in error.hint


def test_gate_counts_orders_and_usable_orders(good_month: pl.DataFrame) -> None:
    """Orders that can't be used aren't reported as missing."""
    unusable = good_month.with_columns(number_of_items=pl.lit(None, pl.Int64))
    error = gate_error(evaluate_gate(_audited(unusable), DAY, GateThresholds()))
    count = f"{len(good_month):,}"
    assert f"0 of {count} orders can be used for fitting; the minimum is 1,000." in error.facts
    assert f"{count} of {count} orders can't be used for fitting (missing_value {count}" in error.facts
    assert "--gate" not in error.hint  # no limit helps if no order is left


def test_gate_error_has_the_decimal_mark(good_month: pl.DataFrame) -> None:
    comma = good_month.with_columns(
        pl.format("{},5", pl.col("order_value_gbp").cast(pl.Int64)).alias("order_value_gbp")
    )
    error = gate_error(evaluate_gate(_audited(comma), DAY, GateThresholds()))
    assert error.hint == (
        'Numbers of order_value_gbp have other marks than the schema. Set under [source] in schema.toml: decimal = ",".'
    )


def test_gate_error_without_a_label_offers_no_open_share(good_month: pl.DataFrame) -> None:
    unlabeled = _with_labels(good_month, pl.lit(None, pl.Int64))
    error = gate_error(evaluate_gate(_audited(unlabeled), DAY, GateThresholds()))
    assert "have no label as of" in error.facts
    assert "max_open_share=1" not in error.hint


@pytest.mark.parametrize(
    ("setting", "suggestion"),
    [
        ("days=3", "Use --gate min_days=3."),
        ("orders=200", "Use --gate min_orders=200."),
        ("freshness=4", "Use --gate max_days_behind=4."),
        ("unusable_orders=0.2", "Use --gate max_unusable_share=0.2."),
        ("min_day=3", "Use --gate min_days=3."),
    ],
)
def test_unknown_threshold_suggests_the_option(setting: str, suggestion: str) -> None:
    with pytest.raises(UsageError) as refused:
        thresholds_from_settings(parse_thresholds((setting,)))
    assert refused.value.hint.startswith(suggestion)


@pytest.mark.parametrize("value", ["nan", "inf", "-1"])
def test_threshold_that_is_not_a_count_or_share_is_refused(value: str) -> None:
    with pytest.raises(UsageError):
        thresholds_from_settings(parse_thresholds((f"max_unusable_share={value}",)))


def test_gate_error_with_shortfall_names_the_least() -> None:
    result = evaluate_gate(_audited(make_month(days=3, per_day=300)), date(2015, 6, 4), GateThresholds())
    shortfalls = (
        Shortfall("Training needs 5 days.", "Provide 5 days.", least_days=5),
        Shortfall("Calibration needs 100 orders.", "Provide 47 more.", missing_orders=47),
    )
    error = gate_error(result, shortfalls)
    assert error.facts.endswith("Training needs 5 days. Calibration needs 100 orders.")
    assert error.hint.startswith("Provide 5 days. Provide 47 more. Then accept the other limits with --gate min_days=5")
