"""Training: from audited orders to a promoted bundle, and the backtest.

The result for a date D depends only on D and the data. Nothing here reads a clock or uses an event after the as-of
date (decisions 5 and 8).
"""
