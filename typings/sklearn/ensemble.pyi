from collections.abc import Sequence
from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

class RandomForestRegressor:
    n_jobs: int | None
    n_features_in_: int
    feature_importances_: NDArray[np.float64]
    def __init__(
        self,
        n_estimators: int = ...,
        *,
        min_samples_split: int = ...,
        max_features: Literal["log2"] | None = ...,
        max_leaf_nodes: int | None = ...,
        n_jobs: int | None = ...,
        random_state: int | None = ...,
    ) -> None: ...
    def fit(self, X: ArrayLike, y: ArrayLike) -> Self: ...
    def predict(self, X: ArrayLike) -> NDArray[np.float64]: ...

class GradientBoostingRegressor:
    n_features_in_: int
    feature_importances_: NDArray[np.float64]
    def __init__(
        self,
        *,
        learning_rate: float = ...,
        n_estimators: int = ...,
        max_depth: int | None = ...,
        random_state: int | None = ...,
    ) -> None: ...
    def fit(self, X: ArrayLike, y: ArrayLike) -> Self: ...
    def predict(self, X: ArrayLike) -> NDArray[np.float64]: ...

class StackingRegressor:
    def __init__(
        self,
        estimators: Sequence[tuple[str, object]],
        final_estimator: object = ...,
        *,
        cv: int | Literal["prefit"] | None = ...,
        n_jobs: int | None = ...,
    ) -> None: ...
    def fit(self, X: ArrayLike, y: ArrayLike) -> Self: ...
    def predict(self, X: ArrayLike) -> NDArray[np.float64]: ...
