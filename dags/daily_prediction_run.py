"""07:00: the orders of this local date, predicted by the champion of this morning.

No champion yet, no orders, or a training that failed (then yesterday's champion answers) are green runs that say so.
"""

from __future__ import annotations

from preptime_operators import AS_OF_DATE, daily_dag, preptime_task

# Airflow reads a file only if this word and "dag" are in it.
with daily_dag("daily_prediction_run", 7, __doc__) as dag:
    preptime_task("score", "score", "--date", AS_OF_DATE, minutes=60)
