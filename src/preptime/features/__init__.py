"""What a model reads: `feature_matrix(orders, history)` and the history behind it.

The one implementation, for training, backtest, batch and online (D1). NumPy alone; nothing here reads a file, a clock
or a label that was not known on the morning of the history's date.
"""
