class RequestInput:
    name: str

class ResponseOutput:
    name: str

class InferenceRequest:
    inputs: list[RequestInput]

class InferenceResponse:
    def __init__(self, *, model_name: str, model_version: str | None, outputs: list[ResponseOutput]) -> None: ...
