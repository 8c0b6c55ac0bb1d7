"""Translation of BigQuery SQL to PostgreSQL for the fake, by sqlglot, and by hand where sqlglot has no equivalent."""

from __future__ import annotations

import sqlglot
from sqlglot import exp

_JSON_NODES = (exp.DataType, exp.ParseJSON, exp.JSONFormat, exp.JSONStripNulls, exp.JSONExtract, exp.JSONSet)
_CASTS = {"STRING": "text", "INT64": "bigint", "DATE": "date", "TIMESTAMP": "timestamptz"}


def translate_to_postgres(text: str, parameters: dict[str, tuple[str, str]]) -> str:
    """Translate a statement and insert its parameters. Raises `sqlglot.errors.ParseError` for invalid BigQuery SQL."""
    tree = sqlglot.parse_one(text, read="bigquery")
    for table in list(tree.find_all(exp.Table)):
        table.set("catalog", None)
        table.set("version", None)
    for column in list(tree.find_all(exp.Column)):
        if column.table == "jsonPayload":  # a field of a nested column: the fake's table isn't nested
            column.set("table", None)
    for parameter in list(tree.find_all(exp.Parameter)):
        kind, value = parameters[parameter.name]
        parameter.replace(exp.cast(exp.Literal.string(value), _CASTS[kind]))
    tree = tree.transform(_translate_aggregate).transform(_translate_time_difference)
    for node in reversed(list(tree.find_all(*_JSON_NODES))):
        node.replace(_translate_json(node))
    if isinstance(tree, exp.Create) and tree.kind == "TABLE":
        tree.set("properties", None)
        if tree.args.get("replace"):
            return _translate_replacement(tree)
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


def _translate_json(node: exp.Expr) -> exp.Expr:
    """Translate a function of JSON values, or their type. In PostgreSQL, it's `jsonb`."""
    if isinstance(node, exp.DataType):
        return exp.DataType.build("jsonb") if node.this == exp.DataType.Type.JSON else node
    if isinstance(node, exp.ParseJSON):
        return exp.cast(node.this, "jsonb")
    if isinstance(node, exp.JSONFormat):
        return exp.cast(node.this, "text")
    if isinstance(node, exp.JSONStripNulls):
        return exp.func("jsonb_strip_nulls", node.this)
    if isinstance(node, exp.JSONExtract):
        return exp.func("jsonb_extract_path", node.this, exp.Literal.string(node.expression.expressions[-1].name))
    result: exp.Expr = node.this
    for path, value in zip(node.expressions[::2], node.expressions[1::2], strict=True):
        new = exp.func("coalesce", value, exp.cast(exp.Literal.string("null"), "jsonb"))
        result = exp.func("jsonb_set", result, exp.Literal.string(f"{{{path.name.removeprefix('$.')}}}"), new)
    return result


def _translate_replacement(tree: exp.Create) -> str:
    """Translate `CREATE OR REPLACE TABLE t (…) AS SELECT … FROM t`. BigQuery replaces the table atomically."""
    schema, query = tree.this, tree.expression.sql("postgres")
    name = schema.this.sql("postgres")
    columns = ", ".join(column.name for column in schema.expressions)
    tree.set("replace", None)
    tree.set("expression", None)
    schema.set("this", exp.to_table("food.replacement"))
    rename = f"ALTER TABLE food.replacement RENAME TO {name.rpartition('.')[2]}"
    steps = (tree.sql("postgres"), f"INSERT INTO food.replacement ({columns}) {query}", f"DROP TABLE {name}")
    return "; ".join((*steps, rename))
