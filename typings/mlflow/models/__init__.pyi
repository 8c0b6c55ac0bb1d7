from mlflow.types import Schema

class ModelSignature:
    def __init__(self, inputs: Schema, outputs: Schema | None = ...) -> None: ...
