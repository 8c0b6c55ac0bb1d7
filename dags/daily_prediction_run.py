"""At 07:00, score the orders of this local date with the current champion.

The run succeeds and reports the reason if there is no champion yet, or if there are no orders. If today's training
failed, yesterday's champion predicts.
"""

from __future__ import annotations

from preptime_operators import AS_OF_DATE, daily_dag, preptime_task

# Airflow parses a file only if it contains the words "airflow" and "dag".
with daily_dag("daily_prediction_run", 7, __doc__) as dag:
    preptime_task("score", "score", "--date", AS_OF_DATE, minutes=60, spark_command="score")
