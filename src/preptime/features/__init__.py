"""The feature function and the history that it reads.

Rule: `feature_matrix(orders, history)` is the one implementation for training, backtest, batch, and online predictions
(decision 1). Modules here import NumPy only. They read no file, no clock, and no label that wasn't known as of the
history's date.
"""
