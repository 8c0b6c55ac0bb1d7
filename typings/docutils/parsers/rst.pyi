from collections.abc import Sequence
from typing import ClassVar

from docutils.nodes import Node

class Reporter:
    def warning(self, message: str, *, line: int) -> Node: ...

class Document:
    reporter: Reporter

class State:
    document: Document

class Directive:
    has_content: ClassVar[bool]
    optional_arguments: ClassVar[int]
    arguments: list[str]
    content: Sequence[str]
    lineno: int
    state: State

    def run(self) -> list[Node]: ...
