"""`check`, and the messages of commands that can't read a file."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from preptime.domain.validation_reasons import ValidationReason
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
        "semicolons": "\n".join(lines).replace(",", ";").encode(),
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
        ("semicolons", "semicolons"),
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
