"""`preptime demo`: the main job from beginning to end, on synthetic orders or on the user's own."""

from __future__ import annotations

import datetime as dt
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from preptime.cli import options, reading
from preptime.cli.score import words as score_words
from preptime.cli.speaking import Speaker, speaking
from preptime.cli.train import words as train_words
from preptime.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from preptime.evaluation.documents import BacktestDocument
    from preptime.scoring.document import ScoreDocument
    from preptime.tables.audit import Audited
    from preptime.training.train import TrainDocument

DEMO_ORDERS = 33_474
"""A month as in the public data (32,394 orders in 30 days) and one day more, which is scored."""
DEMO_DAYS = 31
TEST_ORDERS = 200


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
@speaking
def demo(speaker: Speaker, *, orders: str | None, restaurants: str | None, out: Path, threads: int) -> None:
    """Do all of it once, on synthetic orders or on yours.

    Synthesizes a month of orders (or takes yours), trains every model, backtests, promotes, and scores the next day.
    """
    from preptime.bundle.bundle import verify
    from preptime.bundle.champions import chosen
    from preptime.bundle.store import Store
    from preptime.scoring.score import score_file
    from preptime.training.fit import FitPlan
    from preptime.training.publish import Who
    from preptime.training.train import train

    if (orders is None) != (restaurants is None):
        raise UsageError("Orders and restaurants belong together.", "Give both --orders and --restaurants, or neither.")
    files = {"store": str(out / "models")}
    if orders is None or restaurants is None:
        orders, restaurants = _synthesize(speaker, out / "data", files)
    audited, directory = reading.read_audited(speaker, orders, restaurants)
    date = _last_day(audited)
    store = Store.open(str(out / "models"))
    trained = train(
        audited,
        directory,
        date,
        store,
        Who(options.user(), options.now()),
        plan=FitPlan.default(threads),
        progress=speaker.progress,
    )
    asked = out / "next_day.csv"
    _write_next_day(audited, date, asked)
    champion = verify(store, chosen(store, trained.champion or trained.bundle))
    scored = score_file(str(asked), out / "predictions.csv", champion, progress=speaker.progress)
    files |= {
        "report": str(store.fetch(trained.bundle) / "report.html"),
        "next_day": str(asked),
        "predictions": scored.out,
    }
    document = DemoDocument(date, trained.bundle, trained.outcome, trained.evaluation, scored, files)
    speaker.finish(document, *_words(trained, document))


def _synthesize(speaker: Speaker, folder: Path, files: dict[str, str]) -> tuple[str, str]:
    """A month and a day of synthetic orders, and test orders with integer-coded categories."""
    from preptime.tables.open import open_table
    from preptime.tables.synthetic import SynthesisPlan, synthesize, write_integer_coded_orders

    report = synthesize(SynthesisPlan(orders=DEMO_ORDERS, days=DEMO_DAYS), folder, "csv", speaker.progress)
    coded = folder / "test_orders_integer_codes.csv"
    orders, restaurants = open_table(report.orders).frame(), open_table(report.restaurants).frame()
    write_integer_coded_orders(orders.tail(TEST_ORDERS), restaurants, coded)
    files |= {"data": str(folder), "test_orders_with_integer_codes": str(coded)}
    return str(report.orders), str(report.restaurants)


def _last_day(audited: Audited) -> dt.date:
    """The last local day that has orders."""
    last = audited.frame["acknowledged_local"].dt.date().max()
    if not isinstance(last, dt.date):
        raise UsageError("No order has a time that can be read.", "Look at what `preptime check` says of the file.")
    return last


def _write_next_day(audited: Audited, date: dt.date, path: Path) -> None:
    """The day's orders as they are when they are acknowledged: without what is only known later."""
    from preptime.domain.dictionary import LATER
    from preptime.tables.columns import ADDED
    from preptime.tables.write import write_table

    of_day = (audited.frame["acknowledged_local"].dt.date() == date).fill_null(value=False)
    write_table(path, iter([audited.source.filter(of_day).drop(*LATER, *ADDED, strict=False)]))


def _program() -> str:
    """How a shell calls this program from here: by its name in an environment that is active, else by its path."""
    own = Path(sys.executable).with_name("preptime.exe" if sys.platform == "win32" else "preptime")
    named = shutil.which("preptime")
    if not own.is_file() or (named is not None and Path(named).samefile(own)):
        return "preptime"
    return str(own.relative_to(Path.cwd()) if own.is_relative_to(Path.cwd()) else own)


def _words(trained: TrainDocument, document: DemoDocument) -> list[RenderableType]:
    """The table, where the files are, what to try next."""
    store = document.files["store"]
    backtest = document.backtest
    width = max(len(what) for what in document.files)
    program = _program()
    return [
        f"Learned from all orders before {document.date}. The models were fitted on days before {backtest.first_day}.",
        *train_words(trained, store, serving=trained.champion),
        "",
        *score_words(document.score),
        "",
        "Where things are:",
        *(f"  {what.replace('_', ' '):<{width}}  {path}" for what, path in document.files.items()),
        "",
        "Try next:",
        f"  {program} bundles list --store {store}",
        f"  {program} score {document.files['next_day']} --out scored.parquet --store {store}",
        "  make demo ORDERS=your_orders.csv RESTAURANTS=your_restaurants.csv",
    ]
