from collections.abc import Sequence

class FloatTensorType:
    def __init__(self, shape: Sequence[int | None]) -> None: ...
