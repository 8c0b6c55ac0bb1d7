"""Bundles that answer every order differently, what each of them answers, and ways to damage one."""

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
"""Between the answers of one bundle and the next: more than any rounding, less than any two orders differ by."""
DAMAGES = ("another file", "cut short", "one bit", "golden", "missing", "forged")
_MODELS: tuple[tuple[str, ...], ...] = ((), ("rf",), ("rf", "quantile"))
_OFFSET_HOURS = {10: 1, 20: 1, 30: 2}
"""London's and Paris' in June."""


@dataclass(frozen=True)
class StormOrder:
    """One order: as a client writes it, and as a bundle reads it."""

    order_id: str
    restaurant_id: int
    local_time: dt.datetime
    order_value_gbp: float
    number_of_items: int

    @property
    def offset(self) -> str:
        """The restaurant's, as text."""
        return f"+0{_OFFSET_HOURS[self.restaurant_id]}:00"

    def fields(self, *, as_instant: bool) -> dict[str, object]:
        """The order in a request, its time on the wall clock or in UTC."""
        instant = self.local_time - dt.timedelta(hours=_OFFSET_HOURS[self.restaurant_id])
        time = f"{instant.isoformat()}Z" if as_instant else self.local_time.isoformat(" ") + self.offset
        return {
            "order_id": self.order_id,
            "order_acknowledged_at": time,
            "order_value_gbp": self.order_value_gbp,
            "restaurant_id": self.restaurant_id,
            "number_of_items": self.number_of_items,
        }


ORDERS = tuple(
    StormOrder(
        f"A-{place}",
        (place % 3 + 1) * 10,
        dt.datetime.combine(DAY, dt.time(9 + place, 4 * place, 5)),
        11.5 + place,
        place + 1,
    )
    for place in range(12)
)


@dataclass(frozen=True)
class StormRequest:
    """One request."""

    orders: tuple[StormOrder, ...]
    models: tuple[str, ...]

    def body(self) -> bytes:
        """What is sent: one order alone where nothing else is asked for."""
        fields = [order.fields(as_instant=place % 2 == 1) for place, order in enumerate(self.orders)]
        if len(fields) == 1 and not self.models:
            return json.dumps(fields[0]).encode()
        return json.dumps({"orders": fields, "models": self.models}).encode()

    def expected_response(self, bundle: Bundle) -> dict[str, object]:
        """What `bundle` has to answer, to the digits that are told."""
        found = bundle.predict(_columns(self.orders), tuple(name for name in self.models if name != "quantile"))
        points = {name: found.default if name == "quantile" else found.points[name] for name in self.models}
        predictions = []
        for place, order in enumerate(self.orders):
            p10, p50, p80, p90 = (round(float(value), SECONDS_DECIMALS) for value in found.quantiles[place])
            middle = float(found.default[place])
            ready = (order.local_time + dt.timedelta(seconds=middle + 0.5)).replace(microsecond=0)
            one: dict[str, object] = {
                "order_id": order.order_id,
                "prep_time_seconds": round(middle),
                "p10": p10,
                "p50": p50,
                "p80": p80,
                "p90": p90,
                "ready_at": ready.isoformat() + order.offset,
                "fallback_level": FALLBACK_LEVELS[found.fallback_level[place]],
            }
            if self.models:
                one["models"] = {name: round(float(values[place]), SECONDS_DECIMALS) for name, values in points.items()}
            predictions.append(one)
        return {"bundle": bundle.manifest.id, "predictions": predictions}


REQUESTS = (
    *(StormRequest((order,), ()) for order in ORDERS),
    *(StormRequest(ORDERS[place:] + ORDERS[:place], models) for place, models in zip((0, 5, 7), _MODELS, strict=True)),
)


def _columns(orders: tuple[StormOrder, ...]) -> OrderColumns:
    """The orders of restaurants 10, 20 and 30 (London, London, Paris) with the codes that their directory has."""
    place = np.array([order.restaurant_id // 10 - 1 for order in orders])
    epoch = dt.datetime(1970, 1, 1)
    return OrderColumns(
        acknowledged_at=np.array([(order.local_time - epoch) // dt.timedelta(seconds=1) for order in orders]),
        restaurant_id=np.array([order.restaurant_id for order in orders]),
        order_value_gbp=np.array([order.order_value_gbp for order in orders]),
        number_of_items=np.array([order.number_of_items for order in orders]),
        country=(1 - place // 2).astype(np.int32),
        city=(place // 2).astype(np.int32),
        type_of_food=place.astype(np.int32),
    )


def make_bundles(store: Store, count: int) -> list[Bundle]:
    """Bundles in the store, no two of which answer any order alike."""
    return [Bundle.load(store.fetch(put_bundle(store, shift=SHIFT_SECONDS * place))) for place in range(count)]


def make_damaged(root: Path, number: int) -> str:
    """A bundle in the store at `root` that must be refused; its id."""
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
        case "forged":  # every hash is right, and so is the id: only the golden orders tell
            replace_files(folder, {MODEL_FILE: some_model(shift - 1.0)})
            bundle_id = decode_manifest((folder / MANIFEST_FILE).read_bytes()).id
            folder.rename(folder.with_name(bundle_id))
    return bundle_id
