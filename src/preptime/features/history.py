"""What is known each morning (contract; being written)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Vocabularies:
    """The sorted values of the restaurants file; a category's code is its position (the notebook's integer code)."""

    country: tuple[str, ...]
    city: tuple[str, ...]
    type_of_food: tuple[str, ...]
    time_zone: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class History:
    """What is known of each restaurant, city and type of food from orders whose local `order_ready_at` is before D."""

    date: str
    vocabularies: Vocabularies
    restaurant_id: NDArray[np.int64]  # [R], sorted: the directory
    country: NDArray[np.int32]  # [R] codes; likewise the next three
    city: NDArray[np.int32]
    type_of_food: NDArray[np.int32]
    time_zone: NDArray[np.int32]
    rows: NDArray[np.float32]  # [R + (cities+1)*(foods+1), K] finished feature rows: restaurants, then priors
    basis: NDArray[np.int8]  # [R + ...] position in preptime.domain.prediction.BASES

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Everything that is an array, by file name (without .npy)."""
        raise NotImplementedError

    @classmethod
    def from_arrays(cls, date: str, vocabularies: Vocabularies, arrays: Mapping[str, NDArray[np.generic]]) -> History:
        raise NotImplementedError
