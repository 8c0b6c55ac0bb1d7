"""Translation of BigQuery SQL to PostgreSQL for the fake, by sqlglot, and by hand where sqlglot has no equivalent."""

from __future__ import annotations

import sqlglot
from sqlglot import exp

_CASTS = {"STRING": "text", "INT64": "bigint", "DATE": "date", "TIMESTAMP": "timestamptz"}


def translate_to_postgres(text: str, parameters: dict[str, tuple[str, str]]) -> str:
    """Translate a statement and insert its parameters. Raises `sqlglot.errors.ParseError` for invalid BigQuery SQL."""
    tree = sqlglot.parse_one(text, read="bigquery")
    for table in list(tree.find_all(exp.Table)):
        table.set("catalog", None)
        table.set("version", None)
    for parameter in list(tree.find_all(exp.Parameter)):
        kind, value = parameters[parameter.name]
        parameter.replace(exp.cast(exp.Literal.string(value), _CASTS[kind]))
    tree = tree.transform(_translate_aggregate).transform(_translate_time_difference)
    if isinstance(tree, exp.Create) and tree.kind == "TABLE":
        tree.set("properties", None)
    if isinstance(tree, exp.Merge):
        return f"{tree.sql('postgres')} RETURNING merge_action()"
    return tree.sql("postgres")


def _translate_aggregate(node: exp.Expr) -> exp.Expr:
    """Translate `ARRAY_AGG(x IGNORE NULLS ORDER BY line DESC LIMIT 1)[SAFE_OFFSET(0)]`, the last non-null value."""
    if isinstance(node, exp.Bracket) and isinstance(node.this, (exp.ArrayAgg, exp.IgnoreNulls)):
        names = [column.name for column in node.find_all(exp.Column)]
        value = next(name for name in names if name != "line")
        return sqlglot.parse_one(
            f"(ARRAY_AGG({value} ORDER BY line DESC) FILTER (WHERE {value} IS NOT NULL))[1]", read="postgres"
        )
    return node


def _translate_time_difference(node: exp.Expr) -> exp.Expr:
    """Translate `TIMESTAMP_DIFF(later, earlier, SECOND)`."""
    if isinstance(node, exp.TimestampDiff):
        later, earlier = node.this.sql("postgres"), node.expression.sql("postgres")
        return sqlglot.parse_one(f"CAST(TRUNC(EXTRACT(EPOCH FROM {later} - {earlier})) AS BIGINT)", read="postgres")
    return node
