from mlflow.models import ModelSignature

class PythonModel: ...

def save_model(
    path: str,
    *,
    python_model: PythonModel,
    signature: ModelSignature | None = ...,
    pip_requirements: list[str] = ...,
) -> None: ...
