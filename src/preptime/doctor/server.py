"""What the server is told: settings, keys, its port."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from preptime.api.access import configured_api_keys
from preptime.doctor.finding import CheckResult, error_result, ok_result, warning_result
from preptime.errors import UsageError
from preptime.keys import EXAMPLE_KEY, UNNAMED_KEY_NAME, Keys
from preptime.settings import Settings
from preptime.settings.address import resolve_free_address


def check_settings(environ: Mapping[str, str], env_file: Path) -> tuple[CheckResult, Settings | None]:
    """The settings, if they can be read."""
    try:
        loaded = Settings.load(environ, env_file)
    except UsageError as error:
        return error_result("settings", error.facts, error.hint), None
    source = f"the environment, then {env_file}" if env_file.is_file() else "the environment alone (there is no .env)"
    changed_names = [name for name, value in loaded.redacted().items() if value != Settings().redacted()[name]]
    return ok_result("settings", f"From {source}. Not the default: {', '.join(changed_names) or 'none'}."), loaded


def check_key_settings(server_settings: Settings) -> CheckResult:
    """How many, and whether they are any good."""
    try:
        api_keys = configured_api_keys(server_settings)
    except UsageError as error:
        return error_result("keys", error.facts, error.hint)
    names = [name for name, _ in api_keys.entries]
    operator_keys = Keys.from_setting(server_settings.operator_keys)
    message = (
        f"{len(names)} for predictions ({', '.join(dict.fromkeys(names)) or 'Vertex AI sends none'}), "
        f"{len(operator_keys)} for operators."
    )
    shared_digests = {digest for _, digest in api_keys.entries} & {digest for _, digest in operator_keys.entries}
    if shared_digests:
        return warning_result(
            "keys", f"{message} One key is for both.", "Make another for the operators: preptime keys new."
        )
    if UNNAMED_KEY_NAME in names and api_keys.name_of(EXAMPLE_KEY):
        return warning_result(
            "keys", f"{message} AIKEY is the examples'.", "Change it before anybody else can reach the port."
        )
    return ok_result("keys", message)


def check_ports(server_settings: Settings) -> CheckResult:
    """Whether the server could listen, on the port for health and metrics as well where there is one."""
    ports = {"PREPTIME_PORT": server_settings.port}
    if server_settings.health_port is not None:
        ports["PREPTIME_HEALTH_PORT"] = server_settings.health_port
    if len(set(ports.values())) < len(ports):
        return error_result(
            "port", f"PREPTIME_HEALTH_PORT is PREPTIME_PORT, {server_settings.port}.", "Give it another, or none."
        )
    try:
        addresses = {resolve_free_address(server_settings.host, number, setting) for setting, number in ports.items()}
    except UsageError as error:
        return error_result(
            "port", error.facts, f"{error.hint} If preptime itself is running here, all is well.".strip()
        )
    port_list = " and ".join(map(str, ports.values()))
    return ok_result("port", f"{port_list} {'is' if len(ports) == 1 else 'are'} free on {', '.join(addresses)}.")
