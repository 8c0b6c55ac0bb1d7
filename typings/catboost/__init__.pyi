from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

class CatBoostError(Exception): ...

class Pool:
    def __init__(self, data: ArrayLike) -> None: ...

class CatBoostRegressor:
    @property
    def n_features_in_(self) -> int: ...
    def __init__(
        self,
        *,
        iterations: int | None = ...,
        learning_rate: float | None = ...,
        depth: int | None = ...,
        rsm: float | None = ...,
        border_count: int | None = ...,
        loss_function: str = ...,
        thread_count: int | None = ...,
        random_seed: int | None = ...,
        allow_writing_files: bool | None = ...,
        allow_const_label: bool | None = ...,
        bootstrap_type: str | None = ...,
        verbose: bool | None = ...,
    ) -> None: ...
    def fit(self, X: ArrayLike, y: ArrayLike) -> Self: ...
    def predict(self, data: ArrayLike, *, thread_count: int = ...) -> NDArray[np.float64]: ...
    def get_tree_leaf_counts(self) -> NDArray[np.uint32]: ...
    def save_model(self, fname: str, format: str = ...) -> None: ...
    def get_feature_importance(
        self, data: Pool | None = ..., type: str = ..., thread_count: int = ...
    ) -> NDArray[np.float64]: ...
