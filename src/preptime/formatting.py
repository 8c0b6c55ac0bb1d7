"""Text formats that the command line and the dashboard share."""

from __future__ import annotations

import re

_CONTROL_CHARACTERS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that a terminal executes, that change the direction of text, or that no encoder accepts."""
_SURROGATES = re.compile("[\ud800-\udfff]")
_FORBIDDEN_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
"""The characters that XML 1.0 doesn't have (section 2.2), also not as references."""
_BYTE_SURROGATES = range(0xDC80, 0xDD00)
"""What Python decodes the bytes 0x80 to 0xff of a file name to if they aren't UTF-8."""
_MAX_NAMES = 5
_MINUS_SIGN = "\N{MINUS SIGN}"
_HYPHEN_BEFORE_NUMBER = re.compile(r"(?<![^\s(])-(?=\.?\d)")


def format_count(count: int, noun: str) -> str:
    """Return a count with its noun: `1 order`, `2,500 orders`."""
    return f"{count:,} {noun if count == 1 else noun + 's'}"


def with_minus_signs(text: str) -> str:
    """Return text for people, whose negative numbers have a minus sign (−) instead of a hyphen.

    Hyphens of dates, ranges, and names stay. Text of the command line and of documents keeps hyphens, for programs.

    Example:
        >>> with_minus_signs("-12.5 s (-3%) on 2015-06-14")
        '−12.5 s (−3%) on 2015-06-14'
    """
    return _HYPHEN_BEFORE_NUMBER.sub(_MINUS_SIGN, text)


def format_signed(value: float, digits: int) -> str:
    """Return a number for people with its sign. Zero has none.

    Example:
        >>> format_signed(0.254, 2), format_signed(-0.254, 2), format_signed(-0.004, 2)
        ('+0.25', '−0.25', '0.00')
    """
    rounded = round(value, digits) + 0.0
    return with_minus_signs(f"{rounded:{'+' if rounded else ''}.{digits}f}")


def escape_controls(text: str) -> str:
    r"""Return text that is safe to print: control characters, also line feeds, become escapes.

    Example:
        >>> print(escape_controls("red\x1b[31m"))
        red\x1b[31m
    """
    return _CONTROL_CHARACTERS.sub(lambda match: _escape(match[0]), text)


def escape_surrogates(text: str) -> str:
    r"""Return text that every encoder accepts. In a file name, a byte that isn't UTF-8 becomes an escape: `\xff`."""
    return _SURROGATES.sub(lambda match: _escape(match[0]), text)


def escape_forbidden_in_xml(text: str) -> str:
    r"""Return text for an XML document. A character that XML 1.0 doesn't have becomes an escape.

    Example:
        >>> print(escape_forbidden_in_xml("London\x0b"))
        London\x0b
    """
    return _FORBIDDEN_IN_XML.sub(lambda match: _escape(match[0]), text)


def _escape(character: str) -> str:
    code = ord(character)
    if code in _BYTE_SURROGATES:
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def shorten(text: str, limit: int = 60) -> str:
    """Return text of at most `limit` characters for a message. A longer text ends in an ellipsis."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def join_names(names: list[str]) -> str:
    """Return at most `_MAX_NAMES` names, shortened, for a message, and how many more there are.

    Example:
        >>> join_names(["a", "b", "c", "d", "e", "f"])
        'a, b, c, d, e and 1 other'
    """
    shown = ", ".join(map(shorten, names[:_MAX_NAMES]))
    others = len(names) - _MAX_NAMES
    return f"{shown} and {format_count(others, 'other')}" if others > 0 else shown
