"""The command `preptime demo`: create data, train, backtest, promote, and score, then write settings for the result."""

from __future__ import annotations

import datetime as dt
import os
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from preptime.atomic_write import atomic_path
from preptime.cli import inputs, options
from preptime.cli.output import Output, score_text, with_output
from preptime.cli.train import render_text as train_text
from preptime.env_file import ENV_FILE
from preptime.errors import UsageError
from preptime.keys import new_key
from preptime.python_api.defaults import current_user, utc_now
from preptime.redaction import redact_address

if TYPE_CHECKING:
    from rich.console import RenderableType

    from preptime.bundle.bundle import Bundle
    from preptime.bundle.store import Store
    from preptime.evaluation.documents import BacktestDocument
    from preptime.scoring.score_document import ScoreDocument
    from preptime.training.train import TrainDocument
    from preptime.validation.audit import AuditedOrders

DEMO_ORDER_COUNT = 33_474
"""A month as in the public data (32,394 orders in 30 days), plus one day, which is scored."""
DEMO_DAY_COUNT = 31
TEST_ORDER_COUNT = 200
NEXT_DAY_FILE = "next_day.csv"

ENV_COMMENT = "# Settings that `preptime demo` created. For all settings, see docs/settings.md."
"""The first line of an `.env` file that the demo wrote."""
LOCATION_SETTINGS = (
    "PREPTIME_STORE",
    "PREPTIME_ORDERS",
    "PREPTIME_RESTAURANTS",
    "PREPTIME_SCHEMA",
    "PREPTIME_RESULTS",
    "PREPTIME_PREDICTION_LOG_FOLDER",
)
"""The settings that differ between two demos in a folder. Keys don't."""


class DemoDocument(msgspec.Struct, frozen=True):
    """The document of `demo --json`."""

    date: dt.date
    """The models are trained on the days before it."""
    scored_day: dt.date
    """The last day with orders: `date`, or the day before it if there are few days."""
    bundle: str
    outcome: str
    backtest: BacktestDocument | None
    """Every model and both baselines, on the last days before `date`, each predicted by models fitted before it."""
    score: ScoreDocument
    files: dict[str, str]


@click.command()
@click.option("--orders", help="Your own orders.  [default: synthetic orders]")
@click.option("--restaurants", help="The restaurants of your own orders, if there is a file of them.")
@options.schema
@click.option(
    "--out",
    type=options.LocalPath(file_okay=False),
    help="Folder for the data, the store, and the predictions.  [default: demo, with --orders: demo-own]",
)
@options.gate
@options.threads
@with_output
def demo(
    output: Output,
    *,
    orders: str | None,
    restaurants: str | None,
    schema: str | None,
    out: Path | None,
    gate: tuple[str, ...],
    threads: int,
) -> None:
    """Run the main tasks once, on synthetic or your own orders.

    Synthesizes a month of orders or uses yours, trains all models, backtests, promotes, and scores the next day. Then
    writes settings for the result, including new keys, to .env in the working directory. In an .env of an earlier demo,
    only the locations are replaced. Any other .env isn't changed.
    """
    from preptime.bundle.champion_log import resolve_bundle_id
    from preptime.bundle.isolated_check import load_checked
    from preptime.training.fitting import FitPlan
    from preptime.training.publishing import AuditActor
    from preptime.training.train import train
    from preptime.validation.data_gate import thresholds_from_settings

    thresholds = thresholds_from_settings(options.parse_thresholds(gate))
    if orders is None and restaurants is not None:
        raise UsageError("--restaurants needs --orders.", "Add the orders of these restaurants: --orders FILE.")
    out = out or Path("demo" if orders is None else "demo-own")
    files = {"store": str(out / "models")}
    if orders is not None:
        dataset = inputs.Dataset.from_options(orders, restaurants, schema)
    else:
        dataset, schema = _synthesize(output, out / "data", files), None
    audited, restaurant_index = inputs.read_completed_orders(output, dataset)
    last_day = _last_day(audited)
    date = _training_date(audited, last_day)
    store = options.open_store(str(out / "models"))
    training = train(
        audited,
        restaurant_index,
        date,
        store,
        AuditActor(current_user(), utc_now()),
        plan=FitPlan.from_schema(dataset.schema, threads),
        thresholds=thresholds,
        schema=dataset.schema,
        progress=output.progress,
    )
    files["report"] = str(store.fetch(training.bundle) / "report.html")
    champion = load_checked(store, resolve_bundle_id(store, training.champion or training.bundle))
    score = _score_day(output, audited, last_day, champion, out)
    files |= {"next_day": str(out / NEXT_DAY_FILE), "predictions": score.out}
    settings_lines = _write_settings(out, dataset, schema, files)
    document = DemoDocument(date, last_day, training.bundle, training.outcome, training.evaluation, score, files)
    result = [
        *_training_text(training, store, files["store"], dataset),
        "",
        *score_text(score, dataset.schema.target.time_unit),
    ]
    output.finish(document, *_render_text(document, result, settings_lines, dataset.orders_location))


def _score_day(output: Output, audited: AuditedOrders, date: dt.date, champion: Bundle, out: Path) -> ScoreDocument:
    """Write the orders of a day and their predictions to files in `out`."""
    from preptime.scoring.score_file import score_file

    orders = str(_write_next_day(audited, date, out / NEXT_DAY_FILE))
    return score_file(orders, out / "predictions.csv", champion, schema=audited.schema, progress=output.progress)


def _training_text(
    training: TrainDocument, store: Store, store_name: str, dataset: inputs.Dataset
) -> list[RenderableType]:
    """Return the result of the training as text."""
    from preptime.bundle.champion_log import ChampionLog

    current, unit = ChampionLog(store).current(), dataset.schema.target.time_unit
    text = train_text(training, store_name, champion_id=current.bundle if current else None, unit=unit)
    return [*text, *_foreign_champion_note(training, store)]


def _foreign_champion_note(training: TrainDocument, store: Store) -> list[str]:
    """Return a sentence if the bundle was compared with a champion that was trained on other orders."""
    champion_id = training.comparison.champion if training.comparison else None
    if champion_id is None or not store.has_bundle(champion_id):
        return []
    champion, challenger = store.read_manifest(champion_id), store.read_manifest(training.bundle)
    if champion.data_fingerprint == challenger.data_fingerprint:
        return []
    facts = f"{champion_id}, the champion of the comparison, was trained on other orders or with another schema."
    return [f"{facts} To start without it, add --out with a new folder."]


def _write_settings(out: Path, dataset: inputs.Dataset, schema: str | None, files: dict[str, str]) -> list[str]:
    """Write `.env`, which is added to `files`, unless it's the user's. Return the lines that say what was done.

    In the `.env` of an earlier demo, only the locations are replaced.
    """
    path, locations = Path(ENV_FILE), _location_lines(out, dataset, schema)
    text = "\n".join([ENV_COMMENT, *locations, *_key_lines(), ""])
    if _write_new_file(path, text):
        files["settings"] = ENV_FILE
        return [f"Wrote settings and new keys to {ENV_FILE}. Commands in this folder use them."]
    if _replace_locations(path, locations):
        files["settings"] = ENV_FILE
        done = f"Replaced the locations in {ENV_FILE}, which an earlier demo created, with those of this demo."
        return [f"{done} The keys and all other lines are unchanged. Commands in this folder use them."]
    for address in filter(None, (dataset.orders_location, dataset.restaurants_location)):
        text = text.replace(quote_value(address), quote_value(redact_address(address)))
    return [
        f"{ENV_FILE} exists, so it wasn't changed. The settings for this demo are:",
        *(f"  {line}" for line in text.splitlines()),
    ]


def _synthesize(output: Output, folder: Path, files: dict[str, str]) -> inputs.Dataset:
    """Write a month and a day of synthetic orders, and test orders with integer-coded categories."""
    from preptime.domain.data_dictionary import BUILT_IN_ORIGIN
    from preptime.schema.schema import TAKE_HOME_SCHEMA
    from preptime.sources.registry import open_source
    from preptime.synthetic import SynthesisPlan, synthesize, write_integer_coded_orders

    synthesized = synthesize(
        SynthesisPlan(orders=DEMO_ORDER_COUNT, days=DEMO_DAY_COUNT), folder, "csv", output.progress
    )
    integer_coded_file = folder / "test_orders_integer_codes.csv"
    orders, restaurants = open_source(synthesized.orders).frame(), open_source(synthesized.restaurants).frame()
    write_integer_coded_orders(orders.tail(TEST_ORDER_COUNT), restaurants, integer_coded_file)
    files |= {"data": str(folder), "test_orders_with_integer_codes": str(integer_coded_file)}
    return inputs.Dataset(str(synthesized.orders), str(synthesized.restaurants), TAKE_HOME_SCHEMA, BUILT_IN_ORIGIN)


def _last_day(audited: AuditedOrders) -> dt.date:
    """Return the last local day with orders."""
    last_day = audited.frame["acknowledged_local"].dt.date().max()
    if not isinstance(last_day, dt.date):
        raise UsageError("No order has a readable acknowledgement time.", "For details, run `preptime check`.")
    return last_day


def _training_date(audited: AuditedOrders, last_day: dt.date) -> dt.date:
    """Return the last day, or the day after it if the days before the last one are too few for a training."""
    from preptime.training.requirements import MIN_TRAINING_DAYS

    first_day = audited.frame["acknowledged_local"].dt.date().min()
    is_short = isinstance(first_day, dt.date) and (last_day - first_day).days < MIN_TRAINING_DAYS
    return last_day + dt.timedelta(days=1) if is_short else last_day


def _write_next_day(audited: AuditedOrders, date: dt.date, path: Path) -> Path:
    """Write the orders of a day to `path` as they are at their acknowledgement. Return `path`."""
    from preptime.domain.data_dictionary import OUTCOME_COLUMNS, READER_COLUMNS
    from preptime.sources.writer import write_table

    outcomes = [audited.schema.orders[name].column for name in OUTCOME_COLUMNS if audited.schema.has(name)]
    is_on_date = (audited.frame["acknowledged_local"].dt.date() == date).fill_null(value=False)
    rows = audited.raw.filter(is_on_date).drop(*outcomes, *READER_COLUMNS, strict=False)
    write_table(path, iter([rows]), delimiter=audited.schema.source.delimiter)
    return path


def _program_path() -> str:
    """Return the command that starts this program in a shell: its name if it's on the PATH, else its path."""
    program = Path(sys.executable).with_name("preptime.exe" if sys.platform == "win32" else "preptime")
    program_on_path = shutil.which("preptime")
    if not program.is_file() or (program_on_path is not None and Path(program_on_path).samefile(program)):
        return "preptime"
    return str(program.relative_to(Path.cwd()) if program.is_relative_to(Path.cwd()) else program)


def _location_lines(out: Path, dataset: inputs.Dataset, schema: str | None) -> list[str]:
    """Return the lines of an `.env` file with the locations that the demo used."""
    values = (
        str(out / "models"),
        dataset.orders_location,
        dataset.restaurants_location,
        schema,
        str(out / "results"),
        str(out / "prediction-log"),
    )
    return [f"{name}={quote_value(value)}" for name, value in zip(LOCATION_SETTINGS, values, strict=True) if value]


def _key_lines() -> list[str]:
    """Return the lines of an `.env` file with new keys."""
    api_key, operator_key = new_key("demo"), new_key("demo-operator")
    return [
        "# The API key: its hash for the server, the key itself for clients such as the dashboard.",
        f"PREPTIME_API_KEYS={api_key.setting}",
        f"PREPTIME_API_KEY={api_key.key}",
        "# The operator key, for changes of the champion in the dashboard. Only its hash is a setting; the key is:",
        f"# {operator_key.key}",
        f"PREPTIME_OPERATOR_KEYS={operator_key.setting}",
    ]


def quote_value(value: str) -> str:
    """Return a value for an `.env` file. Quotes are added only if the value needs them."""
    if re.fullmatch(r"[\w./:?&=%@+,*~-]*", value):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _write_new_file(path: Path, text: str) -> bool:
    """Write a file that only this user can read. Return False if the path exists."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    return True


def _replace_locations(path: Path, locations: list[str]) -> bool:
    """Replace the locations in an `.env` file that the demo wrote. Return False for any other file."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if not text.startswith(f"{ENV_COMMENT}\n"):
        return False
    others = [line for line in text.splitlines(keepends=True)[1:] if _assigned_name(line) not in LOCATION_SETTINGS]
    with atomic_path(path.resolve()) as temporary:
        _write_new_file(temporary, "\n".join([ENV_COMMENT, *locations, ""]) + "".join(others))
        shutil.copymode(path, temporary)
    return True


def _assigned_name(line: str) -> str:
    """Return the name that a line of an `.env` file sets."""
    return line.partition("=")[0].strip().removeprefix("export ").strip()


def _render_text(
    document: DemoDocument, result: list[RenderableType], settings_lines: list[str], orders: str
) -> list[RenderableType]:
    """Return the result as text: metrics, files, settings, and the next steps."""
    width = max(len(label) for label in document.files)
    return [
        f"Trained as of {document.date}, on the days before it.",
        *(
            [f"There are few days, so the scored day, {document.scored_day}, is one of them."]
            if document.scored_day < document.date
            else []
        ),
        *result,
        "",
        "Files:",
        *(f"  {label.replace('_', ' '):<{width}}  {path}" for label, path in document.files.items()),
        "",
        *settings_lines,
        "",
        *_next_steps(document, orders),
    ]


def _next_steps(document: DemoDocument, orders: str) -> list[str]:
    """Return commands to try. Without the settings of the demo, they name the store and the orders."""
    program_path = _program_path()
    promote = f"  {program_path} bundles promote {document.bundle} --reason TEXT"
    is_promoted = document.outcome not in {"kept", "refreshed"}
    if "settings" not in document.files:
        # Orders of a database have canonical columns, and commands that score files expect the company's.
        from preptime.sources.registry import is_database

        store, scored = document.files["store"], f"{document.files['next_day']} --out scored.parquet"
        if is_database(orders):
            scored = f"--date {document.scored_day} --orders {shlex.quote(redact_address(orders))}"
        return [
            "Next steps:",
            *([] if is_promoted else [f"{promote} --store {store}"]),
            f"  {program_path} bundles list --store {store}",
            f"  {program_path} score {scored} --store {store}",
        ]
    next_date = document.scored_day + dt.timedelta(days=1)
    return [
        "Next steps:",
        *([] if is_promoted else [promote]),
        f"  {program_path} bundles list",
        f"  {program_path} score --date {document.scored_day}",
        f"  {program_path} monitor --date {next_date}",
        f"  {program_path} train --date {next_date}",
        f"  {program_path} serve",
        f"  {program_path} ui",
    ]
