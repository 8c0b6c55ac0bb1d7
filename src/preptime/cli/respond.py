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

from preptime.cli import inputs, options
from preptime.cli.output import REFUSED_OR_ALERT, Output, with_output
from preptime.errors import DataError, UsageError
from preptime.settings import ENV_FILE, Settings

if TYPE_CHECKING:
    from preptime.bundle.store import Store
    from preptime.features.restaurant_index import RestaurantIndex
    from preptime.monitoring.document import MonitoringDocument
    from preptime.sources.results import ResultsFolder
    from preptime.training.champion_review import ChampionReview
    from preptime.training.publishing import AuditActor
    from preptime.validation.audit import AuditedOrders

AllowedActions = Literal["off", "retrain", "all"]

ACTOR_NAME = "preptime respond"
"""Who promotes and rolls back here, in the champion log."""


class RetrainingResult(msgspec.Struct, frozen=True):
    """What came of the wish to train."""

    outcome: Literal["not_needed", "not_allowed", "refused", "trained"]
    """trained: there is a training of this date, this one's or the daily run's. refused: the data gate said no."""
    triggered_by: tuple[str, ...]
    """The alerts that ask for a training: `slower_than_predicted: London`."""
    bundle: str | None
    reason: str


class RespondDocument(msgspec.Struct, frozen=True):
    """The document of `respond --json`, and `response.json` in the date's partition."""

    date: dt.date
    allowed: AllowedActions
    """PREPTIME_AUTO_RESPONSE."""
    review: ChampionReview | None
    """Null when rolling back is not allowed: then nobody was reviewed."""
    training: RetrainingResult


@click.command()
@options.date
@options.orders
@options.restaurants
@options.store
@options.results
@click.option(
    "--allow",
    type=click.Choice(["off", "retrain", "all"]),
    help="What may be done: nothing, train, or also roll back.  [default: PREPTIME_AUTO_RESPONSE, else all]",
)
@options.threads
@with_output
def respond(
    output: Output,
    *,
    date: dt.date,
    orders: str,
    restaurants: str,
    store: str,
    results: str,
    allow: AllowedActions | None,
    threads: int,
) -> None:
    """Do what the morning's monitoring asks for.

    Goes back to the models before when the champion is worse than they are, on orders that neither has seen, since it
    serves; and trains when an alert asks for it and the date has no training yet. Running it again does nothing twice.
    PREPTIME_AUTO_RESPONSE or --allow forbid either. Needs the date's monitoring.json.
    """
    from preptime.bundle.store import Store
    from preptime.sources.results import RESPONSE_FILE, ResultsFolder

    allowed = allow or Settings.load(os.environ, Path(ENV_FILE)).auto_response
    daily_results, bundle_store = ResultsFolder(Path(results)), Store.open(store)
    alerts = training_alerts(_read_monitoring(daily_results, date))
    response = _DailyResponse(output, date, bundle_store, orders, restaurants, threads)
    review = response.review() if allowed == "all" else None
    training = response.retrain(alerts, daily_results, allowed=allowed != "off")
    document = RespondDocument(date, allowed, review, training)
    document_path = daily_results.write(
        date, RESPONSE_FILE, msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"
    )
    output.finish(document, *render_text(document, store), f"The results are in {document_path.parent}.")
    if training.outcome == "refused":
        # The document is printed: an error's document beside it would be one too many.
        click.get_current_context().exit(REFUSED_OR_ALERT)


def training_alerts(monitoring: MonitoringDocument) -> tuple[str, ...]:
    """The alerts that new models may help against."""
    from preptime.monitoring.rules import find_rule

    return tuple(
        alert.rule if alert.segment == "overall" else f"{alert.rule}: {alert.value}"
        for alert in monitoring.alerts
        if (rule := find_rule(alert.rule)) is not None and rule.triggers_training
    )


def render_text(document: RespondDocument, store: str) -> list[str]:
    """What was found and done, for people."""
    lines = []
    review = document.review
    if document.allowed == "off":
        lines.append("Nothing may be done here: PREPTIME_AUTO_RESPONSE or --allow is off.")
    elif review is None:
        lines.append("Rolling back is not allowed here (PREPTIME_AUTO_RESPONSE or --allow), so nobody was reviewed.")
    elif review.outcome == "rolled_back":
        lines.append(f"{review.champion} was undone: the models of {review.previous} are champion of {store} again.")
        lines.append(review.reason)
    else:
        lines.append(f"The champion of {store} stays. {review.reason}")
    return [*lines, *_training_text(document.training)]


def _training_text(training: RetrainingResult) -> list[str]:
    alerts = ", ".join(training.triggered_by)
    return {
        "not_needed": ["No alert asks for a training."],
        "not_allowed": [f"A training is asked for by {alerts}, and is not allowed here."],
        "refused": [f"A training is asked for by {alerts}; the data was refused. {training.reason}"],
        "trained": [f"A training is asked for by {alerts}: {training.bundle}. {training.reason}"],
    }[training.outcome]


def _read_monitoring(daily_results: ResultsFolder, date: dt.date) -> MonitoringDocument:
    from preptime.monitoring.document import decode
    from preptime.sources.results import MONITORING_FILE

    path = daily_results.path(date, MONITORING_FILE)
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise UsageError(
            f"{path} is not there, so nothing says how it went.", f"Run preptime monitor --date {date} first."
        ) from None
    return decode(raw, str(path))


@dataclass
class _DailyResponse:
    """One date's work; orders are read once, and only when they are needed."""

    output: Output
    date: dt.date
    store: Store
    orders: str
    restaurants: str
    threads: int

    @cached_property
    def _audited_orders(self) -> tuple[AuditedOrders, RestaurantIndex]:
        return inputs.read_audited_orders(self.output, self.orders, self.restaurants)

    @property
    def _actor(self) -> AuditActor:
        from preptime.training.publishing import AuditActor

        return AuditActor(ACTOR_NAME, options.utc_now())

    def review(self) -> ChampionReview:
        """Look at the champion, and go back where it was a mistake."""
        from preptime.training.champion_review import review_champion
        from preptime.training.training_data import TrainingData

        return review_champion(
            TrainingData.from_orders(*self._audited_orders), self.store, self.date, self._actor, allow_rollback=True
        )

    def retrain(self, alerts: tuple[str, ...], daily_results: ResultsFolder, *, allowed: bool) -> RetrainingResult:
        """Train, when it is wanted, allowed, and not yet done this morning."""
        if not alerts:
            return RetrainingResult("not_needed", (), None, "")
        existing_bundle = self._existing_training()
        if existing_bundle is not None:
            return RetrainingResult("trained", alerts, existing_bundle, "It is this morning's training.")
        if not allowed:
            return RetrainingResult("not_allowed", alerts, None, "")
        return self._run_training(alerts, daily_results)

    def _run_training(self, alerts: tuple[str, ...], daily_results: ResultsFolder) -> RetrainingResult:
        from preptime.cli.train import write_results
        from preptime.training.fitting import FitPlan
        from preptime.training.train import train

        try:
            document = train(
                *self._audited_orders,
                self.date,
                self.store,
                self._actor,
                plan=FitPlan.default(self.threads),
                progress=self.output.progress,
            )
        except DataError as error:
            return RetrainingResult("refused", alerts, None, str(error))
        write_results(document, self.store, daily_results)
        return RetrainingResult("trained", alerts, document.bundle, "It is this morning's training.")

    def _existing_training(self) -> str | None:
        """The training of this date, whoever made it."""
        manifests = (
            self.store.read_manifest(bundle_id)
            for bundle_id in self.store.bundle_ids()
            if bundle_id.startswith(f"{self.date}-")
        )
        return next((manifest.id for manifest in manifests if manifest.kind == "training"), None)
