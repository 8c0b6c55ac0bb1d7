"""Addresses to listen on: whether only this machine reaches them, and whether they are free.

`.env` files: `NAME=value` lines. Nothing is interpolated and nothing is run.

The settings: one declaration, which is also what `.env.example` and docs/settings.md are written from.

What others read from the same `.env`: the DAGs, and Compose. Told here so that `.env.example` documents it.
"""

from __future__ import annotations

import difflib
import errno
import ipaddress
import os
import re
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

import msgspec
from msgspec import Meta, inspect, structs

from preptime.errors import UsageError


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def resolve_free_address(host: str, port: int, port_setting: str, host_setting: str = "PREPTIME_HOST") -> str:
    """The numeric address of `host`, when `port` can be listened on there. Raises `UsageError`.

    Asked before the server starts, because its workers share a port and would share it with a stranger as well.
    """
    try:
        family, socket_type, protocol, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise UsageError(f"{host_setting} {host!r} is no address: {error.strerror}.", "127.0.0.1 is one.") from error
    with socket.socket(family, socket_type, protocol) as probe:
        if os.name == "posix":  # past connections of a server that has just ended, not past one that listens
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            problem = "is in use by another program" if error.errno == errno.EADDRINUSE else f"fails: {error.strerror}"
            raise UsageError(
                f"Port {port} of {host} {problem}.", f"Stop what listens there, or set another {port_setting}."
            ) from error
    return str(address[0])


_NAME_PATTERN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_COMMENT_PATTERN = re.compile(r"(?:^|\s)#")


def read_env_file(path: Path) -> dict[str, str]:
    """Names and values: blank lines and `#` comments are passed over, `export` and quotes around a value dropped.

    A `#` begins a comment only after a blank. Raises `UsageError` with the number of a line that is none of these; the
    line itself is not repeated, since it may hold a secret.
    """
    values: dict[str, str] = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}.", "Write it in UTF-8.") from error
    for number, line in enumerate(lines, start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        values.update([_parse_line(stripped, f"{path}, line {number}")])
    return values


def _parse_line(line: str, location: str) -> tuple[str, str]:
    name, separator, raw_value = line.removeprefix("export ").partition("=")
    name, value = name.strip(), raw_value.strip()
    if not separator or not _NAME_PATTERN.fullmatch(name):
        raise UsageError(f"{location}: expected NAME=value.", "Comments begin with #.")
    if value[:1] in {"'", '"'}:
        quoted_value, closing_quote, remainder = value[1:].partition(value[0])
        if not closing_quote or (remainder.strip() and not remainder.lstrip().startswith("#")):
            raise UsageError(
                f"{location}: {name}'s quotes do not close where its value ends.", "Quote the whole value."
            )
        return name, quoted_value
    return name, _COMMENT_PATTERN.split(value, maxsplit=1)[0].strip()


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


DAG_SETTINGS: dict[str, tuple[str, str]] = {
    "PREPTIME_RUNNER": ("command: tasks call a command; kubernetes: each is a pod.", "command"),
    "PREPTIME_COMMAND": ("With command: what is called, from the folder above dags/.", ".venv/bin/preptime"),
    "PREPTIME_IMAGE": ("With kubernetes: the pods' image, whose entry point is preptime.", ""),
    "PREPTIME_POD_TEMPLATE": ("With kubernetes: a file that says all else of a pod.", ""),
    "PREPTIME_TIME_ZONE": ("Whose 05:00 it is.", "UTC"),
    "PREPTIME_KEEP_BUNDLES": ("How many of the newest bundles are kept.", "100"),
    "PREPTIME_KEEP_DAYS": ("How many of the newest days with results are kept.", "400"),
    "PREPTIME_DEMO_ORDERS": ("For a demonstration: a folder whose orders and restaurants are synthesized first.", ""),
}
"""Name, meaning and default (docs/daily-run.md)."""

COMPOSE_SETTINGS: dict[str, tuple[str, str]] = {
    "IMAGE_TAG": ("Tag of preptime's images.", "local"),
    "ENV_FILE": ("The file of settings that the containers get.", ".env"),
    "ORDERS_FOLDER": ("Folder on this machine that holds orders and restaurants.", "orders"),
    "COMPOSE_ORDERS": ("Orders as the containers see them: a path or a URL.", "/data/orders/orders.csv"),
    "COMPOSE_RESTAURANTS": ("Restaurants, likewise.", "/data/orders/restaurants.csv"),
    "COMPOSE_STORE": ("The store as the containers see it.", "/data/models"),
    "AIRFLOW_PORT": ("Airflow's port on this machine's loopback.", "8080"),
    "_AIRFLOW_WWW_USER_USERNAME": ("Who signs in to Airflow.", "airflow"),
    "_AIRFLOW_WWW_USER_PASSWORD": ("Their password. `make up` makes it.", ""),
    "AIRFLOW_FERNET_KEY": ("Airflow's key for what it stores. `make up` makes it.", ""),
    "AIRFLOW_SECRET": ("Airflow's secret for sessions. `make up` makes it.", ""),
    "POSTGRES_PASSWORD": ("The database's password. `make up` makes it.", ""),
    "POSTGRES_IMAGE": ("The database's image. It stands in deploy/docker/pins.env.", ""),
}
"""Name, meaning and default (docs/deploy-docker.md); it reads some of preptime's own settings too."""

EXTERNAL_SECTIONS = {"Read by the DAGs": DAG_SETTINGS, "Read by Compose": COMPOSE_SETTINGS}
