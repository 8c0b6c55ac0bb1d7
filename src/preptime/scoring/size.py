"""How much there is to score, for progress."""

from preptime.tables.size import about_rows

__all__ = ["about_rows"]
