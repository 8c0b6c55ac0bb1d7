"""From audited orders to a promoted bundle: corpus, mornings, fit, calibration, backtest, comparison, refresh.

What happens on a date D is a function of D and the source: no clock is read here, and nothing that was not known on
that morning is looked at (D5, D8).
"""
