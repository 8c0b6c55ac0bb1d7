from collections.abc import Sequence

class ColSpec:
    def __init__(self, type: str, name: str) -> None: ...

class Schema:
    def __init__(self, inputs: Sequence[ColSpec]) -> None: ...
