"""The command line: each command reads options, calls the layers below, and prints the result. It decides nothing."""

from preptime.cli.app import main

__all__ = ["main"]
