"""Addresses that contain a secret, and every option and argument of the command line that takes text or a path."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import click

from preptime.cli.app import app

MARKER = "Zq7MaRk3"
"""A password that occurs in no other text. It's short, so that it's only found as a whole word."""

SPECIAL_CHARACTERS = {
    "slash": "/",
    "question mark": "?",
    "at sign": "@",
    "percent sign": "%",
    "hash": "#",
    "colon": ":",
    "space": " ",
    "quotation mark": '"',
    "apostrophe": "'",
    "backslash": "\\",
    "ampersand": "&",
    "two slashes": "//",
    "brackets": "[]",
}
SERVER = "127.0.0.1:1"
"""A server that refuses connections immediately."""

ADDRESSES = {
    "postgresql": f"postgresql://u:{MARKER}@{SERVER}/db",
    "postgres": f"postgres://u:{MARKER}@{SERVER}/db",
    "capitalized scheme": f"Postgresql://u:{MARKER}@{SERVER}/db",
    "table": f"postgresql://u:{MARKER}@{SERVER}/db?table=restaurants",
    "unknown table": f"postgresql://u:{MARKER}@{SERVER}/db?table=nothing",
    "unknown day": f"postgresql://u:{MARKER}@{SERVER}/db?day=nothing",
    "password parameter": f"postgresql://{SERVER}/db?password={MARKER}",
    "uppercase parameter": f"postgresql://{SERVER}/db?PASSWORD={MARKER}",
    "encoded parameter": f"postgresql://{SERVER}/db?p%61ssword={MARKER}",
    "sslpassword": f"postgresql://{SERVER}/db?sslpassword={MARKER}",
    "password in options": f"postgresql://{SERVER}/db?options=-c%20app.password%3D{MARKER}",
    "unescaped ampersand": f"postgresql://{SERVER}/db?password=a&{MARKER}",
    "invalid port": f"postgresql://u:{MARKER}@127.0.0.1:none/db",
    "missing host": f"postgresql://u:{MARKER}",
    "missing at sign": f"postgresql://u:{MARKER}/db",
    "missing scheme": f"u:{MARKER}@{SERVER}/db",
    "one slash": f"postgresql:/u:{MARKER}@{SERVER}/db",
    "no slash": f"postgresql:u:{MARKER}@{SERVER}/db",
    "sqlalchemy": f"postgresql+psycopg://u:{MARKER}@{SERVER}/db",
    "jdbc": f"jdbc:postgresql://{SERVER}/db?user=u&password={MARKER}",
    "mysql": f"mysql://u:{MARKER}@{SERVER}/db",
    "connection string": f"host=127.0.0.1 port=1 user=u password={MARKER} dbname=db",
    "quoted connection string": f"host=127.0.0.1 port=1 password = 'a {MARKER} b' dbname=db",
    "bigquery": f"bigquery://u:{MARKER}@our-project.food",
    "bigquery parameter": f"bigquery://our-project.food?access_token={MARKER}",
    "malformed bigquery": f"bigquery://[{MARKER}",
    "gs": f"gs://u:{MARKER}@bucket/models",
    "gs token": f"gs://{MARKER}@bucket/models",
    "s3": f"s3://key:{MARKER}@bucket/models",
    "ftp": f"ftp://u:{MARKER}@{SERVER}/models",
    "file": f"file://u:{MARKER}@host/models",
    "memory": f"memory://u:{MARKER}@models",
    "http": f"http://u:{MARKER}@{SERVER}",
    "http with path": f"http://u:{MARKER}@{SERVER}/api",
    "https token": f"https://{MARKER}@{SERVER}/api",
    "fragment": f"https://{SERVER}/api#{MARKER}",
    "malformed http": f"http://[{MARKER}",
    "malformed host": f"http://u:{MARKER}@[::1",
    "signed aws": f"https://{SERVER}/b?X-Amz-Credential={MARKER}&X-Amz-Signature={MARKER}",
    "signed azure": f"https://{SERVER}/b?se=2030-01-01&sig={MARKER}",
    "signed google": f"https://{SERVER}/b?X-Goog-Signature={MARKER}",
    "key parameter": f"https://{SERVER}/b?key={MARKER}",
    "token parameter": f"https://{SERVER}/b?token={MARKER}",
    "access token": f"https://{SERVER}/b?access_token={MARKER}",
    "semicolon": f"https://{SERVER}/b;token={MARKER}",
    "azure": f"DefaultEndpointsProtocol=https;AccountName=a;AccountKey={MARKER};EndpointSuffix=core.windows.net",
    "parameter of a path": f"orders.csv?token={MARKER}",
    "service account": f'{{"type": "service_account", "private_key": "-----BEGIN PRIVATE KEY-----\\n{MARKER}-123456"}}',
    "private key": f"-----BEGIN PRIVATE KEY-----\n{MARKER}-123456\n-----END PRIVATE KEY-----\n",
} | {
    f"unescaped {name}": f"postgresql://u:{MARKER}{character}{MARKER}@{SERVER}/db"
    for name, character in SPECIAL_CHARACTERS.items()
}
"""Addresses with the secret, by form."""

CONTENTS = ("service account", "private key")
"""Forms that are the content of a file."""

OTHER_TEXT = {("bundles promote", "reason"), ("bundles rollback", "reason")}
"""Parameters for text that the command stores and prints unchanged, and that isn't an address."""


@dataclass(frozen=True)
class TextParameter:
    """An option or an argument that takes text or a path, with the command that it belongs to."""

    command: str
    name: str
    arguments: tuple[str, ...]
    """The arguments of the program up to the value, including valid values of other required parameters."""

    def __str__(self) -> str:
        return f"{self.command} {self.name}"

    def command_line(self, value: str) -> list[str]:
        """Return the arguments of the program with this value."""
        last = self.arguments[-1]
        return [*self.arguments[:-1], f"{last}={value}"] if last.startswith("--") else [*self.arguments, value]


def text_parameters(valid_values: dict[str, str]) -> Iterator[TextParameter]:
    """Yield all parameters of all commands that take text or a path. `valid_values` are those of required ones."""
    for path, command in _commands(app, ()):
        for parameter in command.params:
            name = parameter.name or ""
            if _takes_text(parameter) and (" ".join(path), name) not in OTHER_TEXT:
                others = [other for other in command.params if other.required and other is not parameter]
                arguments = [part for other in others for part in _arguments(other, valid_values[other.name or ""])]
                yield TextParameter(" ".join(path), name, (*path, *arguments, *_arguments(parameter, None)))


def _commands(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if not isinstance(command, click.Group):
        yield path, command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        child = command.get_command(context, name)
        assert child is not None
        yield from _commands(child, (*path, name))


def _takes_text(parameter: click.Parameter) -> bool:
    return isinstance(parameter.type, (click.Path, type(click.STRING)))


def _arguments(parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    option = parameter.opts[0] if isinstance(parameter, click.Option) else None
    return tuple(part for part in (option, value) if part is not None)
