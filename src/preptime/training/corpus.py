"""A corpus: the orders of a training, which Spark has selected from a table that doesn't fit on one machine.

`preptime spark corpus` writes it, and `preptime train --corpus` reads it. A corpus is a folder with orders as Parquet
files, in the order in which one machine reads the table, and with the restaurants. The document `corpus.json` names the
folder. It's written last.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import polars as pl

from preptime.bundle.manifest import FileInfo, TrainingSample, describe_files
from preptime.bundle.store import open_backend
from preptime.errors import DataError, UsageError
from preptime.features.history_state import HistoryState
from preptime.features.restaurant_index import RestaurantIndex
from preptime.schema.schema import Schema
from preptime.sources.files import open_files
from preptime.training.saved_state import decode_restaurants, decode_versioned, unpack_arrays
from preptime.training.training_data import SAMPLED_COLUMN, EarlierOrders

CORPUS_FILE = "corpus.json"
CORPUS_FORMAT = 1
"""The format of `corpus.json` (docs/scale.md)."""
ORDERS_FOLDER = "orders"
RESTAURANTS_FILE = "restaurants.npz"
EARLIER_FILE = "earlier.npz"
_REPEAT_HINT = "Make the corpus again: preptime spark corpus."


class CorpusDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The content of `corpus.json`."""

    format: int = CORPUS_FORMAT
    date: dt.date
    """The corpus has the rows known as of this date."""
    first_day: dt.date | None = None
    """The first local day of the window. None: the corpus has all orders before the date, unsampled."""
    sample: TrainingSample | None = None
    """The sample of the window's orders, with `first_day`."""
    earlier: FileInfo | None = None
    """The file of the state of the orders before the window, with `first_day`."""
    rows: int
    schema: Schema
    """The schema of the orders, without models."""
    is_canonical: bool = False
    """Whether the rows have the canonical columns, like those of a database, and not those of the schema."""
    out: str
    """The folder of the corpus, which is next to the document."""
    orders: tuple[str, ...]
    """The names of the Parquet files, in order."""
    restaurants: FileInfo

    @property
    def files(self) -> dict[str, FileInfo]:
        """The files next to the orders by name, with their SHA-256."""
        earlier = {} if self.earlier is None else {EARLIER_FILE: self.earlier}
        return {RESTAURANTS_FILE: self.restaurants, **earlier}

    @property
    def folder(self) -> str:
        """The name of the folder. A corpus that was copied or moved has it, too."""
        return self.out.rstrip("/").rpartition("/")[2]


@dataclass(frozen=True)
class Corpus:
    """The orders and restaurants of a training."""

    document: CorpusDocument
    orders: pl.DataFrame
    schema: Schema
    """The schema of the rows: that of the training, or its canonical one."""
    restaurants: RestaurantIndex
    earlier: EarlierOrders | None
    """The orders before the window, if it doesn't have all."""


def read_corpus(address: str, date: dt.date, schema: Schema) -> Corpus:
    """Return the corpus in a folder or at a URL.

    Raises:
        UsageError: It has another date or another schema.
        DataError: There is no corpus, or it's damaged.
        StoreError: The URL is invalid, or its package isn't installed.
    """
    backend = open_backend(address)
    try:
        content = backend.read(CORPUS_FILE)
        document = decode_versioned(CorpusDocument, content, f"{address}/{CORPUS_FILE}", CORPUS_FORMAT, _REPEAT_HINT)
        files = {name: backend.read(f"{document.folder}/{name}") for name in document.files}
    except OSError as error:
        raise DataError(f"{address} has no readable corpus: {error}.", _REPEAT_HINT) from error
    if document.date != date:
        raise UsageError(f"The corpus is as of {document.date}, not {date}.", f"Use --date {document.date}.")
    if document.schema != schema.without_models():
        raise UsageError("The corpus was written with another schema.", "Use the same --schema for both commands.")
    damaged = [name for name, info in describe_files(files).items() if info != document.files[name]]
    if damaged:
        raise DataError(f"{address}/{document.folder}/{damaged[0]} is damaged.", _REPEAT_HINT)
    row_schema = schema.canonical() if document.is_canonical else schema
    with _local_orders(address, document) as folder:
        frame = _read_orders(folder, document, row_schema)
    if len(frame) != document.rows:
        raise DataError(f"{address} has {len(frame):,} rows; expected {document.rows:,}.", _REPEAT_HINT)
    earlier = None
    if document.first_day is not None and document.sample is not None:
        state = HistoryState.from_arrays(unpack_arrays(files[EARLIER_FILE]))
        earlier = EarlierOrders(document.first_day, state, document.sample)
    return Corpus(document, frame, row_schema, decode_restaurants(files[RESTAURANTS_FILE]), earlier)


def _read_orders(folder: Path, document: CorpusDocument, schema: Schema) -> pl.DataFrame:
    """Return the rows with the columns of the schema, and with the flag of the sample if there is one."""
    frame = open_files(str(folder), schema).frame()
    if document.sample is None:
        return frame
    flags = [pl.read_parquet(folder / name, columns=[SAMPLED_COLUMN], glob=False) for name in document.orders]
    return frame.with_columns(pl.concat(flags)[SAMPLED_COLUMN])


@contextmanager
def _local_orders(address: str, document: CorpusDocument) -> Iterator[Path]:
    """Yield a local folder with the Parquet files: that of the corpus, or a temporary copy."""
    local = Path(address, document.folder, ORDERS_FOLDER)
    if "://" not in address:
        yield local
        return
    backend = open_backend(address)
    with TemporaryDirectory() as folder:
        for name in document.orders:
            Path(folder, name).write_bytes(backend.read(f"{document.folder}/{ORDERS_FOLDER}/{name}"))
        yield Path(folder)
