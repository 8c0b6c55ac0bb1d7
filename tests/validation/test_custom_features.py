"""The values of custom features, and messages about them."""

from __future__ import annotations

import msgspec
import polars as pl
import pytest

from preptime.features.feature_set import valid_range
from preptime.schema.schema import TAKE_HOME_SCHEMA, CustomFeature
from preptime.validation.audit import audit_orders
from preptime.validation.custom_features import category_values
from tests.validation.factories import make_order, make_orders, make_restaurant_index


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (None, "a number from -1e12 to 1e12"),
        ((0.0, 7_200.0), "a number from 0 to 7,200"),
        ((-0.5, 1.0), "a number from -0.5 to 1"),
    ],
)
def test_expected_number_names_its_limits(limits: tuple[float, float] | None, expected: str) -> None:
    feature = CustomFeature(name="huge", column="huge", type="number", range=limits)
    schema = msgspec.structs.replace(TAKE_HOME_SCHEMA, features=(feature,))
    rows = make_orders(make_order(), make_order()).with_columns(huge=pl.Series(["1156932207439.1902", "0.5"]))
    audited = audit_orders(rows, make_restaurant_index(), need_label=True, schema=schema)
    finding = next(finding for finding in audited.findings if finding.column == "huge")
    assert finding.rows.tolist() == [0]
    assert finding.expected == expected
    assert valid_range(feature)[2] == expected


BOOLEANS = (
    pl.Series([True, False, None]),
    pl.Series(["True", " False ", ""]),
    pl.Series(["TRUE", "FALSE", None]),
    pl.Series(["true", "false", None], dtype=pl.Categorical),
    pl.Series([True, "False", None], dtype=pl.Object),
)


@pytest.mark.parametrize("cells", BOOLEANS)
def test_category_values_have_one_spelling_of_a_boolean(cells: pl.Series) -> None:
    assert category_values(cells).to_list() == ["true", "false", ""]


def test_category_values_keep_other_spellings() -> None:
    kept = ["tRUE", "True story", "t", "F", "yes", "1.50", "v2.0", "007.0"]
    assert category_values(pl.Series([*kept, "1.0", "-3.0"])).to_list() == [*kept, "1", "-3"]
