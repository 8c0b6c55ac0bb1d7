"""The command `preptime keys`: create API keys."""

from __future__ import annotations

import click
import msgspec

from preptime.cli.output import Output, with_output
from preptime.keys import new_key


class KeyDocument(msgspec.Struct, frozen=True):
    """The document of `keys new --json`."""

    name: str
    key: str
    """The value of the header `aikey`. It's shown once and not stored."""
    sha256: str
    setting: str
    """The hashed entry for `PREPTIME_API_KEYS` or `PREPTIME_OPERATOR_KEYS`."""


@click.group()
def keys() -> None:
    """Create API keys."""


@keys.command()
@click.argument("name")
@with_output
def new(output: Output, name: str) -> None:
    """Create an API key for the client NAME.

    Prints the key once, and the hashed entry for the settings of the server.
    """
    new_api_key = new_key(name)
    output.finish(
        KeyDocument(new_api_key.name, new_api_key.key, new_api_key.sha256, new_api_key.setting),
        "API key, shown only once. The client sends it in the header `aikey`:",
        f"  {new_api_key.key}",
        "Add its hashed entry to .env or the environment of the server. Separate several entries with commas:",
        f"  PREPTIME_API_KEYS={new_api_key.setting}",
    )
