"""A large csv file in pieces of whole rows, so that reading it takes the memory of a piece.

Polars' own reader in batches keeps the file in memory and runs ahead of who asks: for 200 MB it takes 420 MB, this 120
(`python -m benchmarks page` measures it within a whole upload).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

PIECE_BYTES = 8 << 20
_QUOTE, _LINE_FEED = b'"', b"\n"


def pieces(path: Path, size: int = PIECE_BYTES) -> Iterator[bytes]:
    """The file's bytes, cut after rows; the first piece begins with the header. One row larger than `size` stays whole.

    A line feed inside a quoted cell ends no row: rows end where the quotes before are even in number.
    """
    with path.open("rb") as file:
        rest = b""
        while block := file.read(size):
            piece = rest + block
            end = _last_end_of_row(piece)
            rest = piece[end:]
            if end:
                yield piece[:end]
        if rest:
            yield rest


def _last_end_of_row(piece: bytes) -> int:
    """Just after the last line feed that is outside quotes; 0 when there is none."""
    end = piece.rfind(_LINE_FEED)
    odd = piece.count(_QUOTE, 0, max(end, 0)) % 2
    while end >= 0 and odd:
        before = piece.rfind(_LINE_FEED, 0, end)
        odd ^= piece.count(_QUOTE, max(before, 0), end) % 2
        end = before
    return end + 1
