"""The page `docs/schema.md`, generated from the keys, the synonyms, and the limits of the inference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from preptime.domain.data_dictionary import MIN_NAME_SIMILARITY, TARGET, order_column
from preptime.schema.feature_inference import MAX_CATEGORIES, MAX_CORRELATION, MAX_RATIOS, MIN_COUNT_CORRELATION
from preptime.schema.inference import MAX_LABEL_SECONDS, MIN_CENTS, MIN_LABEL_SECONDS
from preptime.schema.keys import (
    COLUMN_OPTION_MEANINGS,
    COLUMN_OPTIONS,
    EXAMPLE,
    FEATURE_OPTIONS,
    HYPERPARAMETERS,
    SECTIONS,
)
from preptime.schema.schema import DURATION_UNITS, MONEY_UNITS, PREP_TIME, RESTAURANT_NAMES
from preptime.schema.synonyms import DELIVERY_TIMES, ORDER_SYNONYMS
from preptime.schema.time_inference import MAX_NIGHT_SHARE, MIN_NIGHT_DIFFERENCE
from preptime.schema.toml_text import toml_value

_OPTION_VALUES = {
    "delimiter": ("text", "detected", '`";"`'),
    "decimal": ("text", '`"."`', '`","`'),
    "thousands": ("text", "none", '`"."`'),
    "name": ("text", '`"preparation"`', '`"delivery"`'),
    "title": ("text", '`"preparation time"`', '`"delivery time"`'),
    "event": ("text", '`"ready"`', '`"delivered"`'),
    "unit": ("text", '`"min"`', '`"s"`'),
}
"""Type, default, and example of the options of `[source]` and `[target]`."""
_COLUMN_OPTION_VALUES = {
    "column": ("text", "required in a table", '`"created_at"`'),
    "format": ("text", "ISO 8601 and epochs", '`"%d/%m/%Y %H:%M"`'),
    "time_zone": ("text", "the restaurant's", '`"UTC"`'),
    "unit": ("text", "seconds, or the currency's unit", '`"min"`, `"cents"`'),
    "currency": ("text", "none", '`"USD"`'),
    "range": ("two numbers", "in the data dictionary", "`[0, 500]`"),
}
_FEATURE_OPTION_VALUES = {
    "column": ("text", "the feature's name", '`"distance"`'),
    "type": ("text", "required", '`"number"`'),
    "unit": ("text", "none", '`"km"`'),
    "range": ("two numbers", "`[-1e12, 1e12]`", "`[0, 50]`"),
    "of": ("text", '`"order"`', '`"restaurant"`'),
    "required": ("true or false", "`false`", "`true`"),
    "title": ("text", "the name with spaces", '`"distance to the customer"`'),
}
_RESTAURANT_MEANINGS = {
    "restaurant_id": ("the column with the identifier", '`"store_id"`'),
    "country": ("the country of all restaurants, or `{ column = … }`", '`"UK"`'),
    "city": ("the column with the city", '`"town"`'),
    "type_of_food": ("the column with the type of food", '`"cuisine"`'),
    "time_zone": ("the IANA time zone of all restaurants, or `{ column = … }`", '`"Europe/London"`'),
}

_INTRODUCTION = """\
# Schema

<!-- Generated from src/preptime/schema. Edit src/preptime/schema/page.py or keys.py instead. -->

`schema.toml` describes the columns of your orders, so that you don't edit your data. Two commands lead from a file to
a promoted bundle:

```
preptime schema infer orders.csv --time-zone America/Los_Angeles --out schema.toml --yes
make demo ORDERS=orders.csv
```

Every command uses `schema.toml` in the working directory. `--schema FILE` takes precedence, then the variable
`PREPTIME_SCHEMA`. Without any, the schema is the built-in one, with the built-in names of the
[data dictionary](data-dictionary.md). A bundle contains its schema, so scoring and serving need no file.
`preptime schema show` prints the schema in use and where it's from.

Every section is optional. A schema without `[orders]` has the built-in columns of orders, so a file with only
`[restaurants]`, `[source]`, or `[features]` adds to the built-in schema. A schema with `[orders]` has only the columns
that it names. The acknowledgement time and the restaurant are then required. Training also needs a ready time or a
duration. Order value and number of items are optional. Without them, models are trained without their features."""

_RULES = (
    (
        "role of a column",
        (
            f"Its name is a synonym (next table), or has a similarity of at least {MIN_NAME_SIMILARITY}. Its contents "
            "must agree."
        ),
    ),
    (
        "format of times",
        (
            "All cells are read with each format that their shape allows. A day above 12 decides between day first "
            "and month first. In `15-06-01`, the year can be first, too. Dates that span far fewer days decide."
        ),
    ),
    (
        "time zone of times without an offset",
        (
            f"Restaurants get at most {MAX_NIGHT_SHARE:.0%} of their orders between 02:00 and 06:00. A reading is "
            f"chosen if the other one has {MIN_NIGHT_DIFFERENCE:.0%} more. `--times local` and `--times UTC` decide "
            "without asking."
        ),
    ),
    (
        "unit of a duration",
        (
            f"The median in seconds must be between {MIN_LABEL_SECONDS:,} and {MAX_LABEL_SECONDS:,}. A ready time in "
            "the same file decides."
        ),
    ),
    (
        "unit of money",
        (
            f"The name (`cents`, `pence`), or whole numbers with a median from {MIN_CENTS}, unless a unit of the local "
            "currency is worth little. The country is that of the time zone. If it's unknown, you're asked."
        ),
    ),
    (
        "feature",
        (
            f"A number without a currency, or text with 2 to {MAX_CATEGORIES:,} different values. Times, "
            "including epochs, aren't features."
        ),
    ),
    (
        "ratio",
        f"Two counts with a correlation of at least {MIN_COUNT_CORRELATION}. At most {MAX_RATIOS} are proposed.",
    ),
    (
        "known only later",
        (
            "Words of the name such as `actual` or `delivered`, a time after the acknowledgement, or a correlation "
            f"with the label above {MAX_CORRELATION}."
        ),
    ),
)
_CATEGORIES = """\
The spelling of a category matters, with two exceptions: `1.0` is the category `1`, and a Boolean is the category `true`
or `false`, also if a file has `True` or `TRUE`."""
_RATIOS = """\
## [ratios]

A feature that is one number of an order divided by another: custom numbers, `order_value`, or `number_of_items`.
Trees need many splits for a ratio, so it helps for counts such as open orders and couriers.

```toml
[ratios]
orders_per_courier = ["total_outstanding_orders", "total_onshift_dashers"]
```"""
_MODELS = """\
## [models]

Custom models, and hyperparameters of models, for training. A value is the file and class of a
[custom model](custom-models.md), or a table with hyperparameters and, for a custom model, `class`. A bundle doesn't
contain this section.

```toml
[models]
mine = "my_models.py:MyModel"

[models.quantile]
depth = 5
```"""
_OPEN_LINES = """\
If two readings are possible, the command asks. With `--yes`, it comments the line out. A required line starts with
`#? `, and every command refuses the schema with the exact lines to choose from. The exit status is 1.

At most about 50,000 rows are read. In CSV files above 16 MiB and in Parquet files, half of them are from the start, and
half from even distances. In other CSV files, in `.csv.gz`, in files with line feeds in cells, and in databases, they
are the first rows. In a folder, they are from at most 20 files. The first comment says whether it's a sample."""

_QUESTIONS = (
    (
        "other column names",
        'Names in the table above are known. Otherwise, name the column: `restaurant_id = "my_column"`.',
    ),
    ("dates such as `25/12/2015`", '`format = "%d/%m/%Y %H:%M"`. If no day is above 12, you\'re asked.'),
    ("times such as `06/01/2015 02:34 AM`", '`format = "%m/%d/%Y %I:%M %p"`'),
    ("values such as `£15.10`", '`currency = "GBP"` for the order value. In other columns, remove the currency.'),
    (
        "semicolons and decimal commas",
        'The delimiter of each file is detected. `[source] decimal = ","` is proposed, also by `preptime check`.',
    ),
    ("identifiers such as `R-1023`, UUIDs", "They need no option. Identifiers are text, and `007` isn't `7`."),
    ("label in minutes", '`prep_time = { column = "prep_minutes", unit = "min" }`'),
    (
        "no file of restaurants",
        "Use `--time-zone`, or set `time_zone` in `[restaurants]`. Restaurants are derived from the orders.",
    ),
    ("a country with several time zones", "Use `--time-zone`, or add a column `time_zone` to the restaurants."),
    (
        "times in UTC without an offset",
        "`time_zone = \"UTC\"`. If the orders don't show it, you're asked, or use `--times UTC`.",
    ),
    ("byte order mark, epochs in milliseconds", "They need no option."),
    ("half a day missing, one restaurant", "The schema is inferred as usual."),
    (
        "few days, few orders",
        "The schema is inferred as usual. The [data gate](daily-run.md#data-gate) has thresholds that you can change.",
    ),
    ("distance, weather, type of courier", "They are proposed in `[features]`."),
    ("SQL dumps, dates and clock times in two columns", "They can't be read. Export one column with both."),
)

_BENCHMARK = """\
## Speed

Measured by `python -m benchmarks.schema_inference`, in a new process each.

<!-- schema_inference -->
<!-- /schema_inference -->"""


def render_markdown(page: Path | None = None) -> str:
    """Return the page. The table of the benchmark is kept from `page`, the current one."""
    lines = [_INTRODUCTION, "", "## Example", "", "```toml", EXAMPLE.rstrip("\n"), "```"]
    for section in ("source", "target"):
        rows = [(f"`{key}`", *_OPTION_VALUES[key], meaning) for key, meaning in SECTIONS[section].items()]
        lines += ["", f"## [{section}]", "", *_table(_OPTION_HEADER, rows)]
    lines += ["", "## [orders]", "", "A value is the name of the company's column, or a table with options.", ""]
    lines += _table(("Key", "Options", "Meaning"), [_order_row(key) for key in ORDER_KEYS])
    rows = [(f"`{key}`", *_COLUMN_OPTION_VALUES[key], meaning) for key, meaning in COLUMN_OPTION_MEANINGS.items()]
    units = f"Units of `{PREP_TIME}`: {_codes(DURATION_UNITS)}. Units of `order_value`: {_codes(MONEY_UNITS)}."
    lines += ["", "Options:", "", *_table(_OPTION_HEADER, rows), "", units]
    lines += ["", "## [restaurants]", "", "Columns of the restaurants file, or values of all restaurants.", ""]
    restaurant_rows = [(f"`{key}`", *_RESTAURANT_MEANINGS[key]) for key in RESTAURANT_NAMES]
    lines += _table(("Key", "Meaning", "Example"), restaurant_rows)
    lines += ["", "## [features]", "", "Additional columns that are known when an order is acknowledged. A value is"]
    lines += ["`number`, `category`, or a table with options.", ""]
    rows = [(f"`{key}`", *_FEATURE_OPTION_VALUES[key], meaning) for key, meaning in FEATURE_OPTIONS.items()]
    lines += _table(_OPTION_HEADER, rows)
    lines += ["", _CATEGORIES, "", _RATIOS]
    lines += ["", _MODELS, "", *_table(("Model", "Hyperparameters and defaults"), _model_rows())]
    lines += ["", "## How inference decides", "", *_table(("What", "How it's decided"), _RULES), "", _OPEN_LINES]
    names = [(f"`{key}`", _codes(synonyms)) for key, synonyms in ORDER_SYNONYMS.items()]
    names.append(("`order_ready_at`, if nothing is ready: delivery", _codes(DELIVERY_TIMES)))
    lines += ["", "Names, the most specific first:", "", *_table(("Key", "Names"), names)]
    lines += ["", "## Questions", "", *_table(("Your export", "Answer"), _QUESTIONS), "", _with_benchmark(page)]
    return "\n".join(lines) + "\n"


def _model_rows() -> list[tuple[str, str]]:
    return [
        (f"`{name}`", ", ".join(f"`{key} = {toml_value(value)}`" for key, value in values.items()))
        for name, values in HYPERPARAMETERS.items()
    ]


_OPTION_HEADER = ("Key", "Type", "Default", "Example", "Meaning")
ORDER_KEYS = tuple(PREP_TIME if key == TARGET else key for key in COLUMN_OPTIONS if key != PREP_TIME)


def _order_row(key: str) -> tuple[str, str, str]:
    column = order_column(TARGET if key == PREP_TIME else key)
    meaning = column.description.replace(f"`{TARGET}`", f"`{PREP_TIME}`")
    if key == PREP_TIME:
        meaning = "The target as a duration, instead of `order_ready_at`. With both, they must agree within one second"
    return f"`{key}`", _codes(COLUMN_OPTIONS[key]), meaning


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    return [
        f"| {' | '.join(header)} |",
        "|" + "---|" * len(header),
        *(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows),
    ]


def _codes(names: object) -> str:
    return ", ".join(f"`{name}`" for name in names) if isinstance(names, tuple | dict) else ""


def _with_benchmark(page: Path | None) -> str:
    """Return the section about speed, with the table between the markers of the current page."""
    start, end = "<!-- schema_inference -->\n", "<!-- /schema_inference -->"
    current = page.read_text(encoding="utf-8") if page is not None and page.is_file() else ""
    table = current.partition(start)[2].partition(end)[0]
    return _BENCHMARK.replace(start + end, start + table + end)
