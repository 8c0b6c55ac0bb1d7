"""The file of rows that could not be stored: written chunk by chunk, there when it is whole, never when it is empty."""

from __future__ import annotations

import secrets
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from preptime.domain.verdict import ValidationReason, reasons_in_mask
from preptime.errors import OperationError
from preptime.tables.audit import AuditedOrders
from preptime.tables.database import NoStorableRowsError
from preptime.tables.report import iter_rejects


class RejectsWriter:
    """A csv of refused rows as they came, each with its file, row, reasons and what was expected.

    A context: the file gets its name when the block ends well, or ends because every row is in it. Raises `OperationError`
    when it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reason_counts: Counter[ValidationReason] = Counter()
        """Rows by their first reason."""
        self._temporary_path = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
        self._columns: list[str] = []

    @property
    def row_count(self) -> int:
        """Rows so far."""
        return self.reason_counts.total()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._columns and (kind is None or issubclass(kind, NoStorableRowsError)):
            self._temporary_path.replace(self.path)
        self._temporary_path.unlink(missing_ok=True)

    def add(self, audited: AuditedOrders) -> None:
        """Write the rows that have a reason."""
        rows = np.flatnonzero(audited.reasons)
        if not len(rows):
            return
        masks, counts = np.unique(audited.reasons[rows], return_counts=True)
        for bits, count in zip(masks.tolist(), counts.tolist(), strict=True):
            self.reason_counts[reasons_in_mask(bits)[0]] += count
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._temporary_path.open("ab") as file:
                for frame in iter_rejects(audited, rows):
                    frame.write_csv(file, include_header=not self._columns)
                    self._columns = frame.columns
        except OSError as error:
            raise OperationError(
                f"The refused rows could not be written to {self.path}: {error.strerror}.",
                "Nothing was loaded; name another file with --rejects.",
            ) from error
