"""The command line: reads options, calls the layers below, prints what they say. Nothing is decided here (D9).

Exit status: 0 fine (a lost comparison included), 1 the data was refused or an alert fired, 2 wrong use, 3 a fault.
"""

from preptime.cli.app import main

__all__ = ["main"]
