"""The tracking server: writes runs, registers bundles as model versions, and sets the alias of the champion.

The only module that imports MLflow. It uses the client without global state, so that a user's own runs and settings of
MLflow in the same process don't change.
"""

from __future__ import annotations

import getpass
import logging
import os
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from preptime.bundle.store import Store
from preptime.tracking.model_folder import write_model_folder
from preptime.tracking.run_content import TAG_PREFIX, DatasetVersion, RunContent
from preptime.tracking.runs import TrackingSettings

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

CHAMPION_ALIAS = "champion"
"""The alias of the model version that is the champion in the champion log."""
BUNDLE_TAG = f"{TAG_PREFIX}bundle"
"""The tag of a model version with its bundle's ID."""
RunStatus = Literal["FINISHED", "FAILED"]

CLIENT_DEFAULTS = {
    # At most two attempts of 10 s each, instead of eight of 120 s with pauses of minutes.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    # Standard output belongs to the command's document, and standard error to its messages.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_AGENT_HINT": "true",
    # Only the tracking server gets data.
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
"""Defaults of MLflow's client while this module uses it. A variable that the user has set takes precedence."""
_EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""Lets the pages of the experiment show training runs first."""
_NOISY_LOGGERS = ("urllib3.connectionpool", "mlflow")
_MAX_METRICS, _MAX_PARAMETERS = 900, 90
"""Less than the limits of the server on one request."""


@contextmanager
def quiet_client() -> Iterator[None]:
    """Use MLflow with the defaults of this module, and without its warnings and log records. Restore them at the end.

    The caller reports the first error, so that a problem gives one warning.
    """
    added = {name: value for name, value in CLIENT_DEFAULTS.items() if not os.environ.get(name)}
    os.environ.update(added)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import mlflow  # it configures its loggers

            del mlflow
            with _without_log_records():
                yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextmanager
def _without_log_records() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in _NOISY_LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


class TrackingServer:
    """Writes to one tracking server. Use it in `quiet_client`. Every method can raise any error of MLflow."""

    def __init__(self, settings: TrackingSettings) -> None:
        from mlflow.tracking import MlflowClient

        self._settings = settings
        self._client: MlflowClient = MlflowClient(tracking_uri=settings.uri)
        self._experiment_id = ""

    def write_run(self, content: RunContent, started_at: float, status: RunStatus, store: Store | None) -> None:
        """Write a run that has ended, and register its bundle. `started_at` is in seconds since 1970."""
        run_id = self._create_run(content, started_at)
        try:
            self._log_values(run_id, content)
            if content.dataset is not None:
                self._log_dataset(run_id, content.dataset)
            with tempfile.TemporaryDirectory(prefix="preptime-mlflow-") as folder:
                for name, data in content.files.items():
                    (Path(folder) / name).write_bytes(data)
                self._client.log_artifacts(run_id, folder)
            if content.bundle is not None and store is not None:
                self.register(store, content.bundle, run_id)
            for child in content.children:
                self._write_child(child, started_at, run_id)
        finally:
            self._client.set_terminated(run_id, status)

    def _write_child(self, content: RunContent, started_at: float, parent_id: str) -> None:
        run_id = self._create_run(content, started_at, parent_id)
        self._log_values(run_id, content)
        self._client.set_terminated(
            run_id, "FAILED" if content.tags.get(f"{TAG_PREFIX}state") == "failed" else "FINISHED"
        )

    def follow_champion(self, store: Store, bundle_id: str) -> None:
        """Set the alias to the version of the champion. It's registered first if it isn't yet."""
        registered = self.register(store, bundle_id)
        with suppress(KeyError):
            if self._champion_version() == str(registered.version):
                return
        self._client.set_registered_model_alias(self._settings.model, CHAMPION_ALIAS, str(registered.version))

    def register(self, store: Store, bundle_id: str, run_id: str | None = None) -> ModelVersion:
        """Return the model version of a bundle. A bundle is registered once: the same ID means the same bytes."""
        self._create_registered_model()
        existing = self._find_version(bundle_id)
        return existing or self._create_version(store, bundle_id, run_id)

    def _champion_version(self) -> str:
        model = self._client.get_registered_model(self._settings.model)
        return str(model.aliases[CHAMPION_ALIAS])

    def _find_version(self, bundle_id: str) -> ModelVersion | None:
        query = f"name = '{self._settings.model}' and tags.`{BUNDLE_TAG}` = '{bundle_id}'"
        found = [item for item in self._client.search_model_versions(query) if item.status == "READY"]
        return min(found, key=lambda item: int(item.version), default=None)

    def _create_version(self, store: Store, bundle_id: str, run_id: str | None) -> ModelVersion:
        from mlflow.entities import LoggedModelOutput

        manifest = store.read_manifest(bundle_id)
        tags = {BUNDLE_TAG: bundle_id, f"{TAG_PREFIX}kind": manifest.kind, f"{TAG_PREFIX}date": str(manifest.date)}
        if manifest.parent:
            tags[f"{TAG_PREFIX}parent"] = manifest.parent
        model = self._client.create_logged_model(self._experiment(), bundle_id, run_id, tags, model_type="preptime")
        with tempfile.TemporaryDirectory(prefix="preptime-mlflow-") as folder:
            write_model_folder(store.fetch(bundle_id), manifest, Path(folder))
            self._client.log_model_artifacts(model.model_id, folder)
        self._client.finalize_logged_model(model.model_id, "READY")
        if run_id is not None:
            self._client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
        created: ModelVersion = self._client.create_model_version(
            self._settings.model,
            model.artifact_location,
            run_id=run_id,
            tags=tags,
            description=f"{bundle_id} ({manifest.kind})",
            model_id=model.model_id,
        )
        return created

    def _create_registered_model(self) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.get_registered_model(self._settings.model)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            with _ignore_existing():
                self._client.create_registered_model(
                    self._settings.model,
                    description=f"Bundles of preptime. The champion log decides which one has the alias "
                    f"{CHAMPION_ALIAS}.",
                )

    def _experiment(self) -> str:
        """Return the ID of the experiment, which is created if it's missing."""
        if not self._experiment_id:
            name = self._settings.experiment
            if self._client.get_experiment_by_name(name) is None:
                with _ignore_existing():
                    self._client.create_experiment(name, tags=_EXPERIMENT_TAGS)
            experiment = self._client.get_experiment_by_name(name)
            self._experiment_id = experiment.experiment_id if experiment else ""
        return self._experiment_id

    def _create_run(self, content: RunContent, started_at: float, parent_id: str | None = None) -> str:
        tags = content.tags | {"mlflow.source.name": f"preptime {content.command}", "mlflow.source.type": "LOCAL"}
        with suppress(OSError, KeyError):  # a container may run as a user without a name
            tags["mlflow.user"] = getpass.getuser()
        if parent_id is not None:
            tags["mlflow.parentRunId"] = parent_id
        if content.description:
            tags["mlflow.note.content"] = content.description
        run = self._client.create_run(
            self._experiment(),
            start_time=int(started_at * 1000),
            tags=tags,
            run_name=content.title or content.command,
        )
        return str(run.info.run_id)

    def _log_values(self, run_id: str, content: RunContent) -> None:
        from mlflow.entities import Metric, Param

        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, 0) for name, value in content.metrics.items()]
        parameters = [Param(name, value) for name, value in content.parameters.items()]
        for start in range(0, len(metrics), _MAX_METRICS):
            self._client.log_batch(run_id, metrics=metrics[start : start + _MAX_METRICS], synchronous=True)
        for start in range(0, len(parameters), _MAX_PARAMETERS):
            self._client.log_batch(run_id, params=parameters[start : start + _MAX_PARAMETERS], synchronous=True)

    def _log_dataset(self, run_id: str, orders: DatasetVersion) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        columns = [{"name": name, "type": kind, "required": True} for name, kind in orders.columns.items()]
        dataset = Dataset(
            name=orders.name,
            digest=orders.digest,
            source_type="preptime",
            source=_json_text({"uri": orders.location}),
            schema=_json_text({"mlflow_colspec": columns}),
            profile=_json_text(orders.facts),
        )
        self._client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])


@contextmanager
def _ignore_existing() -> Iterator[None]:
    """Ignore that another process created the same thing first."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _json_text(value: Mapping[str, object]) -> str:
    return msgspec.json.encode(value).decode()
