"""The texts of restaurant identifiers that aren't integers, as two arrays.

The arrays load from a bundle without a copy, and need 8 bytes per restaurant in addition to the text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from preptime.domain.restaurant_ids import MAX_ID_CHARACTERS, restaurant_id_text, restaurant_key

NAME_BYTES, NAME_ENDS = "restaurant_name_bytes", "restaurant_name_ends"
"""The names of the two arrays in a bundle."""


@dataclass(frozen=True)
class RestaurantNames:
    """M texts, in the order of their keys.

    Example:
        >>> RestaurantNames.from_texts(["store-7", "007"])[1]
        '007'
    """

    utf8: NDArray[np.uint8]
    """The UTF-8 bytes of all texts, one after the other."""
    ends: NDArray[np.int64]
    """[M] the end of each text in `utf8`."""

    @classmethod
    def from_texts(cls, texts: Iterable[str]) -> RestaurantNames:
        """Return texts as arrays."""
        encoded = [text.encode() for text in texts]
        lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
        return cls(np.frombuffer(b"".join(encoded), np.uint8), np.cumsum(lengths))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> RestaurantNames:
        """Return the names that `arrays()` came from, without a copy."""
        if NAME_ENDS not in arrays:
            return NO_NAMES
        return cls(arrays[NAME_BYTES].view(np.uint8), arrays[NAME_ENDS].view(np.int64))

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the arrays by name, for a bundle. Without names, there are none."""
        return {NAME_BYTES: self.utf8, NAME_ENDS: self.ends} if len(self) else {}

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, position: int) -> str:
        return self._text_bytes(position).decode()

    def texts(self) -> list[str]:
        """Return all texts."""
        return [self[position] for position in range(len(self))]

    def select(self, positions: NDArray[np.intp]) -> RestaurantNames:
        """Return the texts at these positions."""
        return RestaurantNames.from_texts(self[position] for position in positions.tolist()) if len(self) else self

    def _text_bytes(self, position: int) -> bytes:
        start = self._end_view[position - 1] if position else 0
        return bytes(self._byte_view[start : self._end_view[position]])

    @cached_property
    def _byte_view(self) -> memoryview:
        return self.utf8.data

    @cached_property
    def _end_view(self) -> memoryview:
        return self.ends.data

    def invalid_ends(self, expected_count: int) -> NDArray[np.bool_]:
        """Return [M] which ends aren't above the previous one, aren't in `utf8`, or belong to no restaurant.

        The last end must be the end of `utf8`. `expected_count` is the number of restaurants with a negative key.
        """
        starts = np.concatenate([np.zeros(min(len(self), 1), np.int64), self.ends[:-1]])
        is_invalid: NDArray[np.bool_] = (self.ends <= starts) | (self.ends > len(self.utf8))
        is_invalid |= np.arange(len(self)) >= expected_count
        if len(self):
            is_invalid[-1] |= self.ends[-1] != len(self.utf8)
        return is_invalid

    def invalid_texts(self, keys: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return [M] which texts aren't those of valid identifiers with these keys. The ends must be valid."""
        pairs = zip(range(len(self)), keys.tolist(), strict=True)
        return np.fromiter((not self._has_key(position, key) for position, key in pairs), np.bool_, len(self))

    def _has_key(self, position: int, key: int) -> bool:
        try:
            text = self[position]
        except UnicodeDecodeError:
            return False
        return 0 < len(text) <= MAX_ID_CHARACTERS and restaurant_key(text) == key and restaurant_id_text(text) == text


NO_NAMES = RestaurantNames(np.empty(0, np.uint8), np.empty(0, np.int64))
"""The names of restaurants whose identifiers are all integers."""
