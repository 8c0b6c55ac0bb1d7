"""What the tests of monitoring compare with."""

from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

class _TTest(Protocol):
    @property
    def pvalue(self) -> NDArray[np.float64]: ...

class _StudentT:
    def sf(self, x: float, df: float) -> float: ...

class _Normal:
    def sf(self, x: ArrayLike) -> NDArray[np.float64]: ...

t: _StudentT
norm: _Normal

def ttest_ind(a: ArrayLike, b: ArrayLike, *, equal_var: bool) -> _TTest: ...
def entropy(pk: ArrayLike, qk: ArrayLike) -> float: ...
