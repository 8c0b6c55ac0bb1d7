"""`preptime demo`: the main job from beginning to end, on synthetic orders or on the user's own."""

from __future__ import annotations

import datetime as dt
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from preptime.cli import inputs, options
from preptime.cli.output import Output, with_output
from preptime.cli.score import render_text as score_text
from preptime.cli.train import render_text as train_text
from preptime.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from preptime.evaluation.documents import BacktestDocument
    from preptime.scoring.score_document import ScoreDocument
    from preptime.training.train import TrainDocument
    from preptime.validation.audit import AuditedOrders

DEMO_ORDER_COUNT = 33_474
"""A month as in the public data (32,394 orders in 30 days) and one day more, which is scored."""
DEMO_DAY_COUNT = 31
TEST_ORDER_COUNT = 200


class DemoDocument(msgspec.Struct, frozen=True):
    """The document of `demo --json`."""

    date: dt.date
    """The day scored; everything before it was learned from."""
    bundle: str
    outcome: str
    backtest: BacktestDocument
    """Every model beside both baselines, on the last days before `date`, which no model was fitted on."""
    score: ScoreDocument
    files: dict[str, str]


@click.command()
@click.option("--orders", help="Your own orders.  [default: synthetic ones]")
@click.option("--restaurants", help="Your own restaurants, with your own orders.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo"),
    show_default=True,
    help="Folder for the data, the bundles and the predictions.",
)
@options.threads
@with_output
def demo(output: Output, *, orders: str | None, restaurants: str | None, out: Path, threads: int) -> None:
    """Do all of it once, on synthetic orders or on yours.

    Synthesizes a month of orders (or takes yours), trains every model, backtests, promotes, and scores the next day.
    """
    from preptime.bundle.bundle import fetch_verified
    from preptime.bundle.champion_log import resolve_bundle_id
    from preptime.bundle.store import Store
    from preptime.scoring.score_file import score_file
    from preptime.training.fitting import FitPlan
    from preptime.training.publishing import AuditActor
    from preptime.training.train import train

    if (orders is None) != (restaurants is None):
        raise UsageError("Orders and restaurants belong together.", "Give both --orders and --restaurants, or neither.")
    files = {"store": str(out / "models")}
    if orders is None or restaurants is None:
        orders, restaurants = _synthesize(output, out / "data", files)
    audited, restaurant_index = inputs.read_audited_orders(output, orders, restaurants)
    date = _last_day(audited)
    store = Store.open(str(out / "models"))
    training = train(
        audited,
        restaurant_index,
        date,
        store,
        AuditActor(options.current_user(), options.utc_now()),
        plan=FitPlan.default(threads),
        progress=output.progress,
    )
    next_day_file = out / "next_day.csv"
    _write_next_day(audited, date, next_day_file)
    champion = fetch_verified(store, resolve_bundle_id(store, training.champion or training.bundle))
    score = score_file(str(next_day_file), out / "predictions.csv", champion, progress=output.progress)
    files |= {
        "report": str(store.fetch(training.bundle) / "report.html"),
        "next_day": str(next_day_file),
        "predictions": score.out,
    }
    document = DemoDocument(date, training.bundle, training.outcome, training.evaluation, score, files)
    output.finish(document, *_render_text(training, document))


def _synthesize(output: Output, folder: Path, files: dict[str, str]) -> tuple[str, str]:
    """A month and a day of synthetic orders, and test orders with integer-coded categories."""
    from preptime.sources.registry import open_source
    from preptime.synthetic import SynthesisPlan, synthesize, write_integer_coded_orders

    synthesized = synthesize(
        SynthesisPlan(orders=DEMO_ORDER_COUNT, days=DEMO_DAY_COUNT), folder, "csv", output.progress
    )
    integer_coded_file = folder / "test_orders_integer_codes.csv"
    orders, restaurants = open_source(synthesized.orders).frame(), open_source(synthesized.restaurants).frame()
    write_integer_coded_orders(orders.tail(TEST_ORDER_COUNT), restaurants, integer_coded_file)
    files |= {"data": str(folder), "test_orders_with_integer_codes": str(integer_coded_file)}
    return str(synthesized.orders), str(synthesized.restaurants)


def _last_day(audited: AuditedOrders) -> dt.date:
    """The last local day that has orders."""
    last_day = audited.frame["acknowledged_local"].dt.date().max()
    if not isinstance(last_day, dt.date):
        raise UsageError("No order has a time that can be read.", "Look at what `preptime check` says of the file.")
    return last_day


def _write_next_day(audited: AuditedOrders, date: dt.date, path: Path) -> None:
    """The day's orders as they are when they are acknowledged: without what is only known later."""
    from preptime.domain.data_dictionary import OUTCOME_COLUMNS, READER_COLUMNS
    from preptime.sources.writer import write_table

    is_on_date = (audited.frame["acknowledged_local"].dt.date() == date).fill_null(value=False)
    write_table(path, iter([audited.raw.filter(is_on_date).drop(*OUTCOME_COLUMNS, *READER_COLUMNS, strict=False)]))


def _program_path() -> str:
    """How a shell calls this program from here: by its name in an environment that is active, else by its path."""
    program = Path(sys.executable).with_name("preptime.exe" if sys.platform == "win32" else "preptime")
    program_on_path = shutil.which("preptime")
    if not program.is_file() or (program_on_path is not None and Path(program_on_path).samefile(program)):
        return "preptime"
    return str(program.relative_to(Path.cwd()) if program.is_relative_to(Path.cwd()) else program)


def _render_text(training: TrainDocument, document: DemoDocument) -> list[RenderableType]:
    """The table, where the files are, what to try next."""
    store = document.files["store"]
    backtest = document.backtest
    width = max(len(label) for label in document.files)
    program_path = _program_path()
    return [
        f"Learned from all orders before {document.date}. The models were fitted on days before {backtest.first_day}.",
        *train_text(training, store, champion_id=training.champion),
        "",
        *score_text(document.score),
        "",
        "Where things are:",
        *(f"  {label.replace('_', ' '):<{width}}  {path}" for label, path in document.files.items()),
        "",
        "Try next:",
        f"  {program_path} bundles list --store {store}",
        f"  {program_path} score {document.files['next_day']} --out scored.parquet --store {store}",
        "  make demo ORDERS=your_orders.csv RESTAURANTS=your_restaurants.csv",
    ]
