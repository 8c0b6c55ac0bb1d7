"""The declared keys agree with the schema, the features, and the documentation."""

from __future__ import annotations

import itertools

import pytest

from preptime.domain.orders import DEFAULT_MODEL
from preptime.evaluation.evaluated_orders import GLOBAL_MEDIAN, LIVE_MODEL, LOOKUP
from preptime.features.feature_set import FeatureSet
from preptime.features.spec import BASE_FEATURES
from preptime.models.catalogue import CATALOGUE
from preptime.schema import page
from preptime.schema.keys import (
    COLUMN_OPTIONS,
    FEATURE_OPTIONS,
    RESERVED_FEATURE_NAMES,
    SECTIONS,
    is_model_name,
    matrix_names,
)
from preptime.schema.schema import (
    TAKE_HOME_SCHEMA,
    CustomFeature,
    FeatureOwner,
    FeatureType,
    OrderColumn,
    Schema,
    SourceDialect,
    Target,
)
from preptime.scoring.column_names import RESULT_COLUMNS
from preptime.scoring.scorer import model_column
from scripts.generate_docs import DOCS_DIR


def test_reserved_names_contain_every_base_feature() -> None:
    assert {feature.name for feature in BASE_FEATURES} <= RESERVED_FEATURE_NAMES
    assert not {name for name in RESERVED_FEATURE_NAMES if name.endswith("_missing")}


def test_no_model_has_the_name_of_a_result_or_a_baseline() -> None:
    prefix, suffix = model_column("|").split("|")
    results = {name.removeprefix(prefix).removesuffix(suffix) for name in RESULT_COLUMNS if name.endswith(suffix)}
    assert {"p10", "p50", "p80", "p90", "courier_wait", "food_wait"} <= results
    others = results - {*CATALOGUE} | {LOOKUP, GLOBAL_MEDIAN, LIVE_MODEL}
    assert [name for name in others if is_model_name(name)] == []
    assert is_model_name("p95")
    assert DEFAULT_MODEL in CATALOGUE


def test_keys_are_the_fields_of_the_schema() -> None:
    assert {*SECTIONS} == {*Schema.__struct_fields__}
    assert {*SECTIONS["source"]} == {*SourceDialect.__struct_fields__}
    assert {*SECTIONS["target"]} == {*Target.__struct_fields__}
    assert {option for options in COLUMN_OPTIONS.values() for option in options} == {*OrderColumn.__struct_fields__}
    assert {*FEATURE_OPTIONS, "name"} == {*CustomFeature.__struct_fields__}


@pytest.mark.parametrize(("kind", "owner"), list(itertools.product(["number", "category"], ["order", "restaurant"])))
def test_matrix_names_are_those_of_the_feature_set(kind: FeatureType, owner: FeatureOwner) -> None:
    feature = CustomFeature(name="x", column="x", type=kind, of=owner)
    schema = Schema(orders=TAKE_HOME_SCHEMA.orders, features=(feature,))
    added = {*FeatureSet.from_schema(schema).names} - {*FeatureSet.from_schema(TAKE_HOME_SCHEMA).names}
    assert matrix_names("x", kind) == added


def test_page_names_the_duration_by_its_key() -> None:
    """The data dictionary has the canonical name, which isn't a key of `[orders]`."""
    text = page.render_markdown(DOCS_DIR / "schema.md")
    assert "Training needs this column or `prep_time`." in text
    assert "`prep_time_seconds`" not in text


def test_page_is_current() -> None:
    """When this fails: `make docs`."""
    path = DOCS_DIR / "schema.md"
    assert path.read_text(encoding="utf-8") == page.render_markdown(path)
