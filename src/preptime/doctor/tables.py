"""The tables that the daily jobs read: there, readable, with the columns that training needs."""

from __future__ import annotations

from preptime.doctor.finding import Finding, fault, fine, warning
from preptime.domain.dictionary import LATER, TABLES, required
from preptime.errors import PreptimeError
from preptime.settings import Settings


def tables(settings: Settings) -> list[Finding]:
    """Orders and restaurants. Only headers are read: what rows are worth is for the verbs to say."""
    if settings.orders and settings.orders == settings.restaurants:
        found = "PREPTIME_ORDERS and PREPTIME_RESTAURANTS are the same."
        hint = "Name two files; of a database, ?table=restaurants beside ?table=orders."
        return [_table("orders", settings.orders), fault("restaurants", found, hint)]
    return [_table(name, str(getattr(settings, name))) for name in TABLES]


def _table(name: str, address: str) -> Finding:
    setting = f"PREPTIME_{name.upper()}"
    if not address:
        return warning(name, f"{setting} is not set.", f"Set it, or give --{name} to every daily verb.")
    # Where the API runs there need be no library of tables.
    try:
        from preptime.tables.columns import require
        from preptime.tables.open import open_table

        opened = open_table(address)
        require(opened.columns, required(TABLES[name], "training"), opened.name)
    except ModuleNotFoundError as error:
        hint = "Install preptime with the extra for files (batch), PostgreSQL (postgres) or BigQuery (gcp)."
        return fault(name, f"The package {error.name} is not installed.", hint)
    except OSError as error:
        return fault(name, f"{error.filename}: {error.strerror}.", f"Let this user read it; {setting} names it.")
    except PreptimeError as error:
        return fault(name, error.facts, f"{error.hint} {setting} names it.".strip())
    if name == "orders" and not set(LATER) & set(opened.columns):
        return fault(name, f"{opened.name} has neither {' nor '.join(LATER)}.", "Add one: there is no label otherwise.")
    return fine(name, f"{opened.name} can be read and has the columns needed.")
