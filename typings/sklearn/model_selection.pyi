import numpy as np
from numpy.typing import ArrayLike, NDArray

from preptime.models.model import Estimator

def cross_val_score(estimator: Estimator, X: ArrayLike, y: ArrayLike, *, cv: int) -> NDArray[np.float64]: ...
def train_test_split(array: NDArray[np.intp], *, random_state: int) -> list[NDArray[np.intp]]: ...
