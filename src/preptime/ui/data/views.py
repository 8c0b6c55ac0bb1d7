"""The views of the page Data: distributions, time and categories, correlation, restaurants, and the label audit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

from preptime import exploration
from preptime.domain.time_units import TimeUnit
from preptime.evaluation.aggregates import MIN_RELIABLE_ORDERS, ChartRow
from preptime.evaluation.distribution import Distribution
from preptime.evaluation.summary_text import hours_without_orders
from preptime.exploration import MAX_ROWS, ExplorationData, Measure, OrderSample
from preptime.formatting import format_count, format_signed
from preptime.ui.components import Column, caption, chart_card, data_table, show_info
from preptime.ui.data import charts
from preptime.ui.display_names import reason_title
from preptime.ui.formatting import capitalize_first, document_text, format_day, format_duration

_DIMENSIONS: dict[str, tuple[str, charts.AxisKind]] = {
    "hour": ("local hour", "hour"),
    "weekday": ("weekday", "value"),
    "day": ("local day", "day"),
    "city": ("city", "name"),
    "type_of_food": ("type of food", "name"),
}
_GROUP_COLUMNS = (Column("value", "value"), Column("orders", "orders", "count"))
_GROUP_TIMES = {
    "median": ("median", ""),
    "q1": ("first quartile", ""),
    "q3": ("third quartile", ""),
    "mean": ("mean", "Raised by the few long delays"),
}
"""Columns of times: their titles and tooltips."""
_RESTAURANT_COLUMNS = (
    Column("restaurant_id", "restaurant"),
    Column("city", "city"),
    Column("type_of_food", "type of food"),
    Column("orders", "orders", "count"),
)
_RESTAURANT_TIMES = {"median": ("median", ""), "p90": ("p90", "Ten percent of the orders take longer")}
_REASON_COLUMNS = (
    Column("reason", "reason", "long"),
    Column("rows", "orders", "count"),
    Column("share", "share", "percent"),
    Column("out", "excluded from"),
    Column("why", "explanation", "long"),
    Column("code", "code", help="The code of the reason in files and in docs/validation-reasons.md"),
)
_EXAMPLE_COLUMNS = (
    Column("reason", "reason", "long"),
    Column("row", "row"),
    Column("column", "column"),
    Column("value", "value found"),
    Column("expected", "expected"),
)


def _time_columns(columns: dict[str, tuple[str, str]], unit: TimeUnit) -> tuple[Column, ...]:
    return tuple(
        Column(name, f"{title}, {unit.short}", "decimal" if unit.digits() > 1 else "number", help_text)
        for name, (title, help_text) in columns.items()
    )


def summary_metrics(orders: OrderSample) -> list[tuple[str, str, str]]:
    """Return the metric cards above the views: label, value, and detail."""
    histogram = exploration.distribution(orders, orders.measures[0])
    first, last = orders.date_range
    median, unit = histogram.median if histogram else 0.0, orders.schema.target.time_unit
    city_count = len(orders.category_values("city"))
    restaurant_count = orders.frame["restaurant_id"].n_unique()
    return [
        ("orders", f"{len(orders):,}", f"{format_day(first)} to {format_day(last)} {last.year}"),
        ("restaurants", f"{restaurant_count:,}", f"in {city_count} {'city' if city_count == 1 else 'cities'}"),
        ("median", format_duration(median * unit.seconds, unit), orders.schema.target.title),
        (
            "outlier limit",
            format_duration(orders.label_limit() * unit.seconds, unit),
            f"of {orders.schema.target.title}s",
        ),
    ]


def distributions(orders: OrderSample) -> None:
    """Show the distributions of the label and of the other measures, then the label against each of them."""
    caption(
        "The outlier limit is the notebook's: the third quartile plus 1.5 times the interquartile range. Orders beyond "
        "it are orange. Models are still fitted on them, up to three hours, because real orders take that long."
    )
    label, *others = orders.measures
    _distribution_chart(orders, label)
    _in_pairs(others, lambda measure: _distribution_chart(orders, measure))
    label_limit = orders.label_limit()
    _in_pairs(others, lambda measure: _scatter_chart(orders, measure, label_limit))


def _in_pairs(measures: Sequence[Measure], draw: Callable[[Measure], None]) -> None:
    for start in range(0, len(measures), 2):
        for container, measure in zip(st.columns(2), measures[start : start + 2], strict=False):
            with container:
                draw(measure)


def _distribution_chart(orders: OrderSample, measure: Measure) -> None:
    histogram = exploration.distribution(orders, measure)
    if histogram is None:
        show_info(f"No order has a value of {measure.title}.")
        return
    digits = histogram.digits if measure.digits is None else measure.digits
    chart_card(
        capitalize_first(measure.title),
        _describe_distribution(histogram, measure.unit, digits),
        lambda width, palette: charts.measure_histogram(
            histogram, axis_title(measure), measure.unit, width, palette, digits=digits
        ),
    )


def _describe_distribution(histogram: Distribution, unit: str, digits: int) -> str:
    outlier_share_text = (
        f"{histogram.outliers / histogram.orders:.1%} of {format_count(histogram.orders, 'order')} are beyond the limit"
    )
    overflow_text = (
        f", and {histogram.beyond_display_limit:,} beyond the chart "
        f"(maximum: {_with_unit(f'{histogram.maximum:,.{max(0, digits - 1)}f}', unit)})"
        if histogram.beyond_display_limit
        else ""
    )
    q1, median, q3, mean = (
        f"{value:.{digits}f}" for value in (histogram.q1, histogram.median, histogram.q3, histogram.mean)
    )
    missing_text = f" {format_count(histogram.missing, 'order')} have no value." if histogram.missing else ""
    return (
        f"Half of the orders are between {q1} and {_with_unit(q3, unit)}. The median is {_with_unit(median, unit)}, "
        f"the mean {_with_unit(mean, unit)}. {outlier_share_text}{overflow_text}.{missing_text}"
    )


def _scatter_chart(orders: OrderSample, measure: Measure, label_limit: float) -> None:
    label = orders.measures[0].title
    rows = exploration.scatter_points(orders, measure)
    if not rows:
        return
    histogram = exploration.distribution(orders, measure)
    measure_limit = histogram.outlier_limit if histogram else 1.0
    chart_card(
        f"{capitalize_first(label)} against {measure.title}",
        f"A fixed random sample of {len(rows):,} orders. Orders with a {label} above the outlier limit are orange. "
        "Values above twice their limit are drawn at the edge.",
        lambda width, palette: charts.scatter(
            rows,
            axis_title(measure),
            (measure_limit, label_limit),
            width,
            palette,
            label=axis_title(orders.measures[0]),
        ),
    )


def axis_title(measure: Measure) -> str:
    """Return the title of an axis: that of the measure with its unit, unless the title ends with it."""
    last_word = measure.title.rpartition(" ")[2]
    return measure.title if measure.unit in {"", last_word} else f"{measure.title}, {measure.unit}"


def _with_unit(number: str, unit: str) -> str:
    return f"{number} {unit}" if unit else number


def by_time_and_category(orders: OrderSample) -> None:
    """Show the label and the number of orders by the selected dimension."""
    categories: dict[str, tuple[str, charts.AxisKind]] = {
        column: (title, "name") for column, title in orders.categories.items()
    }
    dimensions = _DIMENSIONS | categories
    dimension = st.segmented_control(
        "By",
        list(dimensions),
        format_func=lambda option: dimensions[option][0],
        default="hour",
        required=True,
        key="data-dimension",
    )
    title, kind = dimensions[dimension]
    label, unit = orders.schema.target.title, orders.schema.target.time_unit
    rows = exploration.summarize_groups(orders, dimension)
    shown_rows = rows[: exploration.MAX_GROUPS] if kind == "name" else rows
    with st.expander(f"Table by {title}"):
        data_table(rows, (*_GROUP_COLUMNS, *_time_columns(_GROUP_TIMES, unit)), key=f"groups-{dimension}")
    left, right = st.columns([3, 2])
    with left:
        chart_card(
            f"{capitalize_first(label)} by {title}",
            " ".join(filter(None, (_describe_extremes(rows, title, unit), *_describe_gaps(rows, kind, unit)))),
            lambda width, palette: charts.label_by(shown_rows, kind, title, width, palette, label=label, unit=unit),
        )
    with right:
        chart_card(
            f"Orders by {title}",
            f"Number of orders. Only the largest {len(shown_rows)} are shown."
            if kind == "name"
            else "Number of orders.",
            lambda width, palette: charts.order_counts(shown_rows, kind, title, width, palette, unit=unit),
        )


def _describe_extremes(rows: list[ChartRow], title: str, unit: TimeUnit) -> str:
    large_groups = [row for row in rows if not row["few"]] or rows
    slowest = max(large_groups, key=lambda row: float(row["median"]))
    fastest = min(large_groups, key=lambda row: float(row["median"]))
    return (
        f"Bars are the middle half of the orders, marks the median. Groups with fewer than {MIN_RELIABLE_ORDERS} "
        f"orders are pale. By median, the slowest {title} is {slowest['value']} ({_median_text(slowest, unit)}). "
        f"The fastest is {fastest['value']} ({_median_text(fastest, unit)})."
    )


def _describe_gaps(rows: list[ChartRow], kind: charts.AxisKind, unit: TimeUnit) -> tuple[str, ...]:
    """Return sentences about values without a bar: those above the chart, and hours without orders."""
    if kind not in {"value", "hour"}:
        return ()
    limit = charts.value_limit(rows)
    above = [
        f"{row['value']} ({format_count(int(row['orders']), 'order')}, {_median_text(row, unit)})"
        for row in rows
        if float(row["median"]) > limit
    ]
    return (
        f"Above the chart (↑), with their medians: {', '.join(above)}." if above else "",
        hours_without_orders(int(row["value"]) for row in rows) if kind == "hour" else "",
    )


def _median_text(row: ChartRow, unit: TimeUnit) -> str:
    return f"{float(row['median']):.{unit.digits()}f} {unit.short}"


def correlation(orders: OrderSample) -> None:
    """Show the correlation of every pair of numeric columns."""
    use_ranks = st.toggle(
        "By rank",
        value=True,
        key="use-ranks",
        help="On: Spearman's correlation, which is robust to outliers. Off: Pearson's, as in the notebook.",
    )
    rows = exploration.correlation(orders, ranks=use_ranks)
    if not rows:
        show_info("These orders are too similar for a correlation.", "Select more orders.")
        return
    label = orders.schema.target.title
    label_correlations = [row for row in rows if row["a"] == label != row["b"]]
    strongest = max(label_correlations, key=lambda row: abs(float(row["r"])), default=None)
    strongest_text = (
        f" Strongest for the {label}: {strongest['b']} ({format_signed(float(strongest['r']), 2)})."
        if strongest
        else ""
    )
    chart_card(
        "Correlation" + (" of ranks" if use_ranks else ""),
        "Blue: both increase together. Orange: one increases as the other decreases. A stronger color is a stronger "
        f"correlation. Near 0, there is no linear relation.{strongest_text}",
        lambda width, palette: charts.correlation_matrix(rows, width, palette),
    )


def restaurants(orders: OrderSample) -> None:
    """Show orders per restaurant, and which restaurants the notebook dropped."""
    restaurant_summary = exploration.summarize_restaurants(orders)
    caption(
        f"{format_count(restaurant_summary.restaurants, 'restaurant')}. The notebook kept only restaurants with more "
        f"than {exploration.NOTEBOOK_MIN_ORDERS} orders: {restaurant_summary.kept_by_notebook:,} restaurants with "
        f"{restaurant_summary.orders_kept_by_notebook / max(1, len(orders)):.0%} of the orders. preptime keeps all."
    )
    if restaurant_summary.restaurants > len(restaurant_summary.table):
        caption(f"The {len(restaurant_summary.table):,} restaurants with the most orders:")
    currency = f", {orders.schema.currency}" if orders.schema.currency else ""
    mean_value = (Column("mean_order_value", f"mean order value{currency}", "money"),)
    times = _time_columns(_RESTAURANT_TIMES, orders.schema.target.time_unit)
    columns = _RESTAURANT_COLUMNS + times + (mean_value if orders.schema.has("order_value") else ())
    data_table(restaurant_summary.table, columns, key="restaurants")
    left, right = st.columns(2)
    with left:
        chart_card(
            "Restaurants by number of orders",
            "Most restaurants have few orders. Their history is shrunk toward their city and type of food.",
            lambda width, palette: charts.restaurant_size_chart(
                restaurant_summary.bands, "restaurants", width, palette
            ),
        )
    with right:
        chart_card(
            "Orders by size of the restaurant",
            "The same groups of restaurants, counted in orders.",
            lambda width, palette: charts.restaurant_size_chart(restaurant_summary.bands, "orders", width, palette),
        )


def label_audit(data: ExplorationData) -> None:
    """Show orders by validation reason, what each reason excludes them from, and examples."""
    report, unit = data.report, data.sample.schema.target.time_unit
    usable_text = ", ".join(f"{rows:,} for {purpose}" for purpose, rows in report.usable.items())
    caption(
        f"All {format_count(report.orders, 'order')} are kept. {report.clean:,} can be used for every purpose. Usable: "
        f"{usable_text}. The audit covers all orders and ignores the filters of the other views."
    )
    if data.is_truncated:
        show_info(f"Only the first {MAX_ROWS:,} orders of this table were read.", "`preptime check` reads all orders.")
    if not report.reasons:
        show_info("All orders passed validation.")
        return
    rows: list[ChartRow] = [
        {
            "reason": _reason_text(item.reason, unit),
            "orders": item.rows,
            "effect": charts.EXCLUDES if item.excluded_from else charts.FLAGS,
            "tip": f"{item.rows:,} orders ({item.share:.2%}): {item.meaning}",
        }
        for item in sorted(report.reasons, key=lambda item: -item.rows)
    ]
    data_table(
        [
            {"reason": _reason_text(item.reason, unit), "rows": item.rows, "share": item.share,
             "out": ", ".join(item.excluded_from) or "nothing", "why": document_text(item.why, unit),
             "code": str(item.reason)}
            for item in report.reasons
        ],
        _REASON_COLUMNS,
        key="reasons",
    )  # fmt: skip
    chart_card(
        "Orders by validation reason",
        "An order with three reasons counts under each of them. The table shows what each reason excludes orders from.",
        lambda width, palette: charts.reason_counts(rows, width, palette),
    )
    st.subheader("Examples")
    examples = [
        {
            "reason": _reason_text(item.reason, unit),
            "row": item.row,
            "column": item.column,
            "value": item.value,
            "expected": item.expected,
        }
        for item in report.examples
    ]
    data_table(examples, _EXAMPLE_COLUMNS, key="examples")


def _reason_text(reason: object, unit: TimeUnit) -> str:
    return document_text(reason_title(str(reason)), unit)
