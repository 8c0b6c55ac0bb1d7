"""Settings: one declaration, from which `.env.example` and docs/settings.md are also generated.

Settings come from the environment and from an `.env` file. The DAGs and Compose read the same file; `env_file` declares
their settings.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

import msgspec
from msgspec import Meta

from preptime.env_file import DAG_SETTING_NAMES, read_variables
from preptime.errors import UsageError
from preptime.network import find_service_links, is_loopback, local_store_folder
from preptime.setting_specs import FOLDER_PATTERN, PREFIX, SettingSpec, iter_specs

TEST_SETTING_NAMES = frozenset({"PREPTIME_REQUIRE", "PREPTIME_REAL_DATA"})
"""Settings of the project's tests. They have the same prefix, but only the tests read them."""

PortNumber = Annotated[int, Meta(ge=1, le=65_535)]
RoutePath = Annotated[
    str,
    Meta(
        pattern=r"^/[A-Za-z0-9._~!$&'()*+,;=:@/-]*\Z",
        extra={"expected": "a path that starts with / and that a URL can contain without escapes"},
    ),
]
FolderPath = Annotated[str, Meta(pattern=FOLDER_PATTERN)]
BasePath = Annotated[str, Meta(pattern="^(/[A-Za-z0-9._~-]+)*/?$")]
SECRET_EXTRA = {"secret": True}


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The settings of the commands, the API, and the dashboard.

    A field is set by the variable `PREPTIME_` plus its name in capitals, or by the variables in `names`.
    """

    store: Annotated[str, Meta(description="Folder or URL of the store: bundles and champion log.")] = "models"
    orders: Annotated[
        str, Meta(description="Orders that the daily jobs read: a file, a folder, a glob, or a database URL.")
    ] = ""
    restaurants: Annotated[
        str, Meta(description="Restaurants that the daily jobs read: the same kinds of location.")
    ] = ""
    schema: Annotated[
        FolderPath,
        Meta(
            description="TOML file that describes the columns of the orders (docs/schema.md). If it's empty, "
            "`schema.toml` in the current folder is used if it exists, and the built-in schema otherwise.",
            extra={"expected": "a TOML file, not a URL"},
        ),
    ] = ""
    results: Annotated[
        FolderPath, Meta(description="Folder of the daily results, with one partition for each date.")
    ] = "results"
    auto_response: Annotated[
        Literal["off", "retrain", "all"],
        Meta(
            description="What `preptime respond` may do. off: nothing. retrain: train if an alert calls for it. all: "
            "also roll back a champion that is worse than its predecessor."
        ),
    ] = "all"
    predictions_url: Annotated[
        str,
        Meta(
            description="URL of a database that `preptime score --date` writes to, in addition to the results folder.",
            extra=SECRET_EXTRA,
        ),
    ] = ""
    host: Annotated[
        str,
        Meta(
            description="Address that the API listens on. A non-loopback address requires PREPTIME_API_KEYS; AIKEY "
            "isn't accepted."
        ),
    ] = "127.0.0.1"
    port: Annotated[
        PortNumber,
        Meta(
            description="Port of the API. Vertex AI sets AIP_HTTP_PORT; the take-home API contract uses FLASK_PORT.",
            extra={"names": ("PREPTIME_PORT", "AIP_HTTP_PORT", "FLASK_PORT")},
        ),
    ] = 8000
    health_port: Annotated[
        PortNumber | None,
        Meta(
            description="Additional port that serves only /healthz, /readyz, and /metrics. The port of the API serves "
            "them too, but clients can occupy its connections. Use this one for liveness probes."
        ),
    ] = None
    public_details: Annotated[
        bool,
        Meta(
            description="Whether the port of the API serves /metrics and the reasons in /readyz. They name clients and "
            "the store. If false, only PREPTIME_HEALTH_PORT and the server log have them."
        ),
    ] = True
    api_url: Annotated[
        str,
        Meta(description="URL of the API that the dashboard uses. Default: the API on this machine, at PREPTIME_PORT."),
    ] = ""
    api_key: Annotated[
        str,
        Meta(
            description="API key that the dashboard uses, so that users don't need to enter their own.",
            extra=SECRET_EXTRA,
        ),
    ] = ""
    ui_host: Annotated[
        str,
        Meta(
            description="Address that the dashboard listens on. With a non-loopback address, users sign in with a key."
        ),
    ] = "127.0.0.1"
    ui_port: Annotated[PortNumber, Meta(description="Port of the dashboard.")] = 8501
    ui_base_path: Annotated[
        BasePath,
        Meta(
            description="URL path under which a proxy serves the dashboard, for example /preptime. The proxy forwards "
            "the whole path."
        ),
    ] = ""
    ui_max_upload_mb: Annotated[
        int,
        Meta(
            ge=1,
            le=2048,
            description="Maximum size, in MB, of the uploaded files of one dashboard session. Larger uploads get HTTP "
            "413.",
        ),
    ] = 200
    ui_max_total_upload_mb: Annotated[
        int,
        Meta(
            ge=1,
            description="Maximum size, in MB, of the uploaded files of all dashboard sessions. Additional uploads get "
            "HTTP 503.",
        ),
    ] = 400
    ui_session_timeout_minutes: Annotated[
        float,
        Meta(
            ge=0.01,
            le=10_080,
            description="Minutes without activity after which the dashboard ends a session and deletes its uploads.",
        ),
    ] = 60.0
    workers: Annotated[int, Meta(ge=1, le=256, description="Worker processes of the API. Use one for each core.")] = 1
    max_body_bytes: Annotated[
        int, Meta(ge=1024, description="Maximum size of a request body. Larger requests get HTTP 413.")
    ] = 8 * 1024 * 1024
    max_orders: Annotated[
        int, Meta(ge=1, description="Maximum number of orders in a request. Larger requests get HTTP 422.")
    ] = 10_000
    max_concurrent_requests: Annotated[
        int,
        Meta(ge=1, description="Maximum concurrent prediction requests per worker. Additional requests get HTTP 503."),
    ] = 64
    max_concurrent_bytes: Annotated[
        int,
        Meta(
            ge=1024,
            description="Maximum total size of the bodies of concurrent requests per worker. Additional requests get "
            "HTTP 503. At least PREPTIME_MAX_BODY_BYTES.",
        ),
    ] = 16 * 1024 * 1024
    max_concurrent_orders: Annotated[
        int,
        Meta(
            ge=1,
            description="Maximum total number of orders of concurrent requests per worker. Additional requests get "
            "HTTP 503. At least PREPTIME_MAX_ORDERS.",
        ),
    ] = 20_000
    body_timeout_seconds: Annotated[
        float,
        Meta(
            ge=0.1,
            le=3600,
            description="Seconds in which the body of a request must arrive. Otherwise: HTTP 408. On Linux, a client "
            "that receives nothing for as long is disconnected.",
        ),
    ] = 10.0
    champion_poll_seconds: Annotated[
        float,
        Meta(ge=0.05, le=3600, description="Interval, in seconds, at which each worker polls for a new champion."),
    ] = 5.0
    bundle_load_timeout_seconds: Annotated[
        float,
        Meta(
            ge=1,
            le=3600,
            description="Seconds in which a bundle must load and predict its golden orders. Otherwise, it's rejected.",
        ),
    ] = 60.0
    bundle_load_memory_mb: Annotated[
        int,
        Meta(
            ge=64,
            description="Memory, in MB, of the process that checks a bundle before it's used. Only on Linux.",
        ),
    ] = 512
    prediction_log: Annotated[
        Literal["folder", "stdout", "off"],
        Meta(
            description="Where the API logs predictions. folder: dated files. stdout: standard output, for containers. "
            "off: nowhere."
        ),
    ] = "folder"
    prediction_log_folder: Annotated[FolderPath, Meta(description="Folder of the prediction log.")] = "predictions"
    prediction_log_source: Annotated[
        str,
        Meta(
            description="Where `preptime monitor` reads the prediction log: a folder, "
            "bigquery://PROJECT.DATASET?table=TABLE, or logging://PROJECT. Empty: PREPTIME_PREDICTION_LOG_FOLDER."
        ),
    ] = ""
    prediction_log_days: Annotated[
        int,
        Meta(ge=1, le=36_500, description="Number of days, including today, for which prediction log files are kept."),
    ] = 30
    prediction_log_max_mb: Annotated[
        int,
        Meta(
            ge=1,
            description="Maximum total size, in MB, of the files of the prediction log. The oldest files are deleted "
            "first.",
        ),
    ] = 2048
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="Minimum level of the server log.")
    ] = "info"
    courier_cost: Annotated[
        float, Meta(ge=0.001, le=1e6, description="Cost of a minute that a courier waits (docs/dispatch.md).")
    ] = 1.0
    food_cost: Annotated[
        float, Meta(ge=0.001, le=1e6, description="Cost of a minute that ready food waits, in the same unit.")
    ] = 1.0
    header_timeout_seconds: Annotated[
        float,
        Meta(
            ge=0.1,
            le=3600,
            description="Seconds in which the headers of a request must arrive. Also closes connections without a "
            "request for this time.",
        ),
    ] = 10.0
    worker_timeout_seconds: Annotated[
        float,
        Meta(
            ge=3,
            le=3600,
            description="Seconds without a heartbeat after which `preptime serve` kills and replaces a worker. A "
            "worker sends a heartbeat every second.",
        ),
    ] = 30.0
    shutdown_timeout_seconds: Annotated[
        int, Meta(ge=1, le=3600, description="Seconds that running requests have to finish after SIGTERM.")
    ] = 20
    api_keys: Annotated[
        str,
        Meta(
            description="Keys that can request predictions: NAME:SHA256, separated by commas. Create one with "
            "`preptime keys new NAME`.",
            extra=SECRET_EXTRA,
        ),
    ] = ""
    operator_keys: Annotated[
        str,
        Meta(
            description="Keys that can change the champion, in the same format. They can't request predictions.",
            extra=SECRET_EXTRA,
        ),
    ] = ""
    aikey: Annotated[
        str,
        Meta(
            description="Plain key of the take-home API contract. Accepted only by a server on a loopback address.",
            extra=SECRET_EXTRA | {"names": ("AIKEY",)},
        ),
    ] = ""
    vertex_health_route: Annotated[
        RoutePath | None,
        Meta(
            description="Path at which Vertex AI checks whether the container is ready.",
            extra={"names": ("AIP_HEALTH_ROUTE",)},
        ),
    ] = None
    vertex_predict_route: Annotated[
        RoutePath | None,
        Meta(
            description="Path to which Vertex AI sends instances. It needs no API key, because IAM controls access.",
            extra={"names": ("AIP_PREDICT_ROUTE",)},
        ),
    ] = None
    mlflow_tracking_uri: Annotated[
        str,
        Meta(
            description="Address of an MLflow tracking server. If it's set, commands log runs and register bundles "
            "(docs/mlflow.md).",
            extra={"names": ("MLFLOW_TRACKING_URI",)},
        ),
    ] = ""
    mlflow_experiment_name: Annotated[
        str, Meta(description="Experiment of the runs in MLflow.", extra={"names": ("MLFLOW_EXPERIMENT_NAME",)})
    ] = "preptime"
    mlflow_model: Annotated[
        str,
        Meta(description="Registered model in MLflow whose versions are the bundles of a store. One for each store."),
    ] = "preptime"
    metrics_folder: Annotated[
        FolderPath,
        Meta(
            description="Folder through which workers share metrics. `preptime serve` creates a temporary one. Set it "
            "if another WSGI server runs preptime.api.wsgi with several workers."
        ),
    ] = ""

    @classmethod
    def load(cls, environ: Mapping[str, str], env_file: Path | None = None) -> Self:
        """Return the settings from `environ`, then from `env_file`, then the defaults.

        An empty value means the default. A variable that is empty in `environ` isn't read from `env_file`.
        Kubernetes service links in `environ` are ignored: see `find_service_links`.

        Raises:
            UsageError: A name that starts with `PREPTIME_` is unknown, or a value is out of its range.
        """
        service_links = find_service_links(environ)
        own_environ = {name: value for name, value in environ.items() if name not in service_links}
        raw_values = {name: value for name, value in read_variables(own_environ, env_file).items() if value}
        known_names = {name for spec in iter_settings() for name in spec.names}
        for unknown_name in sorted(raw_values.keys() - known_names - TEST_SETTING_NAMES - DAG_SETTING_NAMES):
            if unknown_name.startswith(PREFIX):
                raise _unknown_setting_error(unknown_name, known_names)
        values = {}
        for spec in iter_settings():
            name = next((name for name in spec.names if name in raw_values), None)
            if name is not None:
                spec.remember_secrets(raw_values[name])
                values[spec.field] = spec.convert(name, raw_values[name])
        return msgspec.convert(values, cls)

    @property
    def is_loopback(self) -> bool:
        """Return whether only this machine can reach the API."""
        return is_loopback(self.host)

    @property
    def local_store(self) -> Path | None:
        """The folder of the store, or None if the store isn't a local folder.

        Raises `StoreError` for a `file://` URL without an absolute path.
        """
        return local_store_folder(self.store)

    def remember_secrets(self) -> None:
        """Hide the secrets in the settings from every message and log of this process."""
        for spec in iter_settings():
            spec.remember_secrets(str(getattr(self, spec.field) or ""))

    def redacted(self) -> dict[str, str]:
        """Return every setting by its first name, as text for a log: secrets as `set`, addresses without passwords."""
        return {
            spec.names[0]: "not set" if value in (None, "") else spec.redact(str(value))
            for spec in iter_settings()
            for value in [getattr(self, spec.field)]
        }

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={value}' for name, value in self.redacted().items())})"


def iter_settings() -> Iterator[SettingSpec]:
    """Yield every setting in the order of declaration."""
    return iter_specs(Settings)


SETTING_SPECS: dict[str, SettingSpec] = {spec.field: spec for spec in iter_settings()}
"""Every setting by its field."""


def _unknown_setting_error(name: str, known_names: set[str]) -> UsageError:
    closest = difflib.get_close_matches(name, sorted(known_names), n=1, cutoff=0.0)
    return UsageError(f"{name} isn't a setting.", f"Did you mean {closest[0]}? For all settings, see docs/settings.md.")
