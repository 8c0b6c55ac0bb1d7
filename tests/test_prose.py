"""The style of everything that a reader sees: standard terms (docs/glossary.md) and short sentences."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.test_project import tracked_files

ROOT = Path(__file__).resolve().parent.parent

BANNED = {
    r"told|tell(s)? of": "report, state, or name the value",
    r"somebody|nobody|whoever|anybody|everybody": "a user, a client, no one process: name who it is",
    r"likewise|anew|beforehand|thereof|hitherto|wherefore|whereof|therein": "also, again, before, of it",
    r"beside": "next to, compared with, or in addition to",
    r"in hand": "concurrent, waiting, or in progress",
    r"verbs?": "command",
    r"strangers?": "unknown restaurant, or a new user",
    r"mornings?": "as-of date, or as of D",
    r"verdicts?": "validation reason, summary, or headline",
    r"mend(s|ed|ing)?": "fix or repair",
    r"faults?": "error or failure",
    r"(?<!there )(is|are|was|were) no(?! longer| more| less| such)": "isn't a, or there's no",
    r"stands? (in|on|behind|beside|for|by)": "is in, is based on, or means",
    r"looked at|a look|takes? a look": "read, examine, or open",
    r"at once": "immediately, or at the same time",
    r"for ever": "permanently",
    r"is had|are had|had again": "is available, or obtain",
    r"what is told|what is said|said once": "the prediction, or defined once",
    r"goes with it|as it stands": "is deleted with it, or unchanged",
    r"nought|ought": "should",
    r"doors?": "login, endpoint, or script",
}
"""Words and idioms that earlier texts used in a private meaning, and what to write instead."""

ALLOWED = {
    "docs/glossary.md": {"verdict"},
    "tests/test_prose.py": None,
    "CHANGELOG.md": {"fault"},
    ".github/workflows": {"fault"},
}
"""Path prefix to words that it may use, or None for all: pages that quote an old name to explain its replacement."""

NAME_PARTS = frozenset(
    [
        "told",
        "looked",
        "looks",
        "verb",
        "verbs",
        "morning",
        "mornings",
        "stranger",
        "strangers",
        "desk",
        "door",
        "doors",
        "sheet",
        "sheets",
        "making",
        "turns",
        "shifts",
        "trails",
        "promise",
        "pictured",
        "carried",
        "anew",
        "likewise",
        "nobody",
        "somebody",
        "whoever",
        "verdict",
        "verdicts",
        "beside",
        "mend",
    ]
)
"""Parts of names (between underscores) that no module, test, class, or function has."""

MAX_SENTENCE_WORDS = 30
LONG_SENTENCES: dict[str, str] = {}
"""Start of a longer sentence to the reason why it can't be split."""

CODE = (".py",)
COMMENTED = (".yaml", ".yml", ".tf", ".sh", ".toml", ".conf", ".example")


def _is_allowed(path: str, word: str) -> bool:
    for prefix, words in ALLOWED.items():
        if path.startswith(prefix) and (words is None or word.lower() in words):
            return True
    return False


def _python_texts(path: Path) -> Iterator[tuple[int, str]]:
    """Docstrings, messages (text of two words or more), and comments, with their lines."""
    source = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value.strip():
            yield node.lineno, node.value
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


@cache
def _texts(path: Path) -> tuple[tuple[int, str], ...]:
    """Everything that a reader of the file sees as prose, with its lines, without code in backticks."""
    return tuple((line, re.sub(r"`[^`]*`", "", text)) for line, text in _iter_texts(path))


def _iter_texts(path: Path) -> Iterator[tuple[int, str]]:
    if path.suffix in CODE:
        yield from _python_texts(path)
    elif path.suffix == ".md":
        yield from enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
    elif path.suffix in COMMENTED or path.name in {"Dockerfile", "Makefile", "run"}:
        for line, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if "#" in text:
                yield line, text.partition("#")[2]


def _names(path: Path) -> Iterator[tuple[int, str]]:
    yield 1, path.stem
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name


def _sentences(page: Path) -> Iterator[str]:
    """Sentences of paragraphs and list items. Code blocks, tables, and headings have none."""
    text = re.sub(r"```.*?```|<!--.*?-->", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    blocks = re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )", text)
    for block in blocks:
        lines = [line for line in block.splitlines() if not line.lstrip().startswith(("|", "#", "    ", "!["))]
        paragraph = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", " ".join(lines))
        yield from re.split(r"(?<=[.!?:])[\"')*]*\s+", paragraph)


@cache
def prose_files() -> list[Path]:
    """Tracked files, without fixtures and type stubs."""
    return [path for path in tracked_files() if "releases" not in path.parts and "typings" not in path.parts]


@pytest.mark.parametrize("pattern", BANNED)
def test_prose_has_no_banned_word(pattern: str) -> None:
    expression = re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE)
    violations = [
        f"{path.relative_to(ROOT)}:{line}: {match.group(0)!r}: write {BANNED[pattern]}"
        for path in prose_files()
        for line, text in _texts(path)
        for match in expression.finditer(text)
        if not _is_allowed(str(path.relative_to(ROOT)), match.group(0))
    ]
    assert not violations, "\n".join(violations)


def test_names_have_no_banned_part() -> None:
    violations = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in prose_files()
        if path.suffix == ".py" and path.name != "test_prose.py"
        for line, name in _names(path)
        if NAME_PARTS & set(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().split("_"))
    ]
    assert not violations, "\n".join(violations)


def test_test_names_have_at_most_60_characters() -> None:
    violations = [
        f"{path.relative_to(ROOT)}:{line}: {name} ({len(name)})"
        for path in prose_files()
        if path.suffix == ".py" and "tests" in path.parts
        for line, name in _names(path)
        if name.startswith("test_") and len(name) > 60
    ]
    assert not violations, "\n".join(violations)


def test_docs_have_short_sentences() -> None:
    violations = [
        f"{page.relative_to(ROOT)}: {len(words)} words: {sentence[:90]}"
        for page in prose_files()
        if page.suffix == ".md"
        for sentence in _sentences(page)
        if len(words := sentence.split()) > MAX_SENTENCE_WORDS and not sentence.startswith(tuple(LONG_SENTENCES))
    ]
    assert not violations, "\n".join(violations)


def test_exceptions_are_used() -> None:
    """An exception that no page needs is removed."""
    sentences = [sentence for page in prose_files() if page.suffix == ".md" for sentence in _sentences(page)]
    assert [start for start in LONG_SENTENCES if not any(sentence.startswith(start) for sentence in sentences)] == []
