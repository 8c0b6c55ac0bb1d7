"""Tracks commands: a run for each, and the alias of the champion after each promotion.

Without `MLFLOW_TRACKING_URI`, nothing happens, and MLflow isn't imported. Everything is sent after the command's own
work, so that a problem of the tracking server, such as one that doesn't answer, gives a warning and changes no result.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from preptime.errors import install_hint
from preptime.formatting import shorten
from preptime.redaction import redact_address, redact_text, remember_secrets

if TYPE_CHECKING:
    from preptime.bundle.store import Store
    from preptime.evaluation.documents import BacktestDocument
    from preptime.schema.schema import Schema
    from preptime.tracking.run_content import RunContent
    from preptime.training.fitting import FitPlan
    from preptime.training.train import TrainDocument
    from preptime.training.training_data import TrainingData
    from preptime.training.tuning import TuneDocument

logger = logging.getLogger(__name__)

_MAX_SHOWN_ERROR = 300
"""Characters of an error of MLflow in the warning."""


@dataclass(frozen=True)
class TrackingSettings:
    """Where runs and model versions go. An empty `uri` turns tracking off."""

    uri: str = ""
    """`MLFLOW_TRACKING_URI`. It can contain a password."""
    experiment: str = "preptime"
    """`MLFLOW_EXPERIMENT_NAME`: the experiment of the runs."""
    model: str = "preptime"
    """`PREPTIME_MLFLOW_MODEL`: the registered model whose versions are the bundles."""


class TrackedRun:
    """Collects what a command wants to log. Nothing is computed or sent before the command's work is done."""

    def __init__(self) -> None:
        self.steps: list[Callable[[RunContent], None]] = []
        """Functions that add to the content of the run."""
        self.store: Store | None = None
        """The store of the run's bundle."""
        self.sets_alias = False

    def log_training(
        self, document: TrainDocument, store: Store, *, seed: int, orders: str, set_alias: bool = True
    ) -> None:
        """Log a training and register its bundle.

        Args:
            document: The result.
            store: The store with the bundle.
            seed: The seed of the models.
            orders: The address of the orders. It can contain a password, which isn't logged.
            set_alias: Whether the alias follows the champion of the store. A temporary store has none that serves.
        """

        def add(content: RunContent) -> None:
            manifest = store.read_manifest(document.bundle)
            content.title = f"{content.command} {document.date}"
            content.add_parameters({"seed": seed})
            content.add_training(document, manifest)
            content.add_dataset(
                orders,
                manifest.data_fingerprint,
                manifest.schema,
                orders=document.orders,
                first_day=manifest.window.first_day,
                last_day=manifest.window.last_day,
                dvc_revision=manifest.dvc_revision,
            )
            if "report.html" in manifest.files:
                content.files["report.html"] = store.read_file(manifest, "report.html")

        self.store, self.sets_alias = store, set_alias
        self.steps.append(add)

    def log_tuning(self, document: TuneDocument, *, schema: Schema, orders: str) -> None:
        """Log a search, with a child run for each trial. `orders` is the address of the orders."""

        def add(content: RunContent) -> None:
            content.add_tuning(document)
            content.add_schema(schema)
            content.add_dataset(orders, document.data_fingerprint, schema, orders=document.orders)

        self.steps.append(add)

    def log_backtest(
        self, document: BacktestDocument, data: TrainingData, *, plan: FitPlan, schema: Schema, orders: str
    ) -> None:
        """Log a backtest. `orders` is the address of the orders, which can contain a password."""

        def add(content: RunContent) -> None:
            content.title = f"backtest {document.first_day} to {document.last_day}"
            content.add_plan(plan)
            content.add_schema(schema)
            content.add_evaluation(document)
            fingerprint = data.fingerprint()
            content.add_parameters({"data_fingerprint": fingerprint})
            content.add_dataset(orders, fingerprint, schema, first_day=data.first_day, last_day=data.last_day)

        self.steps.append(add)

    def log(self, add: Callable[[RunContent], None]) -> None:
        """Log the content that a function adds. It's called after the command's work, and only if tracking is on."""
        self.steps.append(add)


@contextmanager
def tracked_run(command: str, settings: TrackingSettings) -> Iterator[TrackedRun]:
    """Log the block as one run of a command, such as `train`, and let the alias follow the champion log.

    If the block raises an error, the run has the status FAILED and the error's text, and the error is raised again.
    A problem of MLflow or its server gives a warning.
    """
    run, started_at = TrackedRun(), time.time()
    if not settings.uri:
        yield run
        return
    try:
        yield run
    except Exception as error:
        text = str(error)
        run.log(lambda content: content.add_tags({"error": text}))
        _write(command, run, settings, started_at, failed=True)
        raise
    _write(command, run, settings, started_at, failed=False)


def follow_champion(store: Store, settings: TrackingSettings) -> None:
    """Set the alias `champion` to the model version of the champion. It's registered if it isn't yet.

    Call it after each promotion and rollback. A problem of MLflow or its server gives a warning.
    """
    if settings.uri:
        _attempt(settings, lambda: _follow_champion(store, settings))


def _write(command: str, run: TrackedRun, settings: TrackingSettings, started_at: float, *, failed: bool) -> None:
    def write() -> None:
        from preptime.tracking.run_content import RunContent
        from preptime.tracking.server import TrackingServer

        content = RunContent(command)
        content.add_tags({"command": command})
        for step in run.steps:
            step(content)
        TrackingServer(settings).write_run(content, started_at, "FAILED" if failed else "FINISHED", run.store)
        if run.store is not None and run.sets_alias:
            _follow_champion(run.store, settings)

    _attempt(settings, write)


def _follow_champion(store: Store, settings: TrackingSettings) -> None:
    from preptime.bundle.champion_log import ChampionLog
    from preptime.tracking.server import TrackingServer

    entry = ChampionLog(store).current()
    if entry is not None:
        TrackingServer(settings).follow_champion(store, entry.bundle)


def _attempt(settings: TrackingSettings, action: Callable[[], None]) -> None:
    """Call a function, and turn any error into one warning: no problem of MLflow may change a command's result."""
    remember_secrets(settings.uri)
    try:
        from preptime.tracking.server import quiet_client

        with quiet_client():
            action()
    except Exception as error:  # noqa: BLE001 — any library below MLflow can fail in its own way
        logger.warning("%s", _warning_text(error, settings.uri))


def _warning_text(error: Exception, uri: str) -> str:
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] == "mlflow":
        return f"MLFLOW_TRACKING_URI is set, but mlflow isn't installed, so nothing is logged. {install_hint('mlflow')}"
    facts = shorten(" ".join(redact_text(str(error)).split()) or type(error).__name__, _MAX_SHOWN_ERROR).rstrip(".")
    return (
        f"Not everything was logged to MLflow at {redact_address(uri)}: {facts}. The result of the command is "
        "complete. Check the server, or unset MLFLOW_TRACKING_URI."
    )
