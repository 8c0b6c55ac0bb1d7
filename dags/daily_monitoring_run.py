"""At 09:00, compare yesterday's outcomes with the predictions, then respond to alerts.

An alert makes the run fail with its reason, without a retry. The response runs in any case.
"""

from __future__ import annotations

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import TriggerRule
from preptime_operators import AS_OF_DATE, daily_dag, preptime_task

with daily_dag("daily_monitoring_run", 9, __doc__) as dag:
    monitor = preptime_task("monitor", "monitor", "--date", AS_OF_DATE, minutes=30, no_retry_on_refusal=True)
    respond = preptime_task("respond", "respond", "--date", AS_OF_DATE, minutes=60, trigger_rule=TriggerRule.ALL_DONE)
    # Airflow takes the state of a run from its last tasks. Without this task, a run with an alert would succeed.
    no_alerts = EmptyOperator(task_id="no_alerts")
    monitor >> [respond, no_alerts]
