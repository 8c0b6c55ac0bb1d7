"""`preptime score`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from preptime.cli import figures, options, reading
from preptime.cli.speaking import Speaker, speaking

if TYPE_CHECKING:
    from preptime.scoring.document import ScoreDocument


@click.command()
@click.argument("source", metavar="INPUT")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="A .csv or .parquet file.")
@options.store
@click.option("--bundle", "bundle_id", help="Score with this bundle.  [default: the champion]")
@click.option("--restaurants", help="Restaurants that the bundle may not know yet: a file, a folder, or a glob.")
@speaking
def score(
    speaker: Speaker, *, source: str, out: Path, store: str, bundle_id: str | None, restaurants: str | None
) -> None:
    """Predict every order of a file.

    INPUT is a csv or parquet file, a folder, or a glob of them. Every row comes back in its place, with a prediction
    or with a reason.
    """
    from preptime.bundle.bundle import verify
    from preptime.bundle.champions import chosen
    from preptime.bundle.store import Store
    from preptime.scoring.score import score_file

    from_store = Store.open(store)
    bundle = verify(from_store, chosen(from_store, bundle_id))
    directory = None if restaurants is None else reading.read_directory(restaurants)
    document = score_file(source, out, bundle, directory=directory, progress=speaker.progress)
    speaker.finish(document, *words(document))


def words(document: ScoreDocument) -> list[str]:
    """What scoring says to people."""
    said = [
        f"{document.predicted:,} of {figures.counted(document.rows, 'order')} are predicted by {document.bundle}.",
        f"The file is {document.out}.",
    ]
    if document.median_predicted_seconds is not None:
        minutes = document.median_predicted_seconds / 60
        said.insert(1, f"Half of them are predicted to be ready within {minutes:.0f} minutes.")
    behind = ", ".join(f"{level} {count:,}" for level, count in document.basis.items() if count)
    if behind:
        said.append(f"The finest history behind them: {behind}.")
    said += [
        f"{figures.counted(count, 'order')} without a prediction, reason {reason}."
        for reason, count in document.refused.items()
    ]
    return said
