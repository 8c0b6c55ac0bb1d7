"""Names that companies give to columns, and words in names that say what a column contains.

`preptime.schema.inference` compares a column's name with these, and then its contents. Names are lists of words:
`createdAt`, `created_at`, and `Created At` are the same. Earlier names are more specific, and win.
"""

from __future__ import annotations

import difflib
import re

from preptime.domain.data_dictionary import MIN_NAME_SIMILARITY

ORDER_SYNONYMS: dict[str, tuple[str, ...]] = {
    "order_acknowledged_at": (
        *("order_acknowledged_at", "acknowledged_at", "acknowledged_time", "acknowledgement_time", "ack_time"),
        *("accepted_at", "order_accepted_at", "accepted_time", "acceptance_time", "time_accepted"),
        *("confirmed_at", "order_confirmed_at", "confirmed_time", "confirmation_time", "time_confirmed"),
        *("placed_at", "order_placed_at", "ordered_at", "created_at", "order_created_at", "created_time", "created"),
        *("order_time", "order_datetime", "order_timestamp", "order_date_time", "time_ordered", "time_order_placed"),
        *("purchased_at", "order_purchase_timestamp", "submitted_at", "received_at", "creation_time", "created_on"),
        *("order_date", "datetime", "timestamp"),
    ),
    "restaurant_id": (
        *("restaurant_id", "store_id", "merchant_id", "venue_id", "vendor_id", "shop_id", "outlet_id", "branch_id"),
        *("kitchen_id", "partner_id", "site_id", "location_id", "restaurant_code", "store_code", "store_number"),
        *("restaurant", "store", "merchant", "venue", "vendor", "outlet", "branch", "kitchen"),
        *("restaurant_name", "store_name", "merchant_name", "venue_name", "vendor_name"),
    ),
    "order_value": (
        *("order_value", "subtotal", "sub_total", "order_subtotal", "basket_value", "basket_total", "cart_value"),
        *("cart_total", "order_total", "order_amount", "order_price", "order_cost", "total_amount", "total_price"),
        *("total_value", "gross_value", "gross_amount", "bill_amount", "cost_of_the_order", "item_total", "net_total"),
        *("amount", "total", "value", "price", "gmv"),
    ),
    "number_of_items": (
        *("number_of_items", "total_items", "n_items", "num_items", "nb_items", "no_of_items", "item_count"),
        *("items_count", "count_of_items", "order_items", "total_quantity", "items", "quantity", "qty", "basket_size"),
    ),
    "order_ready_at": (
        *("order_ready_at", "ready_at", "food_ready_at", "ready_time", "food_ready_time", "order_ready_time"),
        *("order_ready", "time_ready", "prepared_at", "order_prepared_at", "cooked_at", "kitchen_done_at"),
        *("preparation_finished_at", "prep_finished_at", "food_ready", "marked_ready_at", "ready_for_pickup_at"),
    ),
    "prep_time": (
        *("prep_time", "preparation_time", "food_preparation_time", "order_prep_time", "order_preparation_time"),
        *("food_prep_time", "kitchen_time", "cooking_time", "cook_time", "prep_duration", "preparation_duration"),
        *("time_to_ready", "make_time", "prep"),
    ),
    "order_id": (
        *("order_id", "order_uuid", "order_number", "order_no", "order_ref", "order_reference", "order_key"),
        *("order_code", "transaction_id", "id", "uuid"),
    ),
    "country": ("country", "country_code", "country_name", "restaurant_country", "store_country"),
    "city": (
        *("city", "city_name", "restaurant_city", "store_city", "town", "market_id", "market", "market_name"),
        *("city_id", "metro", "metro_area", "region", "region_id", "region_name", "district", "area"),
    ),
    "type_of_food": (
        *("type_of_food", "food_type", "cuisine", "cuisine_type", "cuisine_name", "cuisine_category"),
        *("food_category", "store_primary_category", "restaurant_category", "store_category", "merchant_category"),
        *("restaurant_type", "kitchen_type", "category", "category_name"),
    ),
    "open_orders": ("open_orders",),
}
"""For each key of `[orders]`: names of columns, the most specific first."""

DELIVERY_TIMES = (
    *("actual_delivery_time", "delivered_at", "order_delivered_at", "delivery_time", "delivered_time"),
    *("actual_delivered_at", "delivery_completed_at", "time_delivered", "dropoff_time", "dropped_off_at"),
    *("order_delivered_customer_date", "delivered_on"),
)
"""Names of times when an order is delivered."""
DELIVERY_DURATIONS = (
    *("delivery_duration", "actual_delivery_duration", "delivery_time", "actual_delivery_time", "total_delivery_time"),
    *("order_delivery_time", "time_taken", "time_to_deliver"),
)
"""Names of durations until an order is delivered."""

RESTAURANT_SYNONYMS: dict[str, tuple[str, ...]] = {
    "restaurant_id": ("id", *ORDER_SYNONYMS["restaurant_id"], "uuid", "code", "name"),
    "country": ORDER_SYNONYMS["country"],
    "city": ORDER_SYNONYMS["city"],
    "type_of_food": (*ORDER_SYNONYMS["type_of_food"], "type"),
    "time_zone": ("time_zone", "tz", "iana_time_zone", "time_zone_name", "tz_name", "store_time_zone"),
}
"""For each key of `[restaurants]`: names of columns."""

UNIT_WORDS: dict[str, str] = {
    **dict.fromkeys(("ms", "millis", "milliseconds", "millisecond", "msec"), "ms"),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), "s"),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), "min"),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), "h"),
}
"""Words in names of durations, and the unit that they mean."""
MONEY_WORDS: dict[str, str] = {
    **dict.fromkeys(("cents", "cent", "pence", "minor", "pennies"), "cents"),
    **dict.fromkeys(("mills", "millis"), "mills"),
}
"""Words in names of money, and the unit that they mean."""
CURRENCY_WORDS = {
    **{code.lower(): code for code in ("GBP", "USD", "EUR", "CAD", "AUD", "NZD", "CHF", "SEK", "NOK", "DKK", "PLN")},
    **{code.lower(): code for code in ("BRL", "INR", "JPY", "CNY", "MXN", "SGD", "HKD", "AED", "ZAR", "TRY", "CZK")},
}
"""ISO codes of currencies that occur in names of columns."""

LATER_WORDS = frozenset(
    [
        *("actual", "delivered", "delivery", "dropoff", "pickup", "picked", "ready", "rating", "ratings", "review"),
        *("reviews", "feedback", "stars", "refund", "refunded", "cancelled", "canceled", "cancellation", "complaint"),
        *("complaints", "status", "completed", "finished", "arrived", "arrival", "duration", "elapsed", "lateness"),
        *("delay", "late", "tip", "tips", "prep", "preparation", "taken"),
    ]
)
"""Words in the names of columns that are known only after the acknowledgement."""
ESTIMATE_WORDS = frozenset(
    [
        *(
            "estimated",
            "estimate",
            "est",
            "expected",
            "predicted",
            "planned",
            "promised",
            "scheduled",
            "quoted",
            "typical",
        )
    ]
)
"""Words that make a name one that is known when the order is acknowledged, whatever its other words."""
KNOWN_PHRASES = (("delivery", "fee"), ("delivery", "distance"), ("delivery", "type"), ("delivery", "method"))
"""Words that aren't about a later event if they occur together."""
PERSON_WORDS = frozenset(["courier", "driver", "rider", "dasher", "agent", "person"])
"""Words for the person who delivers, and who is assigned after the acknowledgement."""
ID_WORDS = frozenset(["id", "ids", "uuid", "guid", "key", "ref", "reference", "hash", "number", "no", "phone", "code"])
"""Words in the names of identifiers, whose numbers have no size."""
CODE_WORDS = frozenset(
    [
        *("id", "code", "type", "protocol", "class", "category", "zone", "channel", "method", "platform", "group"),
        *("segment", "market", "region", "cluster", "kind", "mode", "version"),
    ]
)
"""Words in the names of whole numbers that are codes."""


def name_words(name: str) -> tuple[str, ...]:
    """Return the words of a column's name, in lower case.

    Example:
        >>> name_words("storePrimary-Category (EUR)")
        ('store', 'primary', 'category', 'eur')
    """
    separated = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    words = re.findall(r"[^\W_]+", separated.casefold())
    joined = " ".join(words).replace("time zone", "timezone").replace("sub total", "subtotal")
    return tuple(joined.replace("timezone", "time zone").split())


_MIN_SIMILAR_LETTERS = 8
"""Shorter names have other words within one or two letters: `counter` and `country`, `code` and `cost`."""
_KNOWN_NAMES = frozenset(
    name_words(synonym)
    for synonyms in (*ORDER_SYNONYMS.values(), DELIVERY_TIMES, DELIVERY_DURATIONS, *RESTAURANT_SYNONYMS.values())
    for synonym in synonyms
)


def name_rank(name: str, synonyms: tuple[str, ...]) -> float | None:
    """Return how well a column's name agrees with synonyms: the smaller, the better. Return None if it doesn't.

    The words of units and currencies, such as `_min` and `_gbp`, are ignored. A misspelled name comes after all exact
    ones. A name that is a synonym of something else isn't misspelled: `restaurant_id` is similar to `restaurant_city`.
    """
    words = name_words(name)
    core = tuple(word for word in words if word not in UNIT_WORDS.keys() | CURRENCY_WORDS.keys() | MONEY_WORDS.keys())
    exact = [rank for rank, synonym in enumerate(synonyms) if name_words(synonym) in (words, core)]
    if exact:
        return float(exact[0])
    if {words, core} & _KNOWN_NAMES:
        return None
    letters = "".join(core or words)
    similarity, rank = max((_similarity(letters, synonym), -rank) for rank, synonym in enumerate(synonyms))
    is_reliable = similarity >= MIN_NAME_SIMILARITY and len(letters) >= _MIN_SIMILAR_LETTERS
    return len(synonyms) - rank - similarity if is_reliable else None


def _similarity(letters: str, synonym: str) -> float:
    return difflib.SequenceMatcher(None, letters, "".join(name_words(synonym))).ratio()


def is_known_later(name: str) -> bool:
    """Return whether a column's name says that its value is known only after the acknowledgement."""
    words = name_words(name)
    if ESTIMATE_WORDS & {*words} or any({*phrase} <= {*words} for phrase in KNOWN_PHRASES):
        return False
    is_assigned_person = bool(PERSON_WORDS & {*words}) and bool(
        {"id", "name", "uuid", "age", "rating", "ratings"} & {*words}
    )
    return bool(LATER_WORDS & {*words}) or is_assigned_person


def duration_unit(name: str) -> str:
    """Return the unit of time in a column's name, or an empty string."""
    return next((UNIT_WORDS[word] for word in reversed(name_words(name)) if word in UNIT_WORDS), "")
