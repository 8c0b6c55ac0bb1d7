"""Bundles with different predictions for every order, their expected responses, and damaged bundles."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from preptime.api.active_model import SECONDS_DECIMALS
from preptime.bundle.bundle import Bundle
from preptime.bundle.manifest import GOLDEN_FILE, MANIFEST_FILE, MODEL_FILE, decode_manifest
from preptime.bundle.store import BUNDLES_FOLDER, Store
from preptime.domain.orders import FALLBACK_LEVELS, OrderColumns
from tests.bundle.factories import DAY, put_bundle, replace_files, some_model

SHIFT_SECONDS = 37.0
"""Difference between the predictions of two bundles: more than any rounding, less than between any two orders."""
DAMAGES = ("another file", "cut short", "one bit", "golden", "missing", "forged")
_MODELS: tuple[tuple[str, ...], ...] = ((), ("rf",), ("rf", "quantile"))
_OFFSET_HOURS = {10: 1, 20: 1, 30: 2}
"""UTC offsets of London and Paris in June, by restaurant."""


@dataclass(frozen=True)
class StormOrder:
    """One order, as a client sends it and as a bundle reads it."""

    order_id: str
    restaurant_id: int
    local_time: dt.datetime
    order_value_gbp: float
    number_of_items: int

    @property
    def offset(self) -> str:
        """The UTC offset of the restaurant, as text."""
        return f"+0{_OFFSET_HOURS[self.restaurant_id]}:00"

    def fields(self, *, in_utc: bool) -> dict[str, object]:
        """Return the order in a request, with its timestamp in local time or in UTC."""
        utc_time = self.local_time - dt.timedelta(hours=_OFFSET_HOURS[self.restaurant_id])
        timestamp = f"{utc_time.isoformat()}Z" if in_utc else self.local_time.isoformat(" ") + self.offset
        return {
            "order_id": self.order_id,
            "order_acknowledged_at": timestamp,
            "order_value_gbp": self.order_value_gbp,
            "restaurant_id": self.restaurant_id,
            "number_of_items": self.number_of_items,
        }


ORDERS = tuple(
    StormOrder(
        f"A-{index}",
        (index % 3 + 1) * 10,
        dt.datetime.combine(DAY, dt.time(9 + index, 4 * index, 5)),
        11.5 + index,
        index + 1,
    )
    for index in range(12)
)


@dataclass(frozen=True)
class StormRequest:
    """One request."""

    orders: tuple[StormOrder, ...]
    models: tuple[str, ...]

    def body(self) -> bytes:
        """Return the body: a single order if there's one order and no model, otherwise a list."""
        fields = [order.fields(in_utc=index % 2 == 1) for index, order in enumerate(self.orders)]
        if len(fields) == 1 and not self.models:
            return json.dumps(fields[0]).encode()
        return json.dumps({"orders": fields, "models": self.models}).encode()

    def expected_response(self, bundle: Bundle) -> dict[str, object]:
        """Return the response that `bundle` must give, with the decimals of the API."""
        predicted = bundle.predict(_columns(self.orders), tuple(name for name in self.models if name != "quantile"))
        points = {name: predicted.default if name == "quantile" else predicted.points[name] for name in self.models}
        predictions = []
        for index, order in enumerate(self.orders):
            p10, p50, p80, p90 = (round(float(value), SECONDS_DECIMALS) for value in predicted.quantiles[index])
            p50_seconds = float(predicted.default[index])
            ready = (order.local_time + dt.timedelta(seconds=p50_seconds + 0.5)).replace(microsecond=0)
            prediction: dict[str, object] = {
                "order_id": order.order_id,
                "prep_time_seconds": round(p50_seconds),
                "p10": p10,
                "p50": p50,
                "p80": p80,
                "p90": p90,
                "ready_at": ready.isoformat() + order.offset,
                "fallback_level": FALLBACK_LEVELS[predicted.fallback_level[index]],
                "live": False,
            }
            if self.models:
                prediction["models"] = {
                    name: round(float(values[index]), SECONDS_DECIMALS) for name, values in points.items()
                }
            predictions.append(prediction)
        return {"bundle": bundle.manifest.id, "predictions": predictions}


REQUESTS = (
    *(StormRequest((order,), ()) for order in ORDERS),
    *(StormRequest(ORDERS[index:] + ORDERS[:index], models) for index, models in zip((0, 5, 7), _MODELS, strict=True)),
)


def _columns(orders: tuple[StormOrder, ...]) -> OrderColumns:
    """Return the orders as columns, with the category codes of restaurants 10, 20, and 30 (London, London, Paris)."""
    index = np.array([order.restaurant_id // 10 - 1 for order in orders])
    epoch = dt.datetime(1970, 1, 1)
    return OrderColumns(
        acknowledged_at=np.array([(order.local_time - epoch) // dt.timedelta(seconds=1) for order in orders]),
        restaurant_id=np.array([order.restaurant_id for order in orders]),
        order_value=np.array([order.order_value_gbp for order in orders]),
        number_of_items=np.array([order.number_of_items for order in orders]),
        country=(1 - index // 2).astype(np.int32),
        city=(index // 2).astype(np.int32),
        type_of_food=index.astype(np.int32),
    )


def make_bundles(store: Store, count: int) -> list[Bundle]:
    """Put bundles into the store whose predictions differ for every order."""
    return [Bundle.load(store.fetch(put_bundle(store, shift=SHIFT_SECONDS * index))) for index in range(count)]


def make_damaged(root: Path, number: int) -> str:
    """Put a bundle that must be rejected into the store at `root`. Return its ID."""
    shift = -SHIFT_SECONDS * (number + 1)
    bundle_id = put_bundle(Store.open(str(root)), shift=shift)
    folder = root / BUNDLES_FOLDER / bundle_id
    array = max((folder / "history").iterdir(), key=lambda path: path.stat().st_size)
    match DAMAGES[number % len(DAMAGES)]:
        case "another file":
            (folder / MODEL_FILE).write_bytes(b"damaged")
        case "cut short":
            (folder / MODEL_FILE).write_bytes((folder / MODEL_FILE).read_bytes()[:-9])
        case "one bit":
            content = bytearray(array.read_bytes())
            content[-1] ^= 1
            array.write_bytes(content)
        case "golden":
            (folder / GOLDEN_FILE).write_bytes((folder / GOLDEN_FILE).read_bytes().replace(b"1", b"2"))
        case "missing":
            array.unlink()
        case "forged":  # All hashes and the ID are correct. Only the golden orders differ.
            replace_files(folder, {MODEL_FILE: some_model(shift - 1.0)})
            bundle_id = decode_manifest((folder / MANIFEST_FILE).read_bytes()).id
            folder.rename(folder.with_name(bundle_id))
    return bundle_id
