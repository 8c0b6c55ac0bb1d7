"""Reading orders and restaurants for a verb."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from preptime.cli.speaking import Speaker
    from preptime.features.directory import Directory
    from preptime.tables.audit import Audited
    from preptime.training.corpus import Corpus


def read_directory(restaurants: str) -> Directory:
    """The restaurants at an address."""
    from preptime.tables import directory
    from preptime.tables.open import open_table

    return directory.read_directory(open_table(restaurants).frame())


def read_audited(speaker: Speaker, orders: str, restaurants: str) -> tuple[Audited, Directory]:
    """Completed orders with a verdict for each, and the restaurants."""
    from preptime.tables.audit import audit
    from preptime.tables.open import open_table

    speaker.progress("Reading the orders", 0.0)
    directory = read_directory(restaurants)
    audited = audit(open_table(orders).frame(), directory, need_label=True)
    speaker.progress("Reading the orders", 1.0)
    return audited, directory


def read_corpus(speaker: Speaker, orders: str, restaurants: str) -> Corpus:
    """Completed orders that can be fitted, counted or evaluated."""
    from preptime.training.corpus import Corpus

    return Corpus.of(*read_audited(speaker, orders, restaurants))
