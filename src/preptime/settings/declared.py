"""The settings: one declaration, which is also what `.env.example` and docs/settings.md are written from."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

import msgspec
from msgspec import Meta, inspect, structs

from preptime.errors import UsageError
from preptime.settings.address import is_loopback
from preptime.settings.env_file import read_env_file

PREFIX = "PREPTIME_"
ENV_FILE = ".env"
TEST_SETTING_NAMES = frozenset({"PREPTIME_REQUIRE", "PREPTIME_REAL_DATA"})
"""Settings of the project's own tests: with our prefix, and none of the server's business."""
DAG_SETTING_NAMES = frozenset(
    f"PREPTIME_{name}"
    for name in ("RUNNER", "COMMAND", "IMAGE", "POD_TEMPLATE", "TIME_ZONE", "KEEP_BUNDLES", "KEEP_DAYS", "DEMO_ORDERS")
)
"""What the DAGs read from the same `.env`, in an environment that never imports this one (docs/daily-run.md)."""

PortNumber = Annotated[int, Meta(ge=1, le=65_535)]
RoutePath = Annotated[str, Meta(pattern="^/[^ ]*$")]
SECRET_EXTRA = {"secret": True}


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the server was told. A field's name is `PREPTIME_` and its own in capitals, or what `names` says."""

    store: Annotated[str, Meta(description="Folder or URL that holds the bundles and the champion log.")] = "models"
    orders: Annotated[
        str, Meta(description="Where the daily jobs find orders: a file, a folder, a glob, or a database's URL.")
    ] = ""
    restaurants: Annotated[str, Meta(description="Where the daily jobs find restaurants, likewise.")] = ""
    results: Annotated[str, Meta(description="Folder of the daily jobs' results, one partition for each date.")] = (
        "results"
    )
    auto_response: Annotated[
        Literal["off", "retrain", "all"],
        Meta(
            description="What `preptime respond` may do: nothing, train when an alert asks for it, or also roll back a "
            "champion that is worse than the models before it."
        ),
    ] = "all"
    predictions_url: Annotated[
        str,
        Meta(
            description="Database that `score --date` writes to beside its partition of the results, by URL.",
            extra=SECRET_EXTRA,
        ),
    ] = ""
    host: Annotated[
        str, Meta(description="Address to listen on. Anything but loopback asks for named keys, and takes no AIKEY.")
    ] = "127.0.0.1"
    port: Annotated[
        PortNumber,
        Meta(
            description="Port of the API. AIP_HTTP_PORT is Vertex AI's name for it, FLASK_PORT the demo's.",
            extra={"names": ("PREPTIME_PORT", "AIP_HTTP_PORT", "FLASK_PORT")},
        ),
    ] = 8000
    health_port: Annotated[
        PortNumber | None,
        Meta(description="A port for /healthz, /readyz and /metrics alone, beside the API's, where they stay as well."),
    ] = None
    api_url: Annotated[
        str, Meta(description="The API that the page asks. Empty: the one on this machine, at PREPTIME_PORT.")
    ] = ""
    api_key: Annotated[
        str,
        Meta(description="The key that the page asks the API with, if people needn't type theirs.", extra=SECRET_EXTRA),
    ] = ""
    ui_host: Annotated[
        str, Meta(description="Address that the page listens on. Anything but loopback asks visitors for a named key.")
    ] = "127.0.0.1"
    ui_port: Annotated[PortNumber, Meta(description="Port of the page.")] = 8501
    workers: Annotated[int, Meta(ge=1, le=256, description="Worker processes; one per core that they may use.")] = 1
    max_body_bytes: Annotated[int, Meta(ge=1024, description="Largest request body; a larger one is answered 413.")] = (
        8 * 1024 * 1024
    )
    max_orders: Annotated[int, Meta(ge=1, description="Most orders in one request; more are answered 422.")] = 10_000
    max_concurrent_requests: Annotated[
        int, Meta(ge=1, description="Most prediction requests that one worker has in hand; one more is answered 503.")
    ] = 64
    champion_poll_seconds: Annotated[
        float, Meta(ge=0.05, le=3600, description="Seconds between two looks at the champion log.")
    ] = 5.0
    prediction_log: Annotated[
        Literal["folder", "stdout", "off"],
        Meta(description="Where predictions are remembered: dated files, standard output (containers), nowhere."),
    ] = "folder"
    prediction_log_folder: Annotated[str, Meta(description="Folder of the prediction log's files.")] = "predictions"
    prediction_log_days: Annotated[
        int, Meta(ge=1, description="Days that the prediction log's files are kept, today included.")
    ] = 30
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="Least level of the server's own log.")
    ] = "info"
    shutdown_timeout_seconds: Annotated[
        int, Meta(ge=1, le=3600, description="Seconds that requests under way have to finish after SIGTERM.")
    ] = 20
    api_keys: Annotated[
        str,
        Meta(
            description="Keys that may ask for predictions: NAME:SHA256,…; `preptime keys new NAME` makes one.",
            extra=SECRET_EXTRA,
        ),
    ] = ""
    operator_keys: Annotated[
        str,
        Meta(description="Keys that may change what is served, likewise. They predict nothing.", extra=SECRET_EXTRA),
    ] = ""
    aikey: Annotated[
        str,
        Meta(
            description="The demo's plain key. Accepted by a server on loopback, refused elsewhere.",
            extra=SECRET_EXTRA | {"names": ("AIKEY",)},
        ),
    ] = ""
    vertex_health_route: Annotated[
        RoutePath | None,
        Meta(
            description="Where Vertex AI asks whether the container is ready.", extra={"names": ("AIP_HEALTH_ROUTE",)}
        ),
    ] = None
    vertex_predict_route: Annotated[
        RoutePath | None,
        Meta(
            description="Where Vertex AI sends instances. No key is asked for there: IAM stands in front of it.",
            extra={"names": ("AIP_PREDICT_ROUTE",)},
        ),
    ] = None
    metrics_folder: Annotated[
        str,
        Meta(
            description="Folder that workers share their counts through. `preptime serve` makes a temporary one; "
            "name one when another server imports preptime.api.wsgi with several workers."
        ),
    ] = ""

    @classmethod
    def load(cls, environ: Mapping[str, str], env_file: Path | None = None) -> Self:
        """The settings in `environ`, else in `env_file`, else their defaults; an empty value is none.

        Raises `UsageError` for an unknown name with our prefix and for a value out of its range.
        """
        file_values = read_env_file(env_file) if env_file is not None and env_file.is_file() else {}
        raw_values = {name: value for name, value in file_values.items() if value}
        raw_values |= {name: value for name, value in environ.items() if value}
        known_names = {name for spec in iter_settings() for name in spec.names}
        for unknown_name in sorted(raw_values.keys() - known_names - TEST_SETTING_NAMES - DAG_SETTING_NAMES):
            if unknown_name.startswith(PREFIX):
                raise _unknown_setting_error(unknown_name, known_names)
        values = {}
        for spec in iter_settings():
            name = next((name for name in spec.names if name in raw_values), None)
            if name is not None:
                values[spec.field] = spec.convert(name, raw_values[name])
        return msgspec.convert(values, cls)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)

    def redacted(self) -> dict[str, str]:
        """Every setting by its first name, as text fit for a log: no secret."""
        return {
            spec.names[0]: "not set" if value in (None, "") else "set" if spec.secret else str(value)
            for spec in iter_settings()
            for value in [getattr(self, spec.field)]
        }

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={value}' for name, value in self.redacted().items())})"


class SettingSpec(msgspec.Struct, frozen=True):
    """One setting, as declared."""

    field: str
    names: tuple[str, ...]
    """What it is called outside; where several are given the first counts."""
    default: str
    description: str
    expected: str
    secret: bool

    def convert(self, name: str, value: str) -> object:
        """The text `value` of `name` as the field's type. A secret is not repeated in the error."""
        try:
            return getattr(msgspec.convert({self.field: value}, Settings, strict=False), self.field)
        except msgspec.ValidationError:
            value_text = "not that" if self.secret else repr(value)
            raise UsageError(
                f"{name}: expected {self.expected}, found {value_text}.", "See docs/settings.md."
            ) from None


class _SettingExtra(msgspec.Struct, frozen=True):
    """What a declaration says beside its type."""

    names: tuple[str, ...] = ()
    secret: bool = False


def iter_settings() -> Iterator[SettingSpec]:
    """Every setting, in the order of its declaration."""
    for field in structs.fields(Settings):
        field_type = inspect.type_info(field.type)
        extra: dict[str, object] = {}
        schema: dict[str, object] = {}
        while isinstance(field_type, inspect.Metadata):
            extra, schema = extra | (field_type.extra or {}), schema | (field_type.extra_json_schema or {})
            field_type = field_type.type
        setting_extra = msgspec.convert(extra, _SettingExtra)
        yield SettingSpec(
            field=field.name,
            names=setting_extra.names or (PREFIX + field.name.upper(),),
            default="" if field.default is None else str(field.default),
            description=str(schema["description"]),
            expected=_describe_type(field_type),
            secret=setting_extra.secret,
        )


def _describe_type(field_type: inspect.Type) -> str:
    match field_type:
        case inspect.UnionType():  # of something and nothing
            return _describe_type(field_type.types[0])
        case inspect.IntType():
            return f"a whole number {_describe_range(field_type.ge, field_type.le)}"
        case inspect.FloatType():
            return f"a number {_describe_range(field_type.ge, field_type.le)}"
        case inspect.LiteralType():
            return "one of " + ", ".join(str(value) for value in field_type.values)
        case inspect.StrType() if field_type.pattern:
            return "a path that begins with /"
    return "text"


def _describe_range(minimum: float | None, maximum: float | None) -> str:
    return f"from {minimum}" + ("" if maximum is None else f" to {maximum}")


def _unknown_setting_error(name: str, known_names: set[str]) -> UsageError:
    closest = difflib.get_close_matches(name, sorted(known_names), n=1, cutoff=0.0)
    return UsageError(f"{name} is no setting.", f"Did you mean {closest[0]}? docs/settings.md lists them all.")
