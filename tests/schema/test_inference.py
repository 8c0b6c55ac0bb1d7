"""What inference reads from names and contents, and what it leaves open."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence

import polars as pl
import pytest

from preptime.domain.timestamps import check_pattern, compile_pattern
from preptime.errors import DataError
from preptime.schema.column_contents import NumberMarks, possible_marks, read_contents, shape_patterns
from preptime.schema.inference import infer_schema
from preptime.schema.proposal import Proposal
from preptime.schema.schema import OrderColumn, Schema
from preptime.schema.synonyms import is_known_later, name_rank, name_words
from preptime.schema.toml_file import parse_schema

ROWS = 400
START = dt.datetime(2015, 2, 1, 12)
SECONDS = [600 + 37 * row % 900 for row in range(ROWS)]
TIMES = [START + dt.timedelta(hours=7 * row % 10, days=row // 20, minutes=row % 60) for row in range(ROWS)]
"""Twenty days of orders between 12:00 and 23:00."""


def orders(pattern: str = "%Y-%m-%d %H:%M:%S", /, **columns: Sequence[object]) -> pl.DataFrame:
    """Return orders as text, with more columns. A column with None as values is left out."""
    own: dict[str, Sequence[object]] = {
        "created_at": [time.strftime(pattern) for time in TIMES],
        "ready_at": [
            (time + dt.timedelta(seconds=label)).strftime(pattern) for time, label in zip(TIMES, SECONDS, strict=True)
        ],
        "store_id": [row % 8 for row in range(ROWS)],
    }
    cells = {name: values for name, values in (own | columns).items() if values}
    return pl.DataFrame(
        {name: ["" if value is None else str(value) for value in values] for name, values in cells.items()}
    )


def infer(frame: pl.DataFrame, zone: str = "Europe/London", **answers: str) -> Proposal:
    given = {"naive_times": "local"} | answers
    return infer_schema(frame, time_zone=zone, answers={name: value for name, value in given.items() if value})


def schema_of(proposal: Proposal) -> Schema:
    return parse_schema(proposal.to_toml("A test."))


def open_lines(proposal: Proposal) -> dict[str, list[str]]:
    return {line.key: line.candidates for line in proposal.open_lines}


@pytest.mark.parametrize(
    "pattern",
    [
        "%d/%m/%Y %H:%M",
        "%m/%d/%Y %I:%M %p",
        "%d.%m.%Y %H:%M:%S",
        "%Y/%m/%d %H:%M",
        "%d %B %Y %H:%M",
        "%b %d, %Y %I:%M%p",
        "%Y%m%d%H%M%S",
        "%Y%m%dT%H%M%S",
        "%a %b %d %Y %H:%M:%S",
    ],
)
def test_format_of_times_is_proved_by_the_days(pattern: str) -> None:
    schema = schema_of(infer(orders(pattern)))
    assert schema.orders["order_acknowledged_at"] == OrderColumn(column="created_at", format=pattern)
    assert schema.orders["order_ready_at"] == OrderColumn(column="ready_at", format=pattern)


@pytest.mark.parametrize(
    ("pattern", "end", "hours"),
    [
        ("%a, %d %b %Y %H:%M:%S %Z", "GMT", 0),
        ("%a, %d %b %Y %H:%M:%S %z", "+0100", 1),
        ("%a %b %d %Y %H:%M:%S GMT%z", "+0100", 1),
        ("%Y%m%dT%H%M%S%z", "Z", 0),
        ("%Y%m%d%H%M%S%z", "-0530", -5.5),
        ("%d/%m/%Y %H:%M %Z", "UTC", 0),
    ],
)
def test_times_with_words_and_offsets_are_instants(pattern: str, end: str, hours: float) -> None:
    frame = orders(re.sub("%[zZ]", end, pattern))
    schema = schema_of(infer(frame))
    assert schema.orders["order_acknowledged_at"] == OrderColumn(column="created_at", format=pattern)
    reading = read_contents(frame, NumberMarks())["created_at"].times[0]
    assert reading.is_instant
    assert reading.times[0] == START - dt.timedelta(hours=hours)
    assert check_pattern(pattern) is None
    assert re.match(compile_pattern(pattern), frame["created_at"][0])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ("2024-03-19 20:58:21 EST", 'order_acknowledged_at = { column = "created_at", format ='),
        ("45370.87385417", "format the cells as date and time"),
    ],
)
def test_unknown_format_names_the_column_and_the_line(values: str, words: str) -> None:
    frame = orders().drop("ready_at").with_columns(created_at=pl.lit(values))
    with pytest.raises(DataError, match=f"Values of created_at, such as '{values}', have no known format") as error:
        infer(frame)
    assert words in str(error.value.hint)


def test_dates_without_a_day_above_12_are_open() -> None:
    frame = orders("%d/%m/%Y %H:%M").head(200)
    proposal = infer(frame)
    assert not proposal.is_usable
    assert [question.name for question in proposal.questions] == ["date_order"]
    assert "01/02/2015 12:00 is 1 February 2015" in proposal.questions[0].choices[0][1]
    assert "01/02/2015 12:00 is 2 January 2015" in proposal.questions[0].choices[1][1]
    assert open_lines(proposal)["order_acknowledged_at"] == [
        'order_acknowledged_at = { column = "created_at", format = "%d/%m/%Y %H:%M" }',
        'order_acknowledged_at = { column = "created_at", format = "%m/%d/%Y %H:%M" }',
    ]
    answered = schema_of(infer(frame, date_order="month"))
    assert {column.format for column in answered.orders.values() if column.format} == {"%m/%d/%Y %H:%M"}


@pytest.mark.parametrize("space", ["\u202f", "\u00a0", " ", ""])
def test_format_of_times_ignores_the_space_before_am(space: str) -> None:
    schema = schema_of(infer(orders(f"%d/%m/%Y, %I:%M:%S{space}%p")))
    expected = f"%d/%m/%Y, %I:%M:%S{' ' if space else ''}%p"
    assert schema.orders["order_acknowledged_at"] == OrderColumn(column="created_at", format=expected)


@pytest.mark.parametrize("pattern", ["%y-%m-%d %H:%M:%S", "%d-%m-%y %H:%M:%S", "%m-%d-%y %H:%M:%S"])
def test_two_digit_year_is_where_dates_span_few_days(pattern: str) -> None:
    assert schema_of(infer(orders(pattern))).orders["order_acknowledged_at"].format == pattern


def test_two_digit_year_of_one_day_is_open() -> None:
    frame = orders("%y-%m-%d %H:%M").head(20)
    proposal = infer(frame)
    assert not proposal.is_usable
    (question,) = proposal.questions
    assert [answer for answer, _ in question.choices] == ["day", "year"]
    assert "15-02-01 12:00 is 1 February 2015" in question.choices[1][1]
    answered = schema_of(infer(frame, date_order="year"))
    assert {column.format for column in answered.orders.values() if column.format} == {"%y-%m-%d %H:%M"}


def test_another_column_proves_the_order_of_the_date() -> None:
    """Orders of 12 February that are ready on the 13th prove it for both columns."""
    frame = orders("%d/%m/%Y %H:%M").head(240)
    late = frame["ready_at"].str.replace(r"^12/", "13/")
    schema = schema_of(infer(frame.with_columns(late.alias("ready_at"))))
    assert schema.orders["order_acknowledged_at"].format == "%d/%m/%Y %H:%M"


def test_naive_times_are_decided_by_the_hours() -> None:
    local = infer(orders(), "America/Los_Angeles", naive_times="")
    assert schema_of(local).orders["order_acknowledged_at"].time_zone == ""
    in_utc = [(time + dt.timedelta(hours=8)).strftime("%Y-%m-%d %H:%M:%S") for time in TIMES]
    utc = infer(orders(created_at=in_utc, ready_at=[]), "America/Los_Angeles", naive_times="")
    assert schema_of(utc).orders["order_acknowledged_at"].time_zone == "UTC"
    near = infer(orders(), "Europe/London", naive_times="")
    assert open_lines(near)["order_acknowledged_at"] == [
        'order_acknowledged_at = "created_at"',
        'order_acknowledged_at = { column = "created_at", time_zone = "UTC" }',
    ]


def test_unknown_time_zone_in_an_answer_is_an_error() -> None:
    with pytest.raises(DataError, match="Londn"):
        infer(orders(), zone="", time_zone="Londn")


def test_few_orders_decide_no_time_zone() -> None:
    assert "order_acknowledged_at" in open_lines(infer(orders().head(99), "America/Los_Angeles", naive_times=""))


def test_unknown_time_zone_of_restaurants_is_open() -> None:
    proposal = infer(orders(), zone="")
    assert open_lines(proposal) == {"time_zone": ['time_zone = "Area/City"']}
    assert schema_of(infer(orders(), zone="", time_zone="Asia/Tokyo")).restaurants.time_zone == "Asia/Tokyo"
    with pytest.raises(DataError, match="The time zone 'Mars' is unknown"):
        infer(orders(), "Mars")


@pytest.mark.parametrize(
    ("name", "factor", "unit"),
    [("prep_minutes", 1 / 60, "min"), ("prep_time", 1 / 60, "min"), ("prep_time", 1, ""), ("prep_time_ms", 1000, "ms")],
)
def test_unit_of_a_duration_is_read_from_the_median(name: str, factor: float, unit: str) -> None:
    cells: list[object] = [seconds * factor for seconds in SECONDS]
    schema = schema_of(infer(orders(ready_at=[], **{name: cells})))
    assert schema.orders["prep_time_seconds"] == OrderColumn(column=name, unit=unit)


def test_duration_of_150_is_open_without_a_ready_time() -> None:
    cells: list[object] = [140 + row % 20 for row in range(ROWS)]
    proposal = infer(orders(ready_at=[], prep_time=cells))
    assert open_lines(proposal)["prep_time"] == [
        'prep_time = { column = "prep_time", unit = "s" }',
        'prep_time = { column = "prep_time", unit = "min" }',
    ]
    named = schema_of(infer(orders(ready_at=[], prep_time_min=cells)))
    assert named.orders["prep_time_seconds"].unit == "min"


def test_ready_time_decides_the_unit_and_is_the_label() -> None:
    minutes: list[object] = [seconds // 60 for seconds in SECONDS]
    proposal = infer(orders(prep=minutes))
    assert "prep_time_seconds" not in schema_of(proposal).orders
    assert proposal.unused["prep"] == "it differs from the ready time minus the acknowledgement, the label"
    exact: list[object] = [seconds * 1000 for seconds in SECONDS]
    assert schema_of(infer(orders(prep=exact))).orders["prep_time_seconds"] == OrderColumn(column="prep", unit="ms")


def test_delivery_is_the_target_if_nothing_is_ready() -> None:
    frame = orders().rename({"ready_at": "actual_delivery_time"})
    target = schema_of(infer(frame)).target
    assert (target.name, target.title, target.event) == ("delivery", "delivery time", "delivered")
    assert schema_of(infer(orders(delivered_at=frame["created_at"].to_list()))).target.name == "preparation"


@pytest.mark.parametrize(
    ("name", "cells", "zone", "expected"),
    [
        ("subtotal", ["2150", "1500"], "America/Los_Angeles", OrderColumn(column="subtotal", unit="cents")),
        ("subtotal", ["21.50", "15.00"], "America/Los_Angeles", OrderColumn(column="subtotal")),
        ("total_pence", ["215", "150"], "Europe/London", OrderColumn(column="total_pence", unit="cents")),
        ("order_total", ["£21.50", "£15.00"], "Europe/London", OrderColumn(column="order_total", currency="GBP")),
        ("order_total", ["$21.50", "$15.00"], "America/New_York", OrderColumn(column="order_total", currency="USD")),
        ("order_total", ["$21.50", "$15.00"], "Australia/Sydney", OrderColumn(column="order_total", currency="AUD")),
        (
            "order_total",
            ["R$ 21.50", "R$ 9.10"],
            "America/Sao_Paulo",
            OrderColumn(column="order_total", currency="BRL"),
        ),
        ("amount_eur", ["21.50", "15.00"], "Europe/Paris", OrderColumn(column="amount_eur", currency="EUR")),
    ],
)
def test_money_has_its_unit_and_currency(name: str, cells: list[str], zone: str, expected: OrderColumn) -> None:
    schema = schema_of(infer(orders(**{name: [cells[row % 2] for row in range(ROWS)]}), zone))
    assert schema.orders["order_value"] == expected


@pytest.mark.parametrize(
    "zone", ["Asia/Kolkata", "Asia/Calcutta", "America/Monterrey", "Asia/Yekaterinburg", "Asia/Makassar", "Etc/UTC"]
)
def test_whole_units_are_open_by_the_country_of_the_zone(zone: str) -> None:
    proposal = infer(orders(subtotal=[596 + row for row in range(ROWS)]), zone)
    assert open_lines(proposal)["order_value"] == [
        'order_value = "subtotal"',
        'order_value = { column = "subtotal", unit = "cents" }',
    ]


@pytest.mark.parametrize(
    ("sign", "zone", "currency"),
    [
        ("$", "America/Edmonton", "CAD"),
        ("$", "America/Monterrey", "MXN"),
        ("$", "Etc/UTC", "USD"),
        ("¥", "Asia/Tokyo", "JPY"),
        ("¥", "Asia/Chongqing", "CNY"),
        ("KWD ", "Asia/Kuwait", "KWD"),
    ],
)
def test_currency_of_a_sign_is_that_of_the_country(sign: str, zone: str, currency: str) -> None:
    schema = schema_of(infer(orders(subtotal=[f"{sign}{row % 9}.25" for row in range(ROWS)]), zone))
    assert schema.orders["order_value"] == OrderColumn(column="subtotal", currency=currency)


def test_number_with_two_currencies_is_no_order_value() -> None:
    cells = [f"{('USD', 'EUR')[row % 2]} {row % 90}.50" for row in range(ROWS)]
    assert "order_value" not in schema_of(infer(orders(order_total=cells))).orders


def test_whole_yen_are_open_and_optional() -> None:
    cells: list[object] = [1500 + row for row in range(ROWS)]
    proposal = infer(orders(price=cells), "Asia/Tokyo")
    assert proposal.is_usable
    assert "order_value" not in schema_of(proposal).orders
    assert len(open_lines(proposal)["order_value"]) == 2
    assert schema_of(infer(orders(price=cells), "Asia/Tokyo", money_unit="units")).orders["order_value"].unit == ""


def test_features_are_known_when_the_order_is_acknowledged() -> None:
    proposal = infer(
        orders(
            estimated_driving_duration=[row % 300 for row in range(ROWS)],
            weather=[("sun", "rain", None)[row % 3] for row in range(ROWS)],
            order_protocol=[row % 7 for row in range(ROWS)],
            courier_id=[row % 9 for row in range(ROWS)],
            rating=[row % 5 for row in range(ROWS)],
            picked=[time.strftime("%Y-%m-%d %H:%M:%S") for time in TIMES],
            checked=[(time + dt.timedelta(hours=1)).strftime("%Y-%m-%d %H:%M:%S") for time in TIMES],
            leak=[seconds / 7 for seconds in SECONDS],
            session=[f"s{row}" for row in range(ROWS)],
            counter=list(range(ROWS)),
            app=["web"] * ROWS,
            nothing=[None] * ROWS,
            Weekday=[row % 7 for row in range(ROWS)],
        )
    )
    schema = schema_of(proposal)
    assert {feature.name: feature.type for feature in schema.features} == {
        "estimated_driving_duration": "number",
        "weather": "category",
        "order_protocol": "category",
        "order_weekday": "number",
    }
    assert {feature.column for feature in schema.features} >= {"Weekday"}
    assert {*proposal.unused} == {
        *("courier_id", "rating", "picked", "checked", "leak", "session", "counter", "app", "nothing")
    }
    assert proposal.unused["checked"] == "a time after the acknowledgement, so it's known only later"
    assert proposal.unused["leak"] == "its correlation with the label is 1.00, so it's known only later"


EPOCHS = {
    "seconds": lambda time: f"{time.timestamp():.0f}",
    "milliseconds": lambda time: f"{1000 * time.timestamp():.0f}",
    "nanoseconds": lambda time: f"{time.timestamp():.0f}000000000",
    "fractions": lambda time: f"{time.timestamp():.0f}.25",
}


@pytest.mark.parametrize("kind", EPOCHS)
def test_epochs_are_times_and_no_features(kind: str) -> None:
    """They get the reasons of times in ISO 8601, whatever their name is."""
    names = ("bagged", "handoff_ts", "sealed_at", "kds_bump")
    frame = orders()
    ready = frame["ready_at"].str.to_datetime().dt.replace_time_zone("UTC")
    late = {
        name: [EPOCHS[kind](time + dt.timedelta(seconds=row % 60)) for row, time in enumerate(ready)] for name in names
    }
    late["bagged"] = ["0" if row % 5 else cell for row, cell in enumerate(late["bagged"])]
    early = {"signup": [EPOCHS[kind](time - dt.timedelta(days=9)) for time in ready]}
    proposal = infer(orders(**late, **early))
    assert [line.key for line in proposal.lines if line.section in {"features", "ratios"}] == []
    reason = "a time after the acknowledgement, so it's known only later"
    assert proposal.unused == dict.fromkeys(names, reason) | {"signup": "a time; features are numbers or categories"}


def test_typed_epochs_are_times_and_long_ids_are_not() -> None:
    nanoseconds = pl.Series([1.4e18 + 1e15 * row for row in range(ROWS)])
    long_ids = [10**18 + row % 8 for row in range(ROWS)]
    frame = orders(store_id=[]).with_columns(
        bumped=nanoseconds,
        store=pl.Series(long_ids),
        menu_id=pl.Series([1_400_000_000 + row % 9 for row in range(ROWS)]),
    )
    restaurants = pl.DataFrame({"store": long_ids[:8], "last_seen": [1_500_000_000] * 4 + [1_500_000_007] * 4})
    proposal = infer_schema(frame, restaurants, time_zone="Europe/London", answers={"naive_times": "local"})
    schema = schema_of(proposal)
    assert schema.orders["restaurant_id"].column == "store"
    assert {feature.name: feature.type for feature in schema.features} == {"menu_id": "category"}
    assert {*proposal.unused} == {"bumped", "last_seen (restaurants)"}


def test_numbers_that_features_cannot_read_are_categories() -> None:
    proposal = infer(
        orders(
            courier=[("VAN1", "CAR2", "BIK3")[row % 3] for row in range(ROWS)],
            fee=[f"£{row % 4}.99" for row in range(ROWS)],
            surcharge=[f"£{row * 37 % 397}.50" for row in range(ROWS)],
            volume=[str(10**13 + row * 37 % 397) for row in range(ROWS)],
            distance=[f"{row * 37 % 90}.5" for row in range(ROWS)],
        )
    )
    assert {feature.name: feature.type for feature in schema_of(proposal).features} == {
        "courier": "category",
        "fee": "category",
        "distance": "number",
    }
    expected = "can't be read as plain numbers from -1e+12 to 1e+12, and it has too many for a category"
    assert proposal.unused == {
        "surcharge": f"values such as '£0.50' {expected}",
        "volume": f"values such as '10000000000000' {expected}",
    }


def test_counts_that_rise_together_have_a_ratio() -> None:
    couriers = [10 + row % 30 for row in range(ROWS)]
    busy = [count - row % 3 for row, count in enumerate(couriers)]
    proposal = infer(orders(couriers=couriers, busy=busy, distance=[row * 37 % 90 for row in range(ROWS)]))
    (ratio,) = schema_of(proposal).ratios
    assert (ratio.name, ratio.dividend, ratio.divisor) == ("busy_per_couriers", "busy", "couriers")


def test_columns_of_the_restaurants_file_are_mapped() -> None:
    restaurants = pl.DataFrame(
        {
            "ID": [str(number) for number in range(8)],
            "Country": ["UK"] * 8,
            "Town": ["Leeds", "York"] * 4,
            "Cuisine": ["thai", "pizza"] * 4,
            "seats": [str(20 + number) for number in range(8)],
            "phone": [f"0113 {number}" for number in range(8)],
        }
    )
    proposal = infer_schema(orders(), restaurants, answers={"naive_times": "local"})
    schema = schema_of(proposal)
    assert schema.restaurants.columns == {
        "restaurant_id": "ID",
        "country": "Country",
        "city": "Town",
        "type_of_food": "Cuisine",
    }
    assert [(feature.name, feature.of) for feature in schema.features] == [("seats", "restaurant")]
    assert [*proposal.unused] == ["phone (restaurants)"]


def test_unnamed_columns_are_open_with_candidates() -> None:
    frame = orders().rename({"created_at": "t0", "store_id": "x"})
    proposal = infer(frame.select("t0", "x"))
    assert open_lines(proposal) == {
        "order_acknowledged_at": ['order_acknowledged_at = "t0"'],
        "restaurant_id": ['restaurant_id = "x"'],
    }
    schema = schema_of(infer(frame, order_acknowledged_at="t0", restaurant_id="x"))
    assert schema.orders["restaurant_id"].column == "x"
    assert schema.orders["order_ready_at"].column == "ready_at"


def test_file_without_times_or_restaurants_is_refused() -> None:
    with pytest.raises(DataError, match="No column contains times with a date and a clock time"):
        infer(orders().select("store_id"))
    with pytest.raises(DataError, match="No column identifies restaurants"):
        infer(orders().select("created_at"))


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["15,10", "9,5"], (NumberMarks(",", ""),)),
        (["1.015,10", "9,5"], (NumberMarks(",", "."),)),
        (["1,015.10", "9.5"], (NumberMarks(".", ","),)),
        (["£1,015.10", ""], (NumberMarks(".", ","),)),
        (["1,015", "2,500"], (NumberMarks(".", ","), NumberMarks(",", ""))),
        (["15.10", "a, b"], (NumberMarks(),)),
    ],
)
def test_marks_of_numbers(cells: list[str], expected: tuple[NumberMarks, ...]) -> None:
    assert possible_marks(pl.DataFrame({"value": cells})) == expected


def test_ambiguous_decimal_mark_is_open() -> None:
    frame = orders(weight=["1,015" if row % 2 else "2,500" for row in range(ROWS)])
    assert open_lines(infer(frame))["decimal"] == ['decimal = ","', 'decimal = "."']
    assert schema_of(infer(frame, decimal=",")).source.decimal == ","
    assert schema_of(infer(frame, decimal=".")).source.thousands == ","


def test_typed_columns_are_read_without_text() -> None:
    frame = pl.DataFrame(
        {
            "created_at": pl.Series(TIMES).dt.replace_time_zone("America/New_York"),
            "prep_minutes": pl.Series(SECONDS) / 60,
            "store_id": pl.Series(range(ROWS)) % 8,
            "items_list": [["a", "b"]] * ROWS,
            "elapsed": [dt.timedelta(minutes=5)] * ROWS,
            "photo": [b"\xff"] * ROWS,
            "is_open": [row % 2 == 0 for row in range(ROWS)],
        }
    )
    proposal = infer(frame)
    schema = schema_of(proposal)
    assert schema.orders["order_acknowledged_at"] == OrderColumn(column="created_at")
    assert [(feature.name, feature.type) for feature in schema.features] == [("is_open", "category")]
    assert {*proposal.unused} == {"items_list", "elapsed", "photo"}
    contents = read_contents(frame, NumberMarks())["created_at"].times[0]
    assert contents.is_instant
    assert contents.times[0] == START + dt.timedelta(hours=5)


@pytest.mark.parametrize("cell", ["30-03-22 2:3", "12:30", "2015-06-01", "A-10017", "", "1/2"])
def test_text_without_date_and_clock_has_no_format(cell: str) -> None:
    assert shape_patterns(cell) == ()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("createdAt", ("created", "at")),
        ("Time Zone", ("time", "zone")),
        ("HTTPCode", ("http", "code")),
        ("sub_total", ("subtotal",)),
    ],
)
def test_words_of_names(name: str, words: tuple[str, ...]) -> None:
    assert name_words(name) == words


def test_similar_names_of_something_else_are_no_synonyms() -> None:
    assert name_rank("restaurant_id", ("restaurant_city",)) is None
    assert name_rank("Restaurant_latitude", ("restaurant_id",)) is None
    assert name_rank("num_distinct_items", ("number_of_items", "num_items")) is None
    assert name_rank("order_acknowleged_at", ("order_acknowledged_at",)) is not None
    assert name_rank("subtotal_gbp", ("order_value", "subtotal")) == 1


def test_estimates_are_known_in_time() -> None:
    assert is_known_later("actual_delivery_time")
    assert is_known_later("driver_rating")
    assert not is_known_later("estimated_delivery_duration")
    assert not is_known_later("delivery_distance_km")
    assert not is_known_later("total_onshift_dashers")
