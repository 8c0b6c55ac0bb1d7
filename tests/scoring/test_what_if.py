"""Tests that the what-if curves are predictions of the bundle."""

from __future__ import annotations

import datetime as dt

import msgspec
import polars as pl
import pytest

from preptime.bundle.bundle import Bundle
from preptime.bundle.store import Store
from preptime.schema.schema import TAKE_HOME_SCHEMA, CustomFeature
from preptime.scoring.field_values import FieldValues, field_values
from preptime.scoring.scorer import PREDICTED_READY_AT, PREDICTION_REASON, BundleScorer
from preptime.scoring.what_if import (
    HOUR,
    WEEKDAY,
    OrderInput,
    WhatIf,
    list_variables,
    predict_what_if,
    predicted_seconds,
    text_of_other_value,
    vary,
)
from tests.scoring.delivery import PROTOCOLS, delivery_bundle

ORDER = OrderInput("1", dt.datetime(2015, 6, 20, 19, 12, 30), {"order_value": 21.4, "number_of_items": 3.0})


@pytest.fixture(scope="module")
def delivery(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The bundle of a company with other columns, formats, and custom features."""
    return delivery_bundle(Store.open(str(tmp_path_factory.mktemp("delivery"))))


def ask(order: OrderInput, bundle: Bundle) -> WhatIf:
    """Predict an order and its variations as the dashboard does."""
    restaurants = bundle.history.restaurants
    values = field_values(bundle)
    return predict_what_if(order, BundleScorer(bundle).predict, bundle.schema, restaurants=restaurants, values=values)


def test_what_if_curves_contain_the_prediction(bundle: Bundle) -> None:
    what_if = ask(ORDER, bundle)
    prediction = predicted_seconds(what_if.prediction)
    assert prediction is not None
    for variable, value in {"number_of_items": 3.0, HOUR: 19.0, WEEKDAY: 5.0}.items():
        (p50,) = what_if.curves.filter((pl.col("variable") == variable) & (pl.col("at") == value))["p50"]
        assert p50 * 60 == pytest.approx(prediction, abs=1e-3)
    names = what_if.curves["variable"].unique(maintain_order=True).to_list()
    assert names == [HOUR, WEEKDAY, "number_of_items", "order_value"]
    assert (what_if.curves["p10"] <= what_if.curves["p90"]).all()


def test_what_if_point_equals_prediction_of_that_order(bundle: Bundle) -> None:
    curves = ask(ORDER, bundle).curves
    other = OrderInput("1", ORDER.acknowledged_at.replace(hour=13), ORDER.values)
    (p90,) = curves.filter((pl.col("variable") == HOUR) & (pl.col("at") == 13.0))["p90"]
    assert p90 * 60 == pytest.approx(predicted_seconds(ask(other, bundle).prediction, 0.9), abs=1e-3)


def test_what_if_invalid_order_has_reason_and_valid_curves(bundle: Bundle) -> None:
    what_if = ask(ORDER.with_value("number_of_items", 99_999.0), bundle)
    assert what_if.prediction[PREDICTION_REASON] == "out_of_range"
    assert predicted_seconds(what_if.prediction) is None
    assert set(what_if.curves["variable"]) == {"number_of_items"}


def test_what_if_varies_every_custom_feature_of_orders(delivery: Bundle) -> None:
    values = {name: seen.default for name, seen in field_values(delivery).items()}
    order = OrderInput("store-7", dt.datetime(2015, 6, 20, 19), values)
    what_if = ask(order, delivery)
    names = [variable.name for variable in what_if.variables]
    assert names[4:] == ["busy_couriers", "distance", "protocol", "channel"]
    by_name = {variable.name: variable for variable in what_if.variables}
    assert by_name["busy_couriers"].unit == "people"
    assert by_name["distance"].title == "distance to the customer"
    assert set(by_name["protocol"].points) == set(PROTOCOLS)
    assert by_name["protocol"].points[0] == "app"  # the most frequent value
    assert set(what_if.curves["variable"]) == set(names)
    prediction = predicted_seconds(what_if.prediction)
    (p50,) = what_if.curves.filter(pl.col("value") == "app")["p50"]
    assert p50 * 60 == pytest.approx(prediction, abs=1e-3)
    curve = what_if.curves.filter(pl.col("variable") == "busy_couriers")["p50"].to_list()
    assert curve[-1] > curve[0]  # more couriers are busy in slow deliveries of this data
    for variable in what_if.variables:
        for point in variable.points[:2]:
            other = ask(vary(order, variable, point), delivery).prediction
            column = "value" if isinstance(point, str) else "at"
            of_point = (pl.col("variable") == variable.name) & (pl.col(column) == point)
            (p50,) = what_if.curves.filter(of_point)["p50"]
            assert p50 * 60 == pytest.approx(predicted_seconds(other), abs=1e-3), variable.name


def test_order_row_has_the_columns_and_formats_of_the_company(delivery: Bundle) -> None:
    values = {"order_value": 21.5, "number_of_items": 2.0, "distance": 3.5, "busy_couriers": None, "channel": "web"}
    order = OrderInput("store-7", dt.datetime(2015, 6, 20, 19), values)
    what_if = ask(order, delivery)
    assert str(what_if.prediction[PREDICTED_READY_AT]).endswith("-07:00")
    from preptime.scoring.what_if import restaurant_zone

    assert order.to_row(delivery.schema, restaurant_zone(order, delivery.history.restaurants)) == {
        "created": "21/06/2015 02:00 AM",  # 19:00 in Los Angeles, as UTC
        "store": "store-7",
        "subtotal": "2150,0",
        "units": "2",
        "busy": None,
        "distance": "3,5",
        "channel": "web",
    }


def test_missing_feature_has_a_curve_but_no_current_value(delivery: Bundle) -> None:
    order = OrderInput("store-7", dt.datetime(2015, 6, 20, 19), {"order_value": 9.0, "number_of_items": 1.0})
    variables = {variable.name: variable for variable in list_variables(order, delivery.schema, field_values(delivery))}
    assert variables["distance"].current is None
    assert len(variables["distance"].points) > 1


def test_feature_named_hour_has_its_own_curve() -> None:
    feature = CustomFeature(name="hour", column="hour", type="number")
    schema = msgspec.structs.replace(TAKE_HOME_SCHEMA, features=(feature,))
    order = ORDER.with_value("hour", 3.0)
    variables = list_variables(order, schema, {"hour": FieldValues(minimum=0.0, maximum=5.0)})
    names = [variable.name for variable in variables]
    assert names == [HOUR, WEEKDAY, "number_of_items", "order_value", "hour"]
    assert variables[-1].points == (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)
    assert len({*names}) == len(names)
    assert vary(order, variables[0], 7.0).acknowledged_at.hour == 7
    assert vary(order, variables[-1], 5.0).values["hour"] == 5.0


def test_other_value_is_not_in_the_vocabulary() -> None:
    assert text_of_other_value(["web", "other"]) == "other_"
    assert text_of_other_value([]) == "other"


def test_take_home_order_row_is_unchanged() -> None:
    assert ORDER.to_row(TAKE_HOME_SCHEMA, None) == {
        "order_acknowledged_at": "2015-06-20 19:12:30",
        "restaurant_id": "1",
        "order_value_gbp": "21.4",
        "number_of_items": "3",
    }
