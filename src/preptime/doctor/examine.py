"""Run all checks, in the order in which you would fix their errors."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import suppress
from datetime import date
from pathlib import Path

import msgspec

from preptime.api.worker import require_store_folder
from preptime.bundle.store import CheckLimits, Store
from preptime.doctor import checks
from preptime.doctor.checks import CheckResult, Role, error_result, skipped_result
from preptime.domain.data_dictionary import DATA_DICTIONARY
from preptime.errors import StoreError, UsageError
from preptime.redaction import redact_text
from preptime.settings import Settings


def run_checks(environ: Mapping[str, str], env_file: Path, role: Role, today: date) -> list[CheckResult]:
    """Return the results of all checks for a role, without secrets. `today` is the expected date of the history."""
    return [_redact(result) for result in _run_checks(environ, env_file, role, today)]


def _redact(result: CheckResult) -> CheckResult:
    return msgspec.structs.replace(result, message=redact_text(result.message), hint=redact_text(result.hint))


def _run_checks(environ: Mapping[str, str], env_file: Path, role: Role, today: date) -> list[CheckResult]:
    clock = checks.ClockCheck()
    settings_check, settings = checks.check_settings(environ, env_file)
    results = [checks.check_python(), settings_check]
    if settings is None:
        remaining = ["store", "champion", "history", "libraries", "clock", "time zones", "disk"]
        remaining = [*(("keys", "port") if role == "serve" else DATA_DICTIONARY), *remaining]
        return [*results, *(skipped_result(check, "Fix the settings first.") for check in remaining)]
    if role == "serve":
        results += [checks.check_key_settings(settings), checks.check_ports(settings)]
    else:
        results += checks.check_sources(settings)
    return [
        *results,
        *_store_checks(settings, role, today, clock),
        *checks.check_disks(_writable_folders(settings, role)),
    ]


def _store_checks(settings: Settings, role: Role, today: date, clock: checks.ClockCheck) -> list[CheckResult]:
    zones = ["Europe/London"]
    try:
        if role == "serve":  # The jobs create the folder.
            require_store_folder(settings)
        limits = CheckLimits(settings.bundle_load_timeout_seconds, settings.bundle_load_memory_mb)
        bundle_store = Store.open(settings.store, check_limits=limits)
    except (StoreError, UsageError) as error:
        remaining = ("champion", "history", "libraries", "clock")
        return [
            error_result("store", error.facts, error.hint),
            *(skipped_result(check, "Fix the store first.") for check in remaining),
            checks.check_time_zones(zones),
        ]
    store_check = checks.check_store(bundle_store, settings, role)
    champion_check, entry, bundle = checks.check_champion(bundle_store, role)
    if bundle is not None:
        zones.extend(bundle.manifest.vocabularies.time_zone)
    return [
        store_check,
        champion_check,
        checks.check_history(bundle, today),
        checks.check_libraries(bundle),
        checks.check_clock(bundle_store, entry, clock),
        checks.check_time_zones(zones),
    ]


def _writable_folders(settings: Settings, role: Role) -> dict[str, Path]:
    """Return the folders on this machine that are written to, by purpose."""
    folders = {"temporary files": Path(tempfile.gettempdir())}
    if role == "serve" and settings.prediction_log == "folder":
        folders["the prediction log"] = Path(settings.prediction_log_folder)
    if role == "jobs":
        folders["results"] = Path(settings.results)
        with suppress(StoreError):  # The check of the store reports an invalid URL.
            if settings.local_store is not None:
                folders["the store"] = settings.local_store
    return folders
