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
    """Whether the server could listen, on the port for health and metrics as well where there is one."""
    ports = {"PREPTIME_PORT": told.port}
    if told.health_port is not None:
        ports["PREPTIME_HEALTH_PORT"] = told.health_port
    if len(set(ports.values())) < len(ports):
        return fault("port", f"PREPTIME_HEALTH_PORT is PREPTIME_PORT, {told.port}.", "Give it another, or none.")
    try:
        addresses = {free_address(told.host, number, setting) for setting, number in ports.items()}
    except UsageError as error:
        return fault("port", error.facts, f"{error.hint} If preptime itself is running here, all is well.".strip())
    free = " and ".join(map(str, ports.values()))
    return fine("port", f"{free} {'is' if len(ports) == 1 else 'are'} free on {', '.join(addresses)}.")
