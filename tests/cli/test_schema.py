"""`preptime schema`: the nineteen exports of a new user, questions, and the schema in use."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import polars as pl
import pytest

from preptime.cli.schema import SchemaInferDocument, SchemaShowDocument
from preptime.domain.data_dictionary import TARGET
from preptime.errors import UsageError
from preptime.schema.schema import TAKE_HOME_SCHEMA
from preptime.schema.toml_file import parse_schema, read_schema
from preptime.sources import sample as sample_module
from preptime.sources.registry import open_source
from preptime.sources.sample import MAX_WHOLE_BYTES, read_sample
from preptime.validation.audit import audit_orders
from preptime.validation.derived_restaurants import derive_restaurants
from preptime.validation.restaurants import read_restaurants
from tests.cli.run_command import error_document, preptime, run_process
from tests.exports import EXPORTS, Export, infer


def read_with_schema(export: Export, folder: Path) -> pl.DataFrame:
    """Return the audited orders of an export, read with the schema in its folder."""
    schema = read_schema(folder / "schema.toml")
    orders = open_source(folder / "orders.csv", schema).frame()
    if export.restaurants is None:
        restaurants = derive_restaurants(orders, schema).index
    else:
        restaurants = read_restaurants(open_source(folder / "restaurants.csv", schema).frame(), schema)
    return audit_orders(orders, restaurants, need_label=True, schema=schema).frame


@pytest.mark.parametrize("name", EXPORTS)
def test_export_is_read_with_the_inferred_schema(name: str, tmp_path: Path) -> None:
    export = EXPORTS[name]()
    document = infer(export, tmp_path, "--json").succeeded().document(SchemaInferDocument)
    assert document.open == ()
    assert document.audit is not None
    assert document.audit["passed"] is True
    frame = read_with_schema(export, tmp_path)
    assert frame["acknowledged_utc"].equals(export.truth["acknowledged_utc"])
    assert frame["order_value"].to_list() == pytest.approx(export.truth["order_value"].to_list(), abs=0.005)
    assert frame["number_of_items"].to_list() == export.truth["number_of_items"].to_list()
    labels = pl.DataFrame({"read": frame[TARGET], "truth": export.truth["prep_time_seconds"]})
    known = labels.filter(pl.col("truth").is_between(0, 10_800))
    assert known["read"].to_list() == known["truth"].to_list()
    schema = read_schema(tmp_path / "schema.toml")
    assert tuple(feature.name for feature in schema.features) == export.features
    for column, options in export.expected.items():
        assert {key: getattr(schema.orders[column], key) for key in options} == options


@pytest.mark.parametrize("name", [name for name, export in EXPORTS.items() if export().open_key])
def test_ambiguous_export_fails_with_the_line_to_add(name: str, tmp_path: Path) -> None:
    export = EXPORTS[name]()
    result = infer(export, tmp_path, "--json", options=())
    assert result.status == 1
    document = result.document(SchemaInferDocument)
    assert export.open_key in {line.key for line in document.open}
    assert document.audit is None
    assert all(reading in result.err for line in document.open for reading in line.readings if line.key != "time_zone")
    assert ("--time-zone" in result.err) == (export.open_key == "time_zone")
    with pytest.raises(UsageError) as raised:
        read_schema(tmp_path / "schema.toml")
    (line,) = [line for line in document.open if raised.value.facts.endswith(f": {line.key} isn't decided.")]
    assert all(reading in raised.value.hint for reading in line.readings)


@pytest.mark.parametrize(
    ("name", "options"),
    [("no_restaurants", "--time-zone ZONE --force"), ("naive_utc", "--times UTC --force")],
)
def test_options_of_the_message_decide_the_schema(name: str, options: str, tmp_path: Path) -> None:
    """The file that the first command wrote is overwritten."""
    export = EXPORTS[name]()
    result = infer(export, tmp_path, options=())
    assert result.status == 1
    assert options in " ".join(result.out.split())
    infer(export, tmp_path, options=tuple(options.replace("ZONE", "Europe/London").split())).succeeded()
    frame = read_with_schema(export, tmp_path)
    assert frame["acknowledged_utc"].equals(export.truth["acknowledged_utc"])


def test_message_without_a_file_has_no_force(tmp_path: Path) -> None:
    orders, _ = EXPORTS["no_restaurants"]().write(tmp_path)
    result = preptime("schema", "infer", orders, "--yes")
    assert "run the command again with --time-zone ZONE, or add" in " ".join(result.out.split())


def test_line_of_the_message_decides_the_schema(tmp_path: Path) -> None:
    """A user replaces each open line by its second reading, as the message says."""
    export = EXPORTS["naive_utc"]()
    document = infer(export, tmp_path, "--json", options=()).document(SchemaInferDocument)
    path = tmp_path / "schema.toml"
    text = path.read_text(encoding="utf-8")
    for line in document.open:
        text = text.replace("#? " + line.readings[1], line.readings[1]).replace(f"#? {line.readings[0]}\n", "")
    path.write_text(text, encoding="utf-8")
    frame = read_with_schema(export, tmp_path)
    assert frame["acknowledged_utc"].equals(export.truth["acknowledged_utc"])


def test_questions_are_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --yes, the time zone is asked first, then the zone of the times, for both columns."""
    export = EXPORTS["naive_utc"]()
    orders, _ = export.write(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO("Mars\nEurope/London\n9\n2\n"))
    result = preptime("schema", "infer", orders, "--json").succeeded()
    document = result.document(SchemaInferDocument)
    assert result.err.count("have no offset. In which time zone are they?") == 1
    assert "The time zone 'Mars' is unknown" in result.err
    schema = parse_schema(document.schema)
    assert schema.restaurants.time_zone == "Europe/London"
    assert schema.orders["order_acknowledged_at"].time_zone == schema.orders["order_ready_at"].time_zone == "UTC"


def test_unanswered_question_is_wrong_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    orders, _ = EXPORTS["no_restaurants"]().write(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    document = error_document(preptime("schema", "infer", orders, "--json"), 2, "UsageError")
    assert "In which time zone are the restaurants?" in document.facts
    assert "--yes" in document.hint


def test_existing_schema_is_kept_without_force(tmp_path: Path) -> None:
    export = EXPORTS["epochs"]()
    (tmp_path / "schema.toml").write_text("mine", encoding="utf-8")
    document = error_document(infer(export, tmp_path, "--json"), 2, "UsageError")
    assert "exists" in document.facts
    assert (tmp_path / "schema.toml").read_text(encoding="utf-8") == "mine"
    infer(export, tmp_path, "--force").succeeded()
    assert read_schema(tmp_path / "schema.toml").orders["restaurant_id"].column == "restaurant_id"


def test_text_shows_mapped_rows_and_unused_columns(tmp_path: Path) -> None:
    result = infer(EXPORTS["additional_columns"](), tmp_path).succeeded()
    assert (
        "Unused column courier_arrived_at: its name says that it's known only after the acknowledgement." in result.out
    )
    assert "order_acknowledged_at (local)" in result.out
    assert "Usable orders: fitting " in result.out
    assert result.out.endswith(f"Wrote {tmp_path / 'schema.toml'}.\n")


def test_large_file_is_sampled_at_even_distances(tmp_path: Path) -> None:
    """Times have a day above 12 only in the last third of the file, which a sample of its start doesn't reach."""
    rows = 500_000
    dates = pl.Series([f"{1 + row * 20 // rows:02d}/06/2015 12:{row % 60:02d}" for row in range(rows)])
    frame = pl.DataFrame(
        {"created_at": dates, "store_id": pl.int_range(rows, eager=True) % 50, "prep_min": 12, "x": "y" * 20}
    )
    csv, parquet = tmp_path / "orders.csv", tmp_path / "orders.parquet"
    frame.write_csv(csv)
    frame.write_parquet(parquet, row_group_size=100_000)
    assert csv.stat().st_size > MAX_WHOLE_BYTES
    for path in (csv, parquet):
        sample = read_sample(str(path))
        assert not sample.is_complete
        assert 40_000 <= len(sample.frame) <= 50_000
        assert sample.frame["created_at"].str.slice(0, 2).n_unique() >= 14
        assert set(sample.frame["created_at"]) <= set(dates)
    result = preptime("schema", "infer", csv, "--time-zone", "Europe/Paris", "--times", "local", "--json").succeeded()
    document = result.document(SchemaInferDocument)
    assert document.sampled
    assert parse_schema(document.schema).orders["order_acknowledged_at"].format == "%d/%m/%Y %H:%M"
    assert document.audit is not None
    assert document.audit["examples"] == []


@pytest.mark.parametrize("is_compressed", [False, True])
def test_file_without_separate_lines_is_read_from_its_start(
    *, is_compressed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block in the middle of a compressed file, or of one with line feeds in cells, has no complete rows."""
    monkeypatch.setattr(sample_module, "MAX_WHOLE_BYTES", 1000)
    note = "a" if is_compressed else '"two\nlines"'
    content = "store_id,note\n" + "".join(f"{row},{note}\n" for row in range(2_000))
    path = tmp_path / ("orders.csv.gz" if is_compressed else "orders.csv")
    path.write_bytes(gzip.compress(content.encode()) if is_compressed else content.encode())
    sample = read_sample(str(path), rows=1_500)
    assert not sample.is_complete
    assert sample.frame["store_id"].to_list() == [str(row) for row in range(1_500)]


def test_small_parts_of_a_folder_are_read_whole(tmp_path: Path) -> None:
    for part in range(3):
        (tmp_path / f"part-{part}.csv").write_text(f"created_at,store_id\n2015-06-0{part + 1} 12:00:00,{part}\n")
    sample = read_sample(str(tmp_path))
    assert sample.is_complete
    assert sample.frame["store_id"].to_list() == ["0", "1", "2"]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_sample_has_the_columns_of_folder_names(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_module, "MAX_WHOLE_BYTES", 1000)  # The CSV file is read in blocks.
    monkeypatch.setattr(sample_module, "HEAD_BYTES", 2_000)
    monkeypatch.setattr(sample_module, "BLOCK_BYTES", 200)
    frame = pl.DataFrame({"store_id": pl.int_range(2_000, eager=True), "note": "a"})
    for city in ("Leeds", "Paris"):
        folder = tmp_path / f"city={city}"
        folder.mkdir()
        write = frame.write_csv if kind == "csv" else frame.write_parquet
        write(folder / f"part.{kind}")
    sample = read_sample(str(tmp_path), rows=300)
    assert not sample.is_complete
    assert sample.frame["city"].unique().sort().to_list() == ["Leeds", "Paris"]


def test_show_prints_the_schema_and_its_origin(tmp_path: Path) -> None:
    infer(EXPORTS["doordash"](), tmp_path).succeeded()
    path = str(tmp_path / "schema.toml")
    shown = preptime("schema", "show", "--schema", path, "--json").succeeded().document(SchemaShowDocument)
    assert path in shown.origin
    assert parse_schema(shown.schema) == read_schema(tmp_path / "schema.toml")
    built_in = run_process("schema", "show").succeeded().out
    assert built_in.startswith("# Schema: ")
    assert parse_schema(built_in) == TAKE_HOME_SCHEMA
    by_variable = run_process("schema", "show", PREPTIME_SCHEMA=path).succeeded().out
    assert parse_schema(by_variable) == parse_schema(shown.schema)


def test_infer_without_out_prints_the_schema_as_lines(tmp_path: Path) -> None:
    export = EXPORTS["minutes"]()
    orders, restaurants = export.write(tmp_path)
    assert restaurants is not None
    result = preptime("schema", "infer", orders, "--restaurants", restaurants, "--yes").succeeded()
    assert 'prep_time = { column = "prep_time_minutes", unit = "min" }' in result.out.splitlines()
