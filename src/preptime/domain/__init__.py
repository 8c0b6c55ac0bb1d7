"""Definitions that every other folder shares: columns, orders and predictions, validation reasons, and time.

Nothing here reads or writes data, and nothing here imports another folder of the package except `preptime.errors`.
"""
