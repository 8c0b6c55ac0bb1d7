"""What the server is told: settings, keys, its port."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from preptime.api.access import check_keys
from preptime.doctor.finding import Finding, fault, fine, warning
from preptime.errors import UsageError
from preptime.keys import EXAMPLE_KEY, PLAIN_KEY_NAME, Keys
from preptime.settings import Settings
from preptime.settings.address import free_address


def settings(environ: Mapping[str, str], env_file: Path) -> tuple[Finding, Settings | None]:
    """The settings, if they can be read."""
    try:
        found = Settings.read(environ, env_file)
    except UsageError as error:
        return fault("settings", error.facts, error.hint), None
    source = f"the environment, then {env_file}" if env_file.is_file() else "the environment alone (there is no .env)"
    changed = [name for name, value in found.shown().items() if value != Settings().shown()[name]]
    return fine("settings", f"From {source}. Not the default: {', '.join(changed) or 'none'}."), found


def keys(told: Settings) -> Finding:
    """How many, and whether they are any good."""
    try:
        known = check_keys(told)
    except UsageError as error:
        return fault("keys", error.facts, error.hint)
    names = [name for name, _ in known.entries]
    operators = Keys.of(told.operator_keys)
    found = (
        f"{len(names)} for predictions ({', '.join(dict.fromkeys(names)) or 'Vertex AI sends none'}), "
        f"{len(operators)} for operators."
    )
    both = {digest for _, digest in known.entries} & {digest for _, digest in operators.entries}
    if both:
        return warning("keys", f"{found} One key is for both.", "Make another for the operators: preptime keys new.")
    if PLAIN_KEY_NAME in names and known.name_of(EXAMPLE_KEY):
        return warning("keys", f"{found} AIKEY is the examples'.", "Change it before anybody else can reach the port.")
    return fine("keys", found)


def port(told: Settings) -> Finding:
    """Whether the server could listen."""
    try:
        address = free_address(told.host, told.port, "PREPTIME_PORT")
    except UsageError as error:
        return fault("port", error.facts, f"{error.hint} If preptime itself is running here, all is well.".strip())
    return fine("port", f"{told.port} is free on {address}.")
