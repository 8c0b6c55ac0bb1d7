"""Checks of the input: every row gets its validation reasons, and the data gate decides whether a day can be trained on.

Nothing here reads a file or a database: see `preptime.sources`.
"""
