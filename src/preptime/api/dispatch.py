"""Dispatch requests: predictions, and when to send a courier for each order.

The decision is `preptime.domain.dispatch`. An order is read and predicted as for `POST /v1/predictions`, so requests to
both endpoints share a run of the graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from http import HTTPStatus
from itertools import accumulate, compress
from typing import cast

from preptime.api.active_model import (
    FIRST_POINT_COLUMN,
    FIRST_QUANTILE_COLUMN,
    ActiveModel,
    OrderLookup,
    PredictionRow,
)
from preptime.api.kitchen import KitchenRow
from preptime.api.order_validation import InvalidOrder, ParsedOrders, time_zone_of_order
from preptime.api.parsing import LocalTimestamp, format_ready_at, is_missing, number_parser
from preptime.api.predict import (
    ModelColumns,
    OrderLimit,
    PreparedRequest,
    build_prediction,
    parse_orders,
    prepare_request,
    requested_weak_models,
)
from preptime.api.request_decoding import decode_dispatch_request
from preptime.api.request_types import EXPECTED_TRAVEL
from preptime.api.schema import (
    ApiError,
    DispatchDecision,
    DispatchOrder,
    DispatchResponse,
    Prediction,
    RemainingTime,
)
from preptime.domain.dispatch import MAX_TRAVEL_SECONDS, decide_order, dispatch_level
from preptime.domain.timestamps import MICROSECONDS
from preptime.domain.validation_reasons import ValidationReason
from preptime.errors import UsageError

_TRAVEL_NAMES = ("p10", "p50", "p90")
_LEVEL_DECIMALS = 4
_NO_ESTIMATE = "No estimate is available: the order is older than its p90 of {:,.0f} s. Dispatch now."

_Trip = tuple[float | tuple[float, ...], float | None]
"""The travel time in seconds, as a number or as p10, p50, and p90; and the seconds since acknowledgement, or None."""

_parse_travel = number_parser((0.0, MAX_TRAVEL_SECONDS))


def read_dispatch_request(
    default_courier_cost: float, default_food_cost: float, body: bytes, active_model: ActiveModel, limit: OrderLimit
) -> PreparedRequest:
    """Parse a request to `POST /v1/dispatch`. The default costs replace those that the request doesn't have."""
    decoded, courier_cost, food_cost = decode_dispatch_request(body, active_model.dispatch_types)
    level = _level(
        default_courier_cost if courier_cost is None else courier_cost,
        default_food_cost if food_cost is None else food_cost,
    )
    parsed = parse_orders(body, decoded, active_model, limit)
    parsed, trips = _read_trips(cast("Sequence[DispatchOrder]", decoded.orders), parsed, active_model.lookup)
    weak_models = requested_weak_models(decoded.models, active_model)
    build_body = partial(DispatchResponse, active_model.bundle.manifest.id, weak_models=weak_models)
    return prepare_request(decoded, parsed, active_model, build_body, partial(_build_decisions, trips, level))


@lru_cache(maxsize=256)
def _level(courier_cost: float, food_cost: float) -> float:
    try:
        return dispatch_level(courier_cost, food_cost)
    except UsageError as error:
        raise ApiError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            error.facts,
            error.hint,
            field="courier_cost",
            value=f"{courier_cost:g}:{food_cost:g}",
            expected="a ratio of courier_cost to food_cost from 1:9 to 9:1",
        ) from None


def _read_trips(
    orders: Sequence[DispatchOrder], parsed: ParsedOrders, lookup: OrderLookup
) -> tuple[ParsedOrders, list[_Trip]]:
    """Return the trip of each valid order, and the orders without those whose trip is invalid."""
    acknowledged, invalid = iter(parsed.timestamps), parsed.invalid_orders
    # Not `list[_Trip]()`: evaluating the subscript at run time takes longer than reading a trip.
    trips: list[_Trip] = []
    invalid_trips: dict[int, InvalidOrder] = {}
    for index, order in enumerate(orders):
        if index not in invalid:
            trip = _read_trip(order, next(acknowledged), lookup)
            if isinstance(trip, InvalidOrder):
                invalid_trips[index] = trip
            else:
                trips.append(trip)
    if not invalid_trips:
        return parsed, trips
    is_valid = [index not in invalid_trips for index in range(len(orders)) if index not in invalid]
    valid_orders = ParsedOrders(
        list(compress(parsed.rows, is_valid)),
        list(compress(parsed.timestamps, is_valid)),
        {**invalid, **invalid_trips},
        {index: notes for index, notes in parsed.notes.items() if index not in invalid_trips},
        _kitchens_of_valid_rows(parsed.kitchens, is_valid),
    )
    return valid_orders, trips


def _kitchens_of_valid_rows(kitchens: Mapping[int, KitchenRow], is_valid: Sequence[bool]) -> dict[int, KitchenRow]:
    """Return the states of kitchens by the new index of their rows."""
    new_index = [index - 1 for index in accumulate(is_valid)]
    return {new_index[index]: kitchen for index, kitchen in kitchens.items() if is_valid[index]}


def _read_trip(order: DispatchOrder, acknowledged: LocalTimestamp, lookup: OrderLookup) -> _Trip | InvalidOrder:
    cell = order.travel_seconds
    travel: float | tuple[float, ...] | ValidationReason | InvalidOrder = _parse_travel(cell)
    if type(travel) is float and order.now is None:  # The usual case.
        return travel, None
    if isinstance(cell, dict):
        travel = _read_travel_quantiles(cell)
    if isinstance(travel, ValidationReason):
        return InvalidOrder(travel, "travel_seconds", cell, EXPECTED_TRAVEL)
    if isinstance(travel, InvalidOrder) or order.now is None:
        return travel if isinstance(travel, InvalidOrder) else (travel, None)
    elapsed = _read_elapsed(order, acknowledged, lookup)
    return elapsed if isinstance(elapsed, InvalidOrder) else (travel, elapsed)


def _read_travel_quantiles(cells: dict[str, object]) -> tuple[float, ...] | InvalidOrder:
    quantiles = []
    for name in _TRAVEL_NAMES:
        cell = cells.get(name)
        seconds = _parse_travel(cell)
        if isinstance(seconds, ValidationReason):
            expected = f"a number of seconds from 0 to {MAX_TRAVEL_SECONDS:,}"
            return InvalidOrder(seconds, f"travel_seconds.{name}", cell, expected)
        quantiles.append(seconds)
    if quantiles != sorted(quantiles):
        value = ", ".join(f"{name} {seconds:g}" for name, seconds in zip(_TRAVEL_NAMES, quantiles, strict=True))
        return InvalidOrder(ValidationReason.OUT_OF_RANGE, "travel_seconds", value, EXPECTED_TRAVEL)
    return tuple(quantiles)


def _read_elapsed(
    order: DispatchOrder, acknowledged: LocalTimestamp, lookup: OrderLookup
) -> float | InvalidOrder | None:
    """Return the seconds from acknowledgement to `now`, or None if it's missing."""
    if is_missing(order.now):
        return None
    acknowledged_field, expected = lookup.parsers.described("order_acknowledged_at")
    now = lookup.parsers.acknowledged_at(order.now, time_zone_of_order(order, lookup))
    if now is None:
        return InvalidOrder(ValidationReason.UNPARSABLE_TIME, "now", order.now, expected)
    if now[1] < acknowledged[1]:
        expected = f"a time that isn't before {acknowledged_field}"
        return InvalidOrder(ValidationReason.OUT_OF_RANGE, "now", order.now, expected)
    return (now[1] - acknowledged[1]) / MICROSECONDS


def _build_decisions(
    trips: Sequence[_Trip],
    level: float,
    prediction_rows: Sequence[PredictionRow],
    timestamps: Sequence[LocalTimestamp],
    model_columns: ModelColumns,
) -> Sequence[Prediction]:
    """Return the predictions with the decisions."""
    shown_level = round(level, _LEVEL_DECIMALS)
    items = []
    for row, timestamp, (travel, elapsed) in zip(prediction_rows, timestamps, trips, strict=True):
        decision = decide_order(row[1][FIRST_QUANTILE_COLUMN:FIRST_POINT_COLUMN], travel, level, elapsed)
        item = cast(DispatchDecision, build_prediction(row, timestamp, model_columns, DispatchDecision))
        item.dispatch_at = format_ready_at(timestamp, decision.dispatch_seconds)
        remaining = decision.remaining_seconds
        if remaining is None:
            item.note = _NO_ESTIMATE.format(item.p90)
        else:
            item.courier_wait_seconds = round(decision.courier_wait_seconds)
            item.food_wait_seconds = round(decision.food_wait_seconds)
            item.quantile = shown_level
            item.remaining = RemainingTime(*map(round, remaining))
        items.append(item)
    return items
