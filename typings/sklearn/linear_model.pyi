from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

class Ridge:
    coef_: NDArray[np.float64]
    intercept_: float
    def __init__(self, alpha: float = ...) -> None: ...
    def fit(self, X: ArrayLike, y: ArrayLike) -> Self: ...
    def predict(self, X: ArrayLike) -> NDArray[np.float64]: ...
