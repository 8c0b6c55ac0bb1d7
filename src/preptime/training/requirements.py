"""What a training needs from the data and the store, checked before any fit: its mode, and what is missing."""

from __future__ import annotations

import datetime as dt
from contextlib import suppress
from dataclasses import dataclass

from preptime.bundle.champion_log import ChampionLog
from preptime.bundle.manifest import Manifest
from preptime.bundle.store import Store
from preptime.errors import BundleVerificationError, DataError, StoreError, UsageError
from preptime.features.restaurant_index import RestaurantIndex
from preptime.schema.schema import Schema
from preptime.training.calibration import MIN_CALIBRATION_ORDERS, MIN_REDUCED_CALIBRATION_ORDERS
from preptime.training.fitting import fit_shortfall
from preptime.training.training_data import ONE_DAY, TrainingData, date_from_day_number, day_number
from preptime.validation.audit import AuditedOrders
from preptime.validation.data_gate import Shortfall

GATE_DAYS = 7
"""A whole week, because weekdays and weekends differ."""
SHORT_GATE_DAYS = 3
"""The gate for less than `LONG_WINDOW_DAYS` of data, where the first models of a week would have too few days."""
LONG_WINDOW_DAYS = 14
"""A week to fit the first models of the gate on, and the week of the gate."""
MIN_FITTED_DAYS = 2
"""The features of a window's first day have no history, so one day is too few to fit on."""
MIN_FITTED_ORDERS = 30
"""Days count from the day of this order. Fewer orders, such as one with a wrong year, aren't days to fit on."""
MIN_TRAINING_DAYS = MIN_FITTED_DAYS + 1
"""The least days for the reduced set, whose gate has one day."""


@dataclass(frozen=True, slots=True)
class TrainingMode:
    """Which models can be trained on the data, and which days the gate has."""

    gate_days: int
    """The number of latest days that the gate predicts."""
    reduced_reason: str | None = None
    """Why only the reduced set is trained (`FitPlan.reduced`). None for all models."""

    @property
    def is_reduced(self) -> bool:
        """Whether only the reduced set is trained."""
        return self.reduced_reason is not None

    @property
    def min_calibration_orders(self) -> int:
        """The number of orders that calibration needs."""
        return MIN_REDUCED_CALIBRATION_ORDERS if self.is_reduced else MIN_CALIBRATION_ORDERS


def first_counted_day(data: TrainingData) -> dt.date:
    """Return the first day by whose end there are `MIN_FITTED_ORDERS` orders that can be used for fitting.

    With a corpus, returns the first day of its window. With fewer orders, which calibration reports, returns the first
    day of all orders.
    """
    days = data.acknowledged_day[data.is_fitting]
    if data.earlier is not None or len(days) < MIN_FITTED_ORDERS:
        return data.first_day
    return date_from_day_number(int(days[MIN_FITTED_ORDERS - 1]))


def first_orders_text(data: TrainingData) -> str:
    """Return the days of the first completed order, and of the order from which days count if it's another day."""
    first, counted = data.first_day, first_counted_day(data)
    text = f"The first completed order is of {first}"
    if counted == first:
        return f"{text}."
    return f"{text}, and days count from {counted}, because there are fewer than {MIN_FITTED_ORDERS} orders before it."


def choose_mode(data: TrainingData, date: dt.date) -> TrainingMode:
    """Return the mode for the orders known as of `date`: the reduced set if they're too few for all models."""
    first_day = first_counted_day(data)
    window_days = (date - first_day).days
    gate_days = GATE_DAYS if window_days >= LONG_WINDOW_DAYS else SHORT_GATE_DAYS
    if window_days < gate_days + MIN_FITTED_DAYS:
        reason = f"There are {window_days} days of orders, and all models need {gate_days + MIN_FITTED_DAYS}."
        return TrainingMode(1, reason if first_day == data.first_day else f"{reason} {first_orders_text(data)}")
    shortfall = fit_shortfall(data, date - ONE_DAY)
    return TrainingMode(gate_days, None if shortfall is None else shortfall.message)


def find_shortfalls(audited: AuditedOrders, restaurants: RestaurantIndex, date: dt.date) -> tuple[Shortfall, ...]:
    """Return everything that training as of `date` needs and the orders known as of `date` don't have.

    These requirements have no option. `train` checks them together with the data gate, before any fit.
    """
    try:
        data = TrainingData.from_orders(audited, restaurants).as_of(date)
    except DataError as error:
        return (Shortfall(error.facts, error.hint),)
    mode = choose_mode(data, date)
    last_day, first_gate_day = date - ONE_DAY, date - mode.gate_days * ONE_DAY
    least_days = mode.gate_days + MIN_FITTED_DAYS
    shortfalls = []
    first_day = first_counted_day(data)
    if first_day > first_gate_day - MIN_FITTED_DAYS * ONE_DAY:
        remedy = f"Provide orders from {date - least_days * ONE_DAY} or earlier"
        later_date = f", or use --date {first_day + least_days * ONE_DAY}" if first_day > data.first_day else ""
        shortfalls.append(
            Shortfall(
                f"Training needs {least_days} days: {MIN_FITTED_DAYS} to fit on, and {mode.gate_days} to evaluate. "
                f"{first_orders_text(data)}",
                f"{remedy}{later_date}.",
                least_days=least_days,
            )
        )
    elif (fit := fit_shortfall(data, last_day, mode.min_calibration_orders)) is not None:
        shortfalls.append(fit)
    if not data.is_evaluation[data.acknowledged_day >= day_number(first_gate_day)].any():
        shortfalls.append(
            Shortfall(
                f"No order from {first_gate_day} to {last_day} has a label for the evaluation.",
                f"Provide the outcomes of those days{_date_suggestion(data)}.",
                resolved_checks=("freshness",),
            )
        )
    return tuple(shortfalls)


def _date_suggestion(data: TrainingData) -> str:
    """Return the option for the day after the last label, if there is a label."""
    days = data.acknowledged_day[data.is_evaluation]
    return f", or use --date {date_from_day_number(int(days.max()) + 1)}" if len(days) else ""


def find_store_shortfalls(store: Store, schema: Schema, date: dt.date) -> tuple[Shortfall, ...]:
    """Return why a bundle with `schema` can't be stored, or can't be compared with the champion as of `date`.

    A champion that is missing or damaged isn't reported here. The comparison reports it, and the new bundle stays in
    the store. Raises `StoreError` if the store can't be read.
    """
    if "://" not in store.url and not store.is_writable():
        remedy = "Allow it, or use another store (--store)."
        return (Shortfall(f"This user can't write to the store {store.url}.", remedy, error=StoreError),)
    champion = _champion_as_of(store, date)
    if champion is None or champion.schema.target.name == schema.target.name:
        return ()
    ours, theirs = schema.target, champion.schema.target
    return (
        Shortfall(
            f"The new bundle predicts {ours.name} ({ours.title}), and the champion {champion.id} predicts "
            f"{theirs.name} ({theirs.title}), so they can't be compared.",
            f"Use another store for {ours.name} (--store).",
            error=UsageError,
        ),
    )


def _champion_as_of(store: Store, date: dt.date) -> Manifest | None:
    entry = ChampionLog(store).as_of(date)
    if entry is not None and store.has_bundle(entry.bundle):
        with suppress(BundleVerificationError):
            return store.read_manifest(entry.bundle)
    return None
