"""09:00, when yesterday's outcomes are in: how the answers did, and what follows from it.

An alert is a red run that names its reason, without a second try; what the rules say to do about it is done all the
same.
"""

from __future__ import annotations

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import TriggerRule
from preptime_operators import AS_OF_DATE, daily_dag, preptime_task

with daily_dag("daily_monitoring_run", 9, __doc__) as dag:
    monitor = preptime_task("monitor", "monitor", "--date", AS_OF_DATE, minutes=30, no_retry_on_refusal=True)
    respond = preptime_task("respond", "respond", "--date", AS_OF_DATE, minutes=60, trigger_rule=TriggerRule.ALL_DONE)
    # A run is as good as its last tasks: without this one an alert would end in a green run.
    quiet = EmptyOperator(task_id="quiet")
    monitor >> [respond, quiet]
