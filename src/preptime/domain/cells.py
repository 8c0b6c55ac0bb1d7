"""The meaning of one cell, shared by the parsers of one order (`api`) and of columns (`validation`).

Defines missing values, formats of numbers, exact whole numbers, and the names and codes of categories.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from preptime.domain.orders import UNKNOWN_CODE
from preptime.domain.timestamps import WHITESPACE

MISSING_TOKENS = frozenset({"", "na", "n/a", "nan", "null", "none", "<na>", "nat"})
"""Texts that mean a missing value, in lower case and without whitespace around them."""
MAX_MISSING_LENGTH = 8
"""A longer text isn't missing, whatever its whitespace: parsers skip the comparison for most cells."""
MAX_CATEGORY_CHARACTERS = 200
"""A longer custom category is cut."""
_MAX_CODE_DIGITS = 10
MAX_EXACT_FLOAT = 2.0**53
"""The largest magnitude at which a 64-bit float still distinguishes whole numbers."""
WHOLE_FLOAT_PATTERN = r"^-?(?:0|[1-9][0-9]{0,15})\.0$"
"""A whole number as pandas writes it in a column of floats."""
OTHER_SPELLING_PATTERN = rf"{WHOLE_FLOAT_PATTERN}|^(?:True|TRUE|False|FALSE)$"
"""The texts that `category_name` changes: pandas writes `1.0` and `True`, and spreadsheets write `TRUE`."""
_OTHER_SPELLING = re.compile(OTHER_SPELLING_PATTERN)


THOUSANDS_MARKS = ("", ",", ".", " ", "'")
"""The marks between groups of three digits. A space also means a no-break space, and `'` also means `’`."""


@dataclass(frozen=True, slots=True)
class NumberFormat:
    """How a company writes the numbers of a column.

    The marks and the currency apply to text. The factors apply to every value: a value means
    `value * multiplier / divisor` in the unit of the data dictionary.
    """

    decimal: str = "."
    """The decimal mark: a point or a comma."""
    thousands: str = ""
    """One of `THOUSANDS_MARKS`, or an empty string if groups have no mark."""
    currency: str = ""
    """ISO 4217 code, such as `GBP`. A text can have the currency's sign or code before or after the number."""
    multiplier: int = 1
    divisor: int = 1

    @property
    def has_marks(self) -> bool:
        """Whether text can differ from a plain number."""
        return self.decimal != "." or bool(self.thousands or self.currency)

    @property
    def is_scaled(self) -> bool:
        """Whether values are converted to another unit."""
        return self.multiplier != self.divisor


PLAIN_NUMBERS = NumberFormat()
"""Numbers with a decimal point, in the unit of the data dictionary."""

# Currency symbols of Unicode CLDR in all languages (Babel 2.18), without Arabic script, and common abbreviations.
_CURRENCY_SIGNS = {
    "AED": "Dh|Dhs",
    "AMD": "֏",
    "ARS": "$|$AR",
    "AUD": "$|A$|AU$",
    "AZN": "₼",
    "BDT": "৳",
    "BGN": "лв.|лв",
    "BRL": "R$|BR$",
    "BWP": "P",
    "CAD": "$|C$|CA$",
    "CHF": "Fr.|Fr",
    "CLP": "$|$CL",
    "CNY": "¥|CN¥|元|￥",
    "COP": "$|$CO",
    "CRC": "₡",
    "CZK": "Kč",
    "DKK": "kr|kr.|Dkr",
    "EGP": "£|E£|EG£",
    "EUR": "€",
    "GBP": "£|GB£|UK£",
    "GEL": "₾",
    "GHS": "₵|GH₵",
    "HKD": "$|HK$",
    "HUF": "Ft",
    "IDR": "Rp",
    "ILS": "₪|NIS",
    "INR": "₹|Rs|Rs.",
    "ISK": "kr|kr.|Ikr",
    "JPY": "¥|JP¥|￥|円",
    "KES": "KSh|Ksh",
    "KRW": "₩|￦|원",
    "KZT": "₸",
    "LKR": "Rs|Rs.",
    "MXN": "$|MX$",
    "MYR": "RM",
    "NAD": "$|N$",
    "NGN": "₦",
    "NOK": "kr|kr.|Nkr",
    "NPR": "Rs|Rs.",
    "NZD": "$|NZ$",
    "PEN": "S/",
    "PHP": "₱",
    "PKR": "Rs|Rs.",
    "PLN": "zł",
    "PYG": "₲|Gs.",
    "RON": "lei",
    "RSD": "din.|din|дин.",
    "RUB": "₽|руб.|руб",
    "SEK": "kr|kr.|Skr",
    "SGD": "$|S$",
    "THB": "฿",
    "TND": "DT",
    "TRY": "₺|TL",
    "TWD": "$|NT$",
    "TZS": "TSh",
    "UAH": "₴|грн",
    "UGX": "USh",
    "USD": "$|US$",
    "UYU": "$|$U",
    "VND": "₫|đ",
    "ZAR": "R",
}
_SPACES = " \u00a0\u202f"
_SIMILAR_MARKS = {" ": _SPACES, "'": "'’"}


@lru_cache(maxsize=64)
def number_pattern(number_format: NumberFormat) -> str:
    """Return the regular expression, for Python and for Polars, of a number in text with the marks of a format.

    Groups: sign before the currency, sign after it, digits and marks, exponent.
    """
    space, decimal, groups = f"[{_SPACES}]?", re.escape(number_format.decimal), ""
    if marks := group_marks(number_format):
        groups = f"[0-9]{{1,3}}(?:[{re.escape(marks)}][0-9]{{3}})+|"
    number = f"(?:{groups}[0-9]+)(?:{decimal}[0-9]*)?|{decimal}[0-9]+|[iI][nN][fF](?:[iI][nN][iI][tT][yY])?"
    names = _currency_names(number_format.currency)
    before, after = (f"(?:{names}{space})?", f"(?:{space}{names})?") if names else ("", "")
    return f"^([+-]?){before}([+-]?)({number})((?:[eE][+-]?[0-9]+)?){after}$"


def group_marks(number_format: NumberFormat) -> str:
    """Return the characters that can be between groups of digits."""
    return _SIMILAR_MARKS.get(number_format.thousands, number_format.thousands)


def plain_text_reader(number_format: NumberFormat) -> Callable[[str], str | None]:
    """Return a function that returns a number in text without currency and with a decimal point.

    It returns None for text that isn't in the format.

    Example:
        >>> plain_text_reader(NumberFormat(decimal=",", thousands=".", currency="EUR"))("€ 1.234,50")
        '1234.50'
    """
    match_number, marks = re.compile(number_pattern(number_format)).match, group_marks(number_format)
    decimal = number_format.decimal

    def read(text: str) -> str | None:
        match = match_number(text)
        if match is None:
            return None
        sign, inner_sign, digits, exponent = match.groups()
        for mark in marks:
            digits = digits.replace(mark, "")
        return f"{sign}{inner_sign}{digits.replace(decimal, '.')}{exponent}"

    return read


def _currency_names(currency: str) -> str:
    """Return the expression for the signs and the code of a currency. Longer ones come first."""
    if not currency:
        return ""
    names = {currency, *_CURRENCY_SIGNS.get(currency, currency).split("|")}
    return f"(?:{'|'.join(map(re.escape, sorted(names, key=lambda name: (-len(name), name))))})"


def category_name(text: str) -> str:
    """Return the value of a custom category in a text. All spellings of a whole number and of a Boolean are one value.

    Example:
        >>> category_name("1.0"), category_name("True"), category_name("1.5"), category_name("v2.0")
        ('1', 'true', '1.5', 'v2.0')
    """
    return text.removesuffix(".0").lower() if _OTHER_SPELLING.fullmatch(text) else text


def category_codes(vocabulary: Sequence[str]) -> dict[str, int]:
    """Return the codes of a custom category by value and by spelling: an older bundle can have `True`, not `true`.

    Example:
        >>> category_codes(("False", "True"))
        {'false': 0, 'true': 1, 'False': 0, 'True': 1}
    """
    codes = {category_name(spelling): code for code, spelling in enumerate(vocabulary)}
    return codes | {spelling: code for code, spelling in enumerate(vocabulary)}


def parse_category_text(text: str, codes_by_name: Mapping[str, int]) -> int:
    """Return the code of a category given by name or as a code in text, or `UNKNOWN_CODE`."""
    name = text.strip(WHITESPACE)
    if name in codes_by_name:
        return codes_by_name[name]
    digits = name.removesuffix(".0")  # pandas writes 3 as 3.0 in a column with empty cells
    is_number = digits.isascii() and digits.isdigit() and len(digits) < _MAX_CODE_DIGITS
    return parse_category_number(int(digits), codes_by_name) if is_number else UNKNOWN_CODE


def parse_category_number(number: int, codes_by_name: Mapping[str, int]) -> int:
    """Return the code of a category given as a number: a name such as `1326`, or else a code.

    If names are numbers, a number that isn't one of them isn't a code: market 0 isn't the first market.

    Example:
        >>> parse_category_number(1, {"1": 0, "2": 1}), parse_category_number(1, {"pizza": 0, "thai": 1})
        (0, 1)
    """
    code = codes_by_name.get(str(number))
    if code is not None:
        return code
    # Vocabularies are sorted, so a name that is a number is usually the first. Reading all names would take too long.
    is_code = 0 <= number < len(codes_by_name) and not next(iter(codes_by_name)).isdigit()
    return number if is_code else UNKNOWN_CODE
