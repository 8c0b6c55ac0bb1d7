"""`check`, and the messages of commands that can't read a file."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from preptime.domain.validation_reasons import Purpose, ValidationReason
from preptime.validation.audit_report import CheckReport
from tests.cli.conftest import DATE, Files
from tests.cli.run_command import error_document, preptime


def test_check_counts_validation_reasons(files: Files) -> None:
    result = preptime("check", *files.options, "--json").succeeded()
    report = result.document(CheckReport)
    assert report.orders == 2_500
    assert (report.first_day, report.last_day) == ("2015-06-01", DATE)
    assert ValidationReason.LABEL_ZERO in {count.reason for count in report.reasons}
    assert preptime("check", *files.options).succeeded().out == result.err.removeprefix("Reading the orders\n")


def write_scoring_orders(orders: pl.DataFrame, folder: Path, *, empty_labels: bool) -> Path:
    """Write orders without labels: without the columns, or with empty cells."""
    path = folder / "to_score.csv"
    labels = ("order_ready_at", "prep_time_seconds")
    if empty_labels:
        orders.with_columns(pl.lit("").alias(name) for name in labels if name in orders.columns).write_csv(path)
    else:
        orders.drop(*labels, strict=False).write_csv(path)
    return path


@pytest.mark.parametrize("empty_labels", [False, True])
@pytest.mark.parametrize("option", [(), ("--for", "scoring")])
def test_check_answers_whether_a_file_can_be_scored(
    files: Files, orders: pl.DataFrame, tmp_path: Path, option: tuple[str, ...], *, empty_labels: bool
) -> None:
    path = write_scoring_orders(orders, tmp_path, empty_labels=empty_labels)
    options: tuple[str | Path, ...] = ("--orders", path, "--restaurants", files.restaurants, *option)
    result = preptime("check", *options).succeeded()
    assert result.out.endswith("Of 2,500 orders, 2,500 can be scored.\n")
    assert ("The orders have no labels, so they are checked for scoring only." in result.out) == (not option)
    report = preptime("check", *options, "--json").succeeded().document(CheckReport)
    assert (report.checked_for, report.passed) == ((Purpose.SCORING,), True)
    assert report.usable == {"scoring": 2_500}
    assert report.reasons == ()  # missing labels are expected in orders to score


def test_check_for_scoring_ignores_labels(files: Files) -> None:
    report = preptime("check", *files.options, "--for", "scoring", "--json").succeeded().document(CheckReport)
    assert report.usable == {"scoring": 2_500}
    assert ValidationReason.LABEL_ZERO not in {count.reason for count in report.reasons}


def test_check_for_training_requires_labels(files: Files, orders: pl.DataFrame, tmp_path: Path) -> None:
    options = ("--restaurants", files.restaurants, "--for", "training", "--json")
    path = write_scoring_orders(orders, tmp_path, empty_labels=False)
    error_document(preptime("check", "--orders", path, *options), 1, "DataError")
    path = write_scoring_orders(orders, tmp_path, empty_labels=True)
    result = preptime("check", "--orders", path, *options)
    report = result.document(CheckReport)
    assert (result.status, report.checked_for, report.passed) == (1, (Purpose.FITTING,), False)


@pytest.mark.parametrize("option", [(), ("--for", "scoring"), ("--for", "training")])
def test_check_without_usable_order_exits_with_1(
    files: Files, orders: pl.DataFrame, tmp_path: Path, option: tuple[str, ...]
) -> None:
    orders.with_columns(number_of_items=pl.lit("")).write_csv(tmp_path / "orders.csv")
    options: tuple[str | Path, ...] = ("--orders", tmp_path / "orders.csv", "--restaurants", files.restaurants, *option)
    result = preptime("check", *options, "--json")
    report = result.document(CheckReport)
    assert (result.status, report.passed, report.orders) == (1, False, 2_500)
    assert "Of 2,500 orders, 0 can be " in preptime("check", *options).out


def test_check_with_one_usable_order_succeeds(files: Files, orders: pl.DataFrame, tmp_path: Path) -> None:
    is_first = pl.int_range(pl.len()) == 0
    items = pl.when(is_first).then(pl.col("number_of_items")).otherwise(pl.lit(""))
    orders.with_columns(number_of_items=items).write_csv(tmp_path / "orders.csv")
    result = preptime("check", "--orders", tmp_path / "orders.csv", "--restaurants", files.restaurants).succeeded()
    assert "Of 2,500 orders, 1 can be scored and " in result.out


def test_lines_for_the_time_zone_are_accepted(
    orders: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names two lines of a schema. A file with only these lines has the built-in columns."""
    monkeypatch.chdir(tmp_path)
    orders.write_csv("orders.csv")
    refused = error_document(preptime("check", "--orders", "orders.csv", "--json"), 1, "DataError")
    assert '[restaurants] and time_zone = "America/Los_Angeles"' in refused.hint
    Path("schema.toml").write_text('[restaurants]\ntime_zone = "Europe/London"\n')
    report = preptime("check", "--orders", "orders.csv", "--json").succeeded().document(CheckReport)
    assert report.usable["scoring"] == report.orders == 2_500


def test_line_for_decimal_commas_is_accepted(
    files: Files, orders: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An export of a spreadsheet with semicolons and `14,8`, and no schema."""
    monkeypatch.chdir(tmp_path)
    comma = pl.col("order_value_gbp").str.replace(".", ",", literal=True)
    orders.with_columns(comma).write_csv("orders.csv", separator=";")
    options = ("--orders", "orders.csv", "--restaurants", files.restaurants)
    line = (
        'Numbers of order_value_gbp have other marks than the schema. Set under [source] in schema.toml: decimal = ",".'
    )
    assert line in preptime("check", *options).out.splitlines()
    refused = error_document(
        preptime("train", *options, "--date", DATE, "--store", "models", "--json"), 4, "PermanentDataError"
    )
    assert line in refused.hint
    assert "max_unusable_share" not in refused.hint
    Path("schema.toml").write_text('[source]\ndecimal = ","\n')
    report = preptime("check", *options, "--json").succeeded().document(CheckReport)
    assert report.usable["scoring"] == 2_500


@pytest.mark.parametrize("schema", ["", '[restaurants]\ntime_zone = "Europe/London"\n'])
def test_canonical_name_gets_the_built_in_name_as_hint(
    files: Files, orders: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, schema: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if schema:
        Path("schema.toml").write_text(schema)
    orders.rename({"order_value_gbp": "order_value"}).write_csv("orders.csv")
    options = ("--orders", "orders.csv", "--restaurants", files.restaurants, "--json")
    refused = error_document(preptime("check", *options), 1, "DataError")
    assert refused.hint == (
        "Rename or add it: 'order_value' is the closest to order_value_gbp. "
        "Or map the existing columns: preptime schema infer ORDERS --out schema.toml."
    )


def test_check_writes_rejects_with_reasons(files: Files, tmp_path: Path) -> None:
    rejects = tmp_path / "rejects.csv"
    report = preptime("check", *files.options, "--rejects", rejects, "--json").succeeded().document(CheckReport)
    rows = pl.read_csv(rejects)
    assert len(rows) == report.orders - report.clean > 0
    assert rows["reject_reasons"].is_not_null().all()


def test_check_unsupported_rejects_is_usage_error(files: Files, tmp_path: Path) -> None:
    result = preptime("check", *files.options, "--rejects", tmp_path / "rejects.xlsx", "--json")
    assert ".xlsx" in error_document(result, 2, "UsageError").facts


def broken_file(kind: str, text: str) -> bytes | None:
    """Return the orders as a faulty export writes them. None means that there is no file."""
    lines = text.splitlines()[:50]
    files = {
        "missing": None,
        "empty": b"",
        "header_only": lines[0].encode(),
        "utf_16": "\n".join(lines).encode("utf-16"),
        "latin_1": "\n".join([lines[0] + ",café", *(f"{line},Café" for line in lines[1:])]).encode("latin-1"),
        "misspelt_column": "\n".join(lines).replace("order_value_gbp", "order_value_gpb", 1).encode(),
        "not_parquet": b"PAR1 and then nothing of the kind",
    }
    return files[kind]


@pytest.mark.parametrize(
    ("kind", "expected_text"),
    [
        ("missing", "no file"),
        ("empty", "empty"),
        ("header_only", "no rows"),
        ("utf_16", "UTF-"),
        ("latin_1", "UTF-8"),
        ("misspelt_column", "order_value_gpb"),
        ("not_parquet", "parquet"),
    ],
)
def test_check_unreadable_file_is_data_error(kind: str, expected_text: str, files: Files, tmp_path: Path) -> None:
    content = broken_file(kind, files.orders.read_text(encoding="utf-8"))
    path = tmp_path / ("orders.parquet" if kind == "not_parquet" else "orders.csv")
    if content is not None:
        path.write_bytes(content)
    options = ("--orders", path, "--restaurants", files.restaurants)
    document = error_document(preptime("check", *options, "--json"), 1, "DataError")
    assert expected_text in f"{document.facts} {document.hint}"
    assert document.hint
    assert preptime("train", *options, "--date", DATE, "--store", tmp_path / "models").status == 1
    assert not (tmp_path / "models").exists()


def test_check_unknown_url_scheme_is_usage_error(files: Files) -> None:
    result = preptime("check", "--orders", "ftp://host/orders", "--restaurants", files.restaurants, "--json")
    assert "ftp" in error_document(result, 2, "UsageError").facts
