"""One sentence for an explanation: the difference from the average order, and the largest contributions."""

from __future__ import annotations

from collections.abc import Sequence

from preptime.domain.time_units import MINUTES, TimeUnit
from preptime.explanations.explanations import Explanations
from preptime.explanations.groups import ROUNDING

MAX_CONTRIBUTIONS = 3


def explanation_sentences(explanations: Explanations, unit: TimeUnit = MINUTES) -> list[str]:
    """Return `explanation_sentence` for each of N orders."""
    titles = [*(group.title for group in explanations.groups), ROUNDING]
    columns = [*explanations.by_group().values(), explanations.rounding]
    rows = zip(*(column.tolist() for column in columns), strict=True)
    differences = (explanations.p50 - explanations.base).tolist()
    return [
        explanation_sentence(difference, list(zip(titles, row, strict=True)), unit)
        for difference, row in zip(differences, rows, strict=True)
    ]


def explanation_sentence(difference: float, parts: Sequence[tuple[str, float]], unit: TimeUnit = MINUTES) -> str:
    """Return the difference of a p50 from its base value, and the largest contributions, in a unit for people.

    `difference` is in seconds, and `parts` are titles with seconds. Parts that aren't visible in the unit aren't
    listed.

    Example:
        >>> explanation_sentence(720.0, [("the basket", 190.0), ("the restaurant's usual time", 500.0)])
        "12 min longer than the average order: the restaurant's usual time (+8 min), the basket (+3 min)."
    """
    nothing, amount = unit.text(0, 0), unit.text(abs(difference), 0)
    start = "About as long as the average order"
    if amount != nothing:
        start = f"{amount} {'longer' if difference > 0 else 'shorter'} than the average order"
    largest = sorted(parts, key=lambda part: -abs(part[1]))[:MAX_CONTRIBUTIONS]
    listed = [
        f"{title} ({'+' if seconds > 0 else '−'}{unit.text(abs(seconds), 0)})"
        for title, seconds in largest
        if unit.text(abs(seconds), 0) != nothing
    ]
    return f"{start}: {', '.join(listed)}." if listed else f"{start}."
