"""Checks of the environment: what is wrong with it, and how to fix it.

Rule: a check changes nothing. It writes no file, and fetches no bundle that serving wouldn't fetch. It returns results,
and raises nothing that it can report as a result.
"""
