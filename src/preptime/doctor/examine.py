"""All checks, in the order in which a person would mend what they find."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from datetime import date
from pathlib import Path

from preptime.bundle.store import Store
from preptime.doctor import machine, server
from preptime.doctor import store as stores
from preptime.doctor.finding import Finding, Role, fault, not_asked
from preptime.doctor.tables import tables
from preptime.domain.dictionary import TABLES
from preptime.errors import StoreError
from preptime.settings import Settings


def examine(environ: Mapping[str, str], env_file: Path, role: Role, today: date) -> list[Finding]:
    """Everything that can be looked at here, for this role, on this day."""
    clock = machine.Clock()
    told, settings = server.settings(environ, env_file)
    findings = [machine.python(), told]
    if settings is None:
        rest = ["store", "champion", "history", "libraries", "clock", "time zones", "disk"]
        rest = [*(("keys", "port") if role == "serve" else TABLES), *rest]
        return [*findings, *(not_asked(check, "The settings come first.") for check in rest)]
    if role == "serve":
        findings += [server.keys(settings), server.port(settings)]
    else:
        findings += tables(settings)
    return [*findings, *_of_the_store(settings, role, today, clock), *machine.disk(_folders(settings, role))]


def _of_the_store(settings: Settings, role: Role, today: date, clock: machine.Clock) -> list[Finding]:
    zones = ["Europe/London"]
    try:
        opened = Store.open(settings.store)
    except StoreError as error:
        rest = ("champion", "history", "libraries", "clock")
        return [
            fault("store", error.facts, error.hint),
            *(not_asked(check, "The store comes first.") for check in rest),
            machine.time_zones(zones),
        ]
    reached = stores.store(opened, role)
    champion, entry, bundle = stores.champion(opened, role)
    if bundle is not None:
        zones.extend(bundle.manifest.vocabularies.time_zone)
    return [
        reached,
        champion,
        stores.history(bundle, today),
        stores.libraries(bundle),
        stores.clock(opened, entry, clock),
        machine.time_zones(zones),
    ]


def _folders(settings: Settings, role: Role) -> dict[str, Path]:
    """What is written on this machine, and where."""
    folders = {"temporary files": Path(tempfile.gettempdir())}
    if role == "serve" and settings.prediction_log == "folder":
        folders["the prediction log"] = Path(settings.prediction_log_folder)
    if role == "jobs":
        folders["results"] = Path(settings.results)
        if "://" not in settings.store:
            folders["the store"] = Path(settings.store)
    return folders
