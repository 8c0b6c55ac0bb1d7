"""Runs and model versions in MLflow, if `MLFLOW_TRACKING_URI` is set (docs/mlflow.md).

`runs.tracked_run` surrounds a command, and `champion.follow_champion` follows a promotion. MLflow is imported only in
`server`, and only with the setting. A problem of the tracking server never changes the result of a command.
"""
