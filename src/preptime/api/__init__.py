"""The online API: translates HTTP to calls of the pure functions in `predict`, and decides nothing itself (D9).

Modules that handle a prediction import `errors`, `domain`, `features`, and `bundle`, but no training library (D3). Only
`app` imports Flask, and predictions are handled before Flask's router.
"""
