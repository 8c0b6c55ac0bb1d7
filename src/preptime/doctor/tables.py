"""The tables that the daily jobs read: there, readable, with the columns that training needs."""

from __future__ import annotations

from preptime.doctor.finding import CheckResult, error_result, ok_result, warning_result
from preptime.domain.dictionary import DATA_DICTIONARY, OUTCOME_COLUMNS, required_columns
from preptime.errors import PreptimeError
from preptime.settings import Settings


def check_sources(settings: Settings) -> list[CheckResult]:
    """Orders and restaurants. Only headers are read: what rows are worth is for the verbs to say."""
    if settings.orders and settings.orders == settings.restaurants:
        message = "PREPTIME_ORDERS and PREPTIME_RESTAURANTS are the same."
        hint = "Name two files; of a database, ?table=restaurants beside ?table=orders."
        return [_check_source("orders", settings.orders), error_result("restaurants", message, hint)]
    return [_check_source(name, str(getattr(settings, name))) for name in DATA_DICTIONARY]


def _check_source(name: str, address: str) -> CheckResult:
    variable_name = f"PREPTIME_{name.upper()}"
    if not address:
        return warning_result(name, f"{variable_name} is not set.", f"Set it, or give --{name} to every daily verb.")
    # Where the API runs there need be no library of tables.
    try:
        from preptime.tables.columns import require_columns
        from preptime.tables.open import open_source

        source = open_source(address)
        require_columns(source.columns, required_columns(DATA_DICTIONARY[name], "training"), source.name)
    except ModuleNotFoundError as error:
        hint = "Install preptime with the extra for files (batch), PostgreSQL (postgres) or BigQuery (gcp)."
        return error_result(name, f"The package {error.name} is not installed.", hint)
    except OSError as error:
        return error_result(
            name, f"{error.filename}: {error.strerror}.", f"Let this user read it; {variable_name} names it."
        )
    except PreptimeError as error:
        return error_result(name, error.facts, f"{error.hint} {variable_name} names it.".strip())
    if name == "orders" and not set(OUTCOME_COLUMNS) & set(source.columns):
        return error_result(
            name, f"{source.name} has neither {' nor '.join(OUTCOME_COLUMNS)}.", "Add one: there is no label otherwise."
        )
    return ok_result(name, f"{source.name} can be read and has the columns needed.")
