"""The command `preptime respond`: roll back or retrain, depending on the monitoring of a date."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
import msgspec

from preptime.cli import inputs, options
from preptime.cli.output import Output, refusal_status, with_output
from preptime.domain.time_units import convert_minutes
from preptime.errors import DataError, UsageError
from preptime.python_api.defaults import utc_now

if TYPE_CHECKING:
    from preptime.bundle.store import Store
    from preptime.features.restaurant_index import RestaurantIndex
    from preptime.monitoring.document import MonitoringDocument
    from preptime.sources.results import ResultsFolder
    from preptime.training.champion_review import ChampionReview
    from preptime.training.publishing import AuditActor
    from preptime.validation.audit import AuditedOrders
    from preptime.validation.data_gate import GateThresholds

AllowedActions = Literal["off", "retrain", "all"]

ACTOR_NAME = "preptime respond"
"""Name in the champion log for promotions and rollbacks by this command."""


class RetrainingResult(msgspec.Struct, frozen=True):
    """Whether an alert called for training, and the result."""

    outcome: Literal["not_needed", "not_allowed", "refused", "trained"]
    """trained: a training of this date exists, from this command or the daily run. refused: the data gate failed."""
    triggered_by: tuple[str, ...]
    """The alerts that call for training, such as `slower_than_predicted: London`."""
    bundle: str | None
    reason: str


class RespondDocument(msgspec.Struct, frozen=True):
    """The document of `respond --json`, and `response.json` in the date's partition."""

    date: dt.date
    allowed: AllowedActions
    """PREPTIME_AUTO_RESPONSE."""
    review: ChampionReview | None
    """Null if rollback isn't allowed, because then the champion isn't reviewed."""
    training: RetrainingResult


@click.command()
@options.date
@options.orders
@options.restaurants
@options.schema
@options.store
@options.results
@options.setting_option(
    "auto_response",
    "Allowed actions. off: none. retrain: training. all: training and rollback.",
    flag="--allow",
)
@options.gate
@options.threads
@with_output
def respond(
    output: Output,
    *,
    date: dt.date,
    orders: str,
    restaurants: str | None,
    schema: str | None,
    store: str,
    results: str,
    allow: AllowedActions,
    gate: tuple[str, ...],
    threads: int,
) -> None:
    """Respond to alerts by retraining or rolling back.

    Rolls back the champion if its predecessor is better on the orders since the promotion, which neither was fitted
    on. Trains if an alert calls for it and the results have no training of the date yet. Running the command again
    changes nothing. Needs the monitoring.json of the date. To disable actions, use --allow or PREPTIME_AUTO_RESPONSE.
    """
    from preptime.sources.results import RESPONSE_FILE, ResultsFolder
    from preptime.validation.data_gate import thresholds_from_settings

    thresholds = thresholds_from_settings(options.parse_thresholds(gate))
    daily_results, bundle_store = ResultsFolder(Path(results)), options.open_store(store)
    dataset = inputs.Dataset.from_options(orders, restaurants, schema)
    alerts = training_alerts(_read_monitoring(daily_results, date))
    response = _DailyResponse(output, date, bundle_store, dataset, thresholds, threads)
    review = response.review() if allow == "all" else None
    training = response.retrain(alerts, daily_results, allowed=allow != "off")
    document = RespondDocument(date, allow, review, training)
    document_path = daily_results.write(
        date, RESPONSE_FILE, msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"
    )
    unit = dataset.schema.target.time_unit
    lines = [convert_minutes(line, unit) for line in render_text(document, store)]
    output.finish(document, *lines, f"The results are in {document_path.parent}.")
    if response.refusal is not None:
        # Not an exception: it would print a second JSON document.
        click.get_current_context().exit(refusal_status(response.refusal))


def training_alerts(monitoring: MonitoringDocument) -> tuple[str, ...]:
    """Return the alerts that new models may resolve."""
    from preptime.monitoring.rules import find_rule

    return tuple(
        alert.rule if alert.segment == "overall" else f"{alert.rule}: {alert.value}"
        for alert in monitoring.alerts
        if (rule := find_rule(alert.rule)) is not None and rule.triggers_training
    )


def render_text(document: RespondDocument, store: str) -> list[str]:
    """Return the result as text."""
    lines = []
    review = document.review
    if document.allowed == "off":
        lines.append(
            "No action is allowed. To allow training, use --allow retrain (PREPTIME_AUTO_RESPONSE=retrain). To allow "
            "training and rollback, use --allow all."
        )
    elif review is None:
        lines.append(
            "Rollback isn't allowed, so the champion wasn't reviewed. To allow it, use --allow all "
            "(PREPTIME_AUTO_RESPONSE=all)."
        )
    elif review.outcome == "rolled_back":
        lines.append(
            f"Rolled back {review.champion}. The models of {review.previous} are the champion of {store} again."
        )
        lines.append(review.reason)
    else:
        lines.append(f"The champion of {store} is unchanged. {review.reason}")
    return [*lines, *_training_text(document.training)]


def _training_text(training: RetrainingResult) -> list[str]:
    alerts = ", ".join(training.triggered_by)
    return {
        "not_needed": ["No alert calls for training."],
        "not_allowed": [
            f"Training isn't allowed. These alerts call for it: {alerts}.",
            "To allow it, use --allow retrain (PREPTIME_AUTO_RESPONSE=retrain).",
        ],
        "refused": [f"Training was refused. These alerts call for it: {alerts}. {training.reason}"],
        "trained": [f"Trained {training.bundle} because of alerts: {alerts}. {training.reason}"],
    }[training.outcome]


def _read_monitoring(daily_results: ResultsFolder, date: dt.date) -> MonitoringDocument:
    from preptime.monitoring.document import decode
    from preptime.sources.results import MONITORING_FILE

    path = daily_results.path(date, MONITORING_FILE)
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise UsageError(
            f"{path} doesn't exist, so there are no monitoring results.", f"Run preptime monitor --date {date} first."
        ) from None
    return decode(raw, str(path))


class _TrainingHeader(msgspec.Struct, frozen=True):
    """The field of `training.json` that names the trained bundle."""

    bundle: str


@dataclass
class _DailyResponse:
    """The response for one date. Orders are read once, and only if they're needed."""

    output: Output
    date: dt.date
    store: Store
    dataset: inputs.Dataset
    thresholds: GateThresholds
    threads: int
    refusal: DataError | None = None
    """Why the training was refused."""

    @cached_property
    def _audited_orders(self) -> tuple[AuditedOrders, RestaurantIndex]:
        return inputs.read_completed_orders(self.output, self.dataset)

    @property
    def _actor(self) -> AuditActor:
        from preptime.training.publishing import AuditActor

        return AuditActor(ACTOR_NAME, utc_now())

    def review(self) -> ChampionReview:
        """Review the champion, and roll it back if its predecessor is better."""
        from preptime.tracking.runs import follow_champion
        from preptime.training.champion_review import review_champion
        from preptime.training.training_data import TrainingData

        result = review_champion(
            TrainingData.from_orders(*self._audited_orders),
            self.store,
            self.date,
            self._actor,
            schema=self.dataset.schema,
            allow_rollback=True,
        )
        if result.outcome == "rolled_back":
            follow_champion(self.store, options.tracking_settings())
        return result

    def retrain(self, alerts: tuple[str, ...], daily_results: ResultsFolder, *, allowed: bool) -> RetrainingResult:
        """Train if an alert calls for it, it's allowed, and the date has no finished training yet."""
        if not alerts:
            return RetrainingResult("not_needed", (), None, "")
        existing_bundle = self._finished_training(daily_results)
        if existing_bundle is not None:
            return RetrainingResult("trained", alerts, existing_bundle, "This is the training of the date.")
        if not allowed:
            return RetrainingResult("not_allowed", alerts, None, "")
        return self._run_training(alerts, daily_results)

    def _run_training(self, alerts: tuple[str, ...], daily_results: ResultsFolder) -> RetrainingResult:
        from preptime.cli.train import write_results
        from preptime.sources.data_versions import find_revisions
        from preptime.training.fitting import FitPlan
        from preptime.training.train import train

        plan = FitPlan.from_schema(self.dataset.schema, self.threads)
        try:
            with options.tracked_run("respond") as run:
                document = train(
                    *self._audited_orders,
                    self.date,
                    self.store,
                    self._actor,
                    plan=plan,
                    thresholds=self.thresholds,
                    schema=self.dataset.schema,
                    revisions=find_revisions(self.dataset.orders_location),
                    progress=self.output.progress,
                )
                run.log_training(document, self.store, seed=plan.seed, orders=self.dataset.orders_location)
        except DataError as error:
            self.refusal = error
            return RetrainingResult("refused", alerts, None, str(error))
        write_results(document, self.store, daily_results)
        return RetrainingResult("trained", alerts, document.bundle, "This is the training of the date.")

    def _finished_training(self, daily_results: ResultsFolder) -> str | None:
        """Return the bundle of the date's training, or None if there is none or it isn't finished.

        `train` writes its decision last. A bundle without one, such as that of a killed training or of `--quick`, isn't
        the training of the date. If a training was killed after its promotion, another one repeats its decision.
        """
        from preptime.sources.results import TRAINING_FILE

        try:
            raw = daily_results.path(self.date, TRAINING_FILE).read_bytes()
            bundle = msgspec.json.decode(raw, type=_TrainingHeader).bundle
        except (FileNotFoundError, msgspec.DecodeError):
            return None
        return bundle if self.store.has_bundle(bundle) else None
