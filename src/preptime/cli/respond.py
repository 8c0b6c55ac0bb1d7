"""`preptime respond`: what follows from a morning's look."""

from __future__ import annotations

import datetime as dt
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
import msgspec

from preptime.cli import options, reading
from preptime.cli.speaking import Speaker, speaking
from preptime.cli.status import REFUSED
from preptime.errors import DataError, UsageError
from preptime.settings import ENV_FILE, Settings

if TYPE_CHECKING:
    from preptime.bundle.store import Store
    from preptime.features.directory import Directory
    from preptime.monitoring.document import Monitoring
    from preptime.tables.audit import Audited
    from preptime.tables.results import Results
    from preptime.training.publish import Who
    from preptime.training.review import Review

Allowed = Literal["off", "retrain", "all"]

BY = "preptime respond"
"""Who promotes and rolls back here, in the champion log."""


class Training(msgspec.Struct, frozen=True):
    """What came of the wish to train."""

    outcome: Literal["not_wanted", "forbidden", "refused", "trained"]
    """trained: there is a training of this date, this one's or the daily run's. refused: the data gate said no."""
    wanted_by: tuple[str, ...]
    """The alerts that ask for a training: `slower: London`."""
    bundle: str | None
    reason: str


class RespondDocument(msgspec.Struct, frozen=True):
    """The document of `respond --json`, and `response.json` in the date's partition."""

    date: dt.date
    allowed: Allowed
    """PREPTIME_RESPOND."""
    review: Review | None
    """Null when rolling back is not allowed: then nobody was reviewed."""
    training: Training


@click.command()
@options.date
@options.orders
@options.restaurants
@options.store
@options.results
@click.option(
    "--allow",
    type=click.Choice(["off", "retrain", "all"]),
    help="What may be done: nothing, train, or also roll back.  [default: PREPTIME_RESPOND, else all]",
)
@options.threads
@speaking
def respond(
    speaker: Speaker,
    *,
    date: dt.date,
    orders: str,
    restaurants: str,
    store: str,
    results: str,
    allow: Allowed | None,
    threads: int,
) -> None:
    """Do what the morning's monitoring asks for.

    Goes back to the models before when the champion is worse than they are, on orders that neither has seen, since it
    serves; and trains when an alert asks for it and the date has no training yet. Running it again does nothing twice.
    PREPTIME_RESPOND or --allow forbid either. Needs the date's monitoring.json.
    """
    from preptime.bundle.store import Store
    from preptime.tables.results import RESPONSE, Results

    allowed = allow or Settings.read(os.environ, Path(ENV_FILE)).respond
    into, opened = Results(Path(results)), Store.open(store)
    wanted = wanted_by(_seen(into, date))
    task = _Task(speaker, date, opened, orders, restaurants, threads)
    reviewed = task.review() if allowed == "all" else None
    trained = task.training(wanted, into, allowed=allowed != "off")
    document = RespondDocument(date, allowed, reviewed, trained)
    written = into.write(date, RESPONSE, msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")
    speaker.finish(document, *words(document, store), f"The results are in {written.parent}.")
    if trained.outcome == "refused":
        # The document is printed: an error's document beside it would be one too many.
        click.get_current_context().exit(REFUSED)


def wanted_by(seen: Monitoring) -> tuple[str, ...]:
    """The alerts that new models may help against."""
    from preptime.monitoring.rules import rule_named

    return tuple(
        alert.rule if alert.segment == "overall" else f"{alert.rule}: {alert.value}"
        for alert in seen.alerts
        if (rule := rule_named(alert.rule)) is not None and rule.retrain
    )


def words(document: RespondDocument, store: str) -> list[str]:
    """What was found and done, for people."""
    said = []
    found = document.review
    if document.allowed == "off":
        said.append("Nothing may be done here: PREPTIME_RESPOND or --allow is off.")
    elif found is None:
        said.append("Rolling back is not allowed here (PREPTIME_RESPOND or --allow), so nobody was reviewed.")
    elif found.outcome == "rolled_back":
        said.append(f"{found.champion} was undone: the models of {found.previous} are champion of {store} again.")
        said.append(found.reason)
    else:
        said.append(f"The champion of {store} stays. {found.reason}")
    return [*said, *_training_words(document.training)]


def _training_words(training: Training) -> list[str]:
    alerts = ", ".join(training.wanted_by)
    return {
        "not_wanted": ["No alert asks for a training."],
        "forbidden": [f"A training is asked for by {alerts}, and is not allowed here."],
        "refused": [f"A training is asked for by {alerts}; the data was refused. {training.reason}"],
        "trained": [f"A training is asked for by {alerts}: {training.bundle}. {training.reason}"],
    }[training.outcome]


def _seen(into: Results, date: dt.date) -> Monitoring:
    from preptime.monitoring.document import decode
    from preptime.tables.results import MONITORING

    path = into.path(date, MONITORING)
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise UsageError(
            f"{path} is not there, so nothing says how it went.", f"Run preptime monitor --date {date} first."
        ) from None
    return decode(raw, str(path))


@dataclass
class _Task:
    """One date's work; orders are read once, and only when they are needed."""

    speaker: Speaker
    date: dt.date
    store: Store
    orders: str
    restaurants: str
    threads: int

    @cached_property
    def _read(self) -> tuple[Audited, Directory]:
        return reading.read_audited(self.speaker, self.orders, self.restaurants)

    @property
    def _who(self) -> Who:
        from preptime.training.publish import Who

        return Who(BY, options.now())

    def review(self) -> Review:
        """Look at the champion, and go back where it was a mistake."""
        from preptime.training.corpus import Corpus
        from preptime.training.review import review

        return review(Corpus.of(*self._read), self.store, self.date, self._who, may_roll_back=True)

    def training(self, wanted: tuple[str, ...], into: Results, *, allowed: bool) -> Training:
        """Train, when it is wanted, allowed, and not yet done this morning."""
        if not wanted:
            return Training("not_wanted", (), None, "")
        already = self._of_this_date()
        if already is not None:
            return Training("trained", wanted, already, "It is this morning's training.")
        if not allowed:
            return Training("forbidden", wanted, None, "")
        return self._train(wanted, into)

    def _train(self, wanted: tuple[str, ...], into: Results) -> Training:
        from preptime.cli.train import publish
        from preptime.training.fit import FitPlan
        from preptime.training.train import train

        try:
            document = train(
                *self._read,
                self.date,
                self.store,
                self._who,
                plan=FitPlan.default(self.threads),
                progress=self.speaker.progress,
            )
        except DataError as error:
            return Training("refused", wanted, None, str(error))
        publish(document, self.store, into)
        return Training("trained", wanted, document.bundle, "It is this morning's training.")

    def _of_this_date(self) -> str | None:
        """The training of this date, whoever made it."""
        manifests = (self.store.manifest(one) for one in self.store.bundle_ids() if one.startswith(f"{self.date}-"))
        return next((one.id for one in manifests if one.kind == "training"), None)
