from typing import Any

from mlserver.types import RequestInput, ResponseOutput
from numpy.typing import NDArray

class NumpyCodec:
    @classmethod
    def decode_input(cls, request_input: RequestInput) -> NDArray[Any]: ...
    @classmethod
    def encode_output(cls, name: str, payload: NDArray[Any]) -> ResponseOutput: ...

class StringCodec:
    @classmethod
    def decode_input(cls, request_input: RequestInput) -> list[str]: ...
