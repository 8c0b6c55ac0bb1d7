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
FOR_TESTS = frozenset({"PREPTIME_REQUIRE", "PREPTIME_REAL_DATA"})
"""Settings of the project's own tests: with our prefix, and none of the server's business."""
FOR_DAGS = frozenset(
    f"PREPTIME_{name}"
    for name in ("RUNNER", "COMMAND", "IMAGE", "POD_TEMPLATE", "TIME_ZONE", "KEEP_BUNDLES", "KEEP_DAYS", "DEMO_ORDERS")
)
"""What the DAGs read from the same `.env`, in an environment that never imports this one (docs/daily-run.md)."""

Port = Annotated[int, Meta(ge=1, le=65_535)]
Route = Annotated[str, Meta(pattern="^/[^ ]*$")]
SECRET = {"secret": True}


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
    respond: Annotated[
        Literal["off", "retrain", "all"],
        Meta(
            description="What `preptime respond` may do: nothing, train when an alert asks for it, or also roll back a "
            "champion that is worse than the models before it."
        ),
    ] = "all"
    predictions_to: Annotated[
        str,
        Meta(
            description="Database that `score --date` writes to beside its partition of the results, by URL.",
            extra=SECRET,
        ),
    ] = ""
    host: Annotated[
        str, Meta(description="Address to listen on. Anything but loopback asks for named keys, and takes no AIKEY.")
    ] = "127.0.0.1"
    port: Annotated[
        Port,
        Meta(
            description="Port of the API. AIP_HTTP_PORT is Vertex AI's name for it, FLASK_PORT the demo's.",
            extra={"names": ("PREPTIME_PORT", "AIP_HTTP_PORT", "FLASK_PORT")},
        ),
    ] = 8000
    health_port: Annotated[
        Port | None,
        Meta(description="A port for /healthz, /readyz and /metrics alone, beside the API's, where they stay as well."),
    ] = None
    api_url: Annotated[
        str, Meta(description="The API that the page asks. Empty: the one on this machine, at PREPTIME_PORT.")
    ] = ""
    api_key: Annotated[
        str, Meta(description="The key that the page asks the API with, if people needn't type theirs.", extra=SECRET)
    ] = ""
    ui_host: Annotated[
        str, Meta(description="Address that the page listens on. Anything but loopback asks visitors for a named key.")
    ] = "127.0.0.1"
    ui_port: Annotated[Port, Meta(description="Port of the page.")] = 8501
    workers: Annotated[int, Meta(ge=1, le=256, description="Worker processes; one per core that they may use.")] = 1
    max_body_bytes: Annotated[int, Meta(ge=1024, description="Largest request body; a larger one is answered 413.")] = (
        8 * 1024 * 1024
    )
    max_orders: Annotated[int, Meta(ge=1, description="Most orders in one request; more are answered 422.")] = 10_000
    max_waiting: Annotated[
        int, Meta(ge=1, description="Most prediction requests that one worker has in hand; one more is answered 503.")
    ] = 64
    champion_seconds: Annotated[
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
    grace_seconds: Annotated[
        int, Meta(ge=1, le=3600, description="Seconds that requests under way have to finish after SIGTERM.")
    ] = 20
    api_keys: Annotated[
        str,
        Meta(
            description="Keys that may ask for predictions: NAME:SHA256,…; `preptime keys new NAME` makes one.",
            extra=SECRET,
        ),
    ] = ""
    operator_keys: Annotated[
        str, Meta(description="Keys that may change what is served, likewise. They predict nothing.", extra=SECRET)
    ] = ""
    aikey: Annotated[
        str,
        Meta(
            description="The demo's plain key. Accepted by a server on loopback, refused elsewhere.",
            extra=SECRET | {"names": ("AIKEY",)},
        ),
    ] = ""
    vertex_health_route: Annotated[
        Route | None,
        Meta(
            description="Where Vertex AI asks whether the container is ready.", extra={"names": ("AIP_HEALTH_ROUTE",)}
        ),
    ] = None
    vertex_predict_route: Annotated[
        Route | None,
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
    def read(cls, environ: Mapping[str, str], env_file: Path | None = None) -> Self:
        """The settings in `environ`, else in `env_file`, else their defaults; an empty value is none.

        Raises `UsageError` for an unknown name with our prefix and for a value out of its range.
        """
        in_file = read_env_file(env_file) if env_file is not None and env_file.is_file() else {}
        given = {name: value for name, value in in_file.items() if value}
        given |= {name: value for name, value in environ.items() if value}
        known = {name for setting in declared() for name in setting.names}
        for unknown in sorted(given.keys() - known - FOR_TESTS - FOR_DAGS):
            if unknown.startswith(PREFIX):
                raise _unknown(unknown, known)
        found = {}
        for setting in declared():
            name = next((name for name in setting.names if name in given), None)
            if name is not None:
                found[setting.field] = setting.convert(name, given[name])
        return msgspec.convert(found, cls)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)

    def shown(self) -> dict[str, str]:
        """Every setting by its first name, as text fit for a log: no secret."""
        return {
            setting.names[0]: "not set" if value in (None, "") else "set" if setting.secret else str(value)
            for setting in declared()
            for value in [getattr(self, setting.field)]
        }

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={value}' for name, value in self.shown().items())})"


class Setting(msgspec.Struct, frozen=True):
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
            shown = "not that" if self.secret else repr(value)
            raise UsageError(f"{name}: expected {self.expected}, found {shown}.", "See docs/settings.md.") from None


class _Told(msgspec.Struct, frozen=True):
    """What a declaration says beside its type."""

    names: tuple[str, ...] = ()
    secret: bool = False


def declared() -> Iterator[Setting]:
    """Every setting, in the order of its declaration."""
    for field in structs.fields(Settings):
        kind = inspect.type_info(field.type)
        extra: dict[str, object] = {}
        schema: dict[str, object] = {}
        while isinstance(kind, inspect.Metadata):
            extra, schema = extra | (kind.extra or {}), schema | (kind.extra_json_schema or {})
            kind = kind.type
        told = msgspec.convert(extra, _Told)
        yield Setting(
            field=field.name,
            names=told.names or (PREFIX + field.name.upper(),),
            default="" if field.default is None else str(field.default),
            description=str(schema["description"]),
            expected=_expected(kind),
            secret=told.secret,
        )


def _expected(kind: inspect.Type) -> str:
    match kind:
        case inspect.UnionType():  # of something and nothing
            return _expected(kind.types[0])
        case inspect.IntType():
            return f"a whole number {_range(kind.ge, kind.le)}"
        case inspect.FloatType():
            return f"a number {_range(kind.ge, kind.le)}"
        case inspect.LiteralType():
            return "one of " + ", ".join(str(value) for value in kind.values)
        case inspect.StrType() if kind.pattern:
            return "a path that begins with /"
    return "text"


def _range(least: float | None, most: float | None) -> str:
    return f"from {least}" + ("" if most is None else f" to {most}")


def _unknown(name: str, known: set[str]) -> UsageError:
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.0)
    return UsageError(f"{name} is no setting.", f"Did you mean {near[0]}? docs/settings.md lists them all.")
