"""docs/bundle-format.md matches the code."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from preptime.bundle.champion_log import LOG_FORMAT, LogEntry
from preptime.bundle.explanations_file import TreesDocument
from preptime.bundle.golden import GoldenDocument, GoldenOrders
from preptime.bundle.manifest import (
    BUNDLE_FORMAT,
    EXPLANATIONS_FILE,
    ArrayInfo,
    FeatureInfo,
    FileInfo,
    Manifest,
    TrainingWindow,
    expected_arrays,
)
from preptime.features.feature_set import TAKE_HOME_FEATURES
from tests.bundle.factories import some_files, some_history

PAGE = Path(__file__).parents[2] / "docs" / "bundle-format.md"


def section(title: str) -> str:
    match = re.search(rf"^## {title}$(.*?)(?=^## |\Z)", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert match is not None, title
    return match[1]


def first_column_names(text: str) -> set[str]:
    """Return the names in backticks in the first column of the tables."""
    return {name for row in re.findall(r"^\|([^|]*)\|", text, re.MULTILINE) for name in re.findall("`([a-z_]+)`", row)}


def test_format_page_has_exactly_the_manifest_fields() -> None:
    fields = {*Manifest.__struct_fields__, *TrainingWindow.__struct_fields__, *FeatureInfo.__struct_fields__}
    assert first_column_names(section("The manifest")) == fields


@pytest.mark.parametrize(
    ("title", "struct"), [("An entry of the log", LogEntry), ("Golden orders", GoldenDocument)], ids=["entry", "golden"]
)
def test_format_page_has_fields_of_log_and_golden_orders(title: str, struct: type[msgspec.Struct]) -> None:
    assert first_column_names(section(title)) == set(struct.__struct_fields__)


@pytest.mark.parametrize("struct", [ArrayInfo, FileInfo, GoldenOrders, TreesDocument])
def test_format_page_has_fields_of_small_objects(struct: type[msgspec.Struct]) -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name in struct.__struct_fields__)


def test_format_page_has_files_and_arrays() -> None:
    text = section("The files of a bundle")
    assert set(expected_arrays(3, some_history().vocabularies, TAKE_HOME_FEATURES)) <= first_column_names(text)
    files = {re.sub("history/.*", "history/*.npy", name) for name in some_files(is_live=True)[1]}
    # The small bundle doesn't consist of trees.
    assert files | {EXPLANATIONS_FILE} == set(re.findall(r"^\| `([a-z/*.]+\.[a-z]+)`", text, re.MULTILINE))


def test_format_page_has_format_numbers() -> None:
    assert f"This page is format **{BUNDLE_FORMAT}**" in PAGE.read_text(encoding="utf-8")
    assert f"| `format` | integer | {LOG_FORMAT} |" in section("An entry of the log")
