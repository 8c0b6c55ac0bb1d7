"""A proposed schema while it's inferred: its lines, the columns without a role, and open questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from preptime.schema.column_contents import ColumnContents, possible_marks, read_contents
from preptime.schema.synonyms import CODE_WORDS, ID_WORDS, ORDER_SYNONYMS, name_rank, name_words
from preptime.schema.toml_text import ProposedLine, TomlValue, proposal_to_toml

MAX_CODES = 50
"""Whole numbers with at most this many different values are codes, if their name says so."""
_RESTAURANT_NAMES = frozenset(map(name_words, ORDER_SYNONYMS["restaurant_id"]))


@dataclass(frozen=True, slots=True)
class Question:
    """What the data doesn't decide."""

    name: str
    """The key of its answer."""
    text: str
    choices: tuple[tuple[str, str], ...] = ()
    """(Answer, meaning). Empty: the answer is an IANA time zone."""
    is_required: bool = True
    """Whether the schema can't be used without the answer."""


@dataclass
class Proposal:
    """A proposed schema: lines with comments, unused columns with reasons, and open questions."""

    lines: list[ProposedLine] = field(default_factory=list)
    unused: dict[str, str] = field(default_factory=dict)
    questions: list[Question] = field(default_factory=list)

    @property
    def open_lines(self) -> list[ProposedLine]:
        """The lines with several readings."""
        return [line for line in self.lines if line.is_open]

    @property
    def is_usable(self) -> bool:
        """Whether no required line is open."""
        return not any(line.is_required for line in self.open_lines)

    def to_toml(self, title: str) -> str:
        """Return the schema as TOML. Open lines are commented out."""
        return proposal_to_toml(self.lines, title, self.unused)


class Inference:
    """The columns of a sample, the roles that they already have, and the proposal so far."""

    def __init__(
        self, orders: pl.DataFrame, restaurants: pl.DataFrame | None, answers: Mapping[str, str], time_zone: str
    ) -> None:
        self.answers = answers
        self.time_zone = time_zone or answers.get("time_zone", "")
        """The zone of restaurants without one of their own, if it's known."""
        self.possible_marks = possible_marks(orders)
        known_marks = [marks for marks in self.possible_marks if marks.decimal == answers.get("decimal")]
        self.marks = (known_marks or self.possible_marks)[0]
        self.contents = read_contents(orders, self.marks)
        self.restaurant_contents = None if restaurants is None else read_contents(restaurants, self.marks)
        """None if there is no restaurants file."""
        self.zones: pl.Series | None = None
        """The time zone of each order, once it's known."""
        self.roles: dict[str, str] = {}
        """The canonical name of each column of orders that has one."""
        self.proposal = Proposal()

    def best(self, synonyms: Sequence[str], candidates: Mapping[str, ColumnContents]) -> str | None:
        """Return the column without a role whose name agrees best with the synonyms."""
        return best_name(synonyms, [name for name in candidates if name not in self.roles])

    def numeric(self) -> dict[str, ColumnContents]:
        """Return the columns of orders that contain positive numbers and no times."""
        return {name: column for name, column in self.contents.items() if column.median > 0 and not is_time(column)}

    def timed(self) -> dict[str, ColumnContents]:
        """Return the columns of orders that contain times."""
        return {name: column for name, column in self.contents.items() if is_time(column)}

    def add(
        self, section: str, key: str, readings: Sequence[TomlValue], comment: str, *, is_required: bool = True
    ) -> None:
        """Add a line with one or several readings."""
        self.proposal.lines.append(ProposedLine(section, key, tuple(readings), comment, is_required))

    def add_candidates(self, key: str, columns: Sequence[str], comment: str) -> None:
        """Add an open line to `[orders]`, with columns whose names don't say that they have this role."""
        self.proposal.lines.append(ProposedLine("orders", key, tuple(columns), comment, is_confirmed=False))

    def ask(self, question: Question) -> str | None:
        """Return the answer to a question, or None after adding the question to the proposal."""
        answer = self.answers.get(question.name)
        if answer is None and all(asked.name != question.name for asked in self.proposal.questions):
            self.proposal.questions.append(question)
        return answer


def has_codes(column: ColumnContents) -> bool:
    """Return whether a column contains whole numbers that are codes or identifiers, by its name."""
    words = name_words(column.name)
    is_code = bool(CODE_WORDS & {*words}) and column.distinct <= MAX_CODES
    return column.is_whole and (is_code or bool(ID_WORDS & {*words[-1:]}))


def is_time(column: ColumnContents) -> bool:
    """Return whether a column contains times: in text, or as epochs. Long identifiers can have the size of epochs."""
    if not column.times or column.numbers is None:
        return bool(column.times)
    return not has_codes(column) and name_words(column.name) not in _RESTAURANT_NAMES


def best_name(synonyms: Sequence[str], names: Sequence[str]) -> str | None:
    """Return the name that agrees best with the synonyms, or None if none agrees."""
    ranks = {name: rank for name in names if (rank := name_rank(name, tuple(synonyms))) is not None}
    return min(ranks, key=lambda name: ranks[name], default=None)
