"""07:00: the orders of this local date, predicted by the champion of this morning.

No champion yet, no orders, or a training that failed (then yesterday's champion answers) are green runs that say so.
"""

from __future__ import annotations

from preptime_verbs import DATE, daily, verb

# Airflow reads a file only if this word and "dag" are in it.
with daily("daily_prediction_run", 7, __doc__) as dag:
    verb("score", "score", "--date", DATE, minutes=60)
