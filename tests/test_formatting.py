"""Text for messages."""

from __future__ import annotations

import pytest

from preptime.formatting import join_names


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("a", "a"),
        ("abcde", "a, b, c, d, e"),
        ("abcdef", "a, b, c, d, e and 1 other"),
        ("abcdefg", "a, b, c, d, e and 2 others"),
    ],
)
def test_join_names_says_how_many_more(names: str, expected: str) -> None:
    assert join_names(list(names)) == expected
