from io import BytesIO

from fsspec.spec import AbstractFileSystem

class MemoryFile(BytesIO):
    def __init__(self, fs: MemoryFileSystem, path: str, data: bytes) -> None: ...

class MemoryFileSystem(AbstractFileSystem):
    def __init__(self) -> None: ...
    store: dict[str, MemoryFile]
