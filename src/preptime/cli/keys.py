"""`preptime keys`: keys for the online API."""

from __future__ import annotations

import click
import msgspec

from preptime.cli.output import Output, with_output
from preptime.keys import new_key


class KeyDocument(msgspec.Struct, frozen=True):
    """The document of `keys new --json`."""

    name: str
    key: str
    """What the client sends in the header `aikey`. It is shown this once and kept nowhere."""
    sha256: str
    setting: str
    """The entry for `PREPTIME_API_KEYS` or `PREPTIME_OPERATOR_KEYS`."""


@click.group()
def keys() -> None:
    """Keys for the online API."""


@keys.command()
@click.argument("name")
@with_output
def new(output: Output, name: str) -> None:
    """Make a key for the client NAME: printed once; the server gets its hash."""
    new_api_key = new_key(name)
    output.finish(
        KeyDocument(new_api_key.name, new_api_key.key, new_api_key.sha256, new_api_key.setting),
        f"The key, shown this once; the client sends it in the header `aikey`:\n  {new_api_key.key}",
        "For the server's environment or .env (several are separated by commas; both hold while a key is changed):",
        f"  PREPTIME_API_KEYS={new_api_key.setting}",
    )
