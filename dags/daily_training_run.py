"""05:00: train on what was known this morning, compare, promote or refresh; then make room.

A lost comparison is a green run that says so. Data that is late is refused, and tried again while there is time.
"""

from __future__ import annotations

import os

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import TriggerRule
from preptime_operators import AS_OF_DATE, daily_dag, preptime_task

KEEP_BUNDLES = os.environ.get("PREPTIME_KEEP_BUNDLES") or "100"
"""Monitoring looks back 42 days, and a morning whose challenger loses makes two bundles, itself and the refresh: 84.
The rest is for what people and `respond` make. At about 20 MB each that is 2 GB."""
KEEP_DAYS = os.environ.get("PREPTIME_KEEP_DAYS") or "400"
"""A year of results and a month more, to compare a day with the same of last year."""

DEMO_FOLDER = os.environ.get("PREPTIME_DEMO_ORDERS")
"""A folder: its orders.csv and restaurants.csv are synthesized first, for a demonstration without orders of its own."""

with daily_dag("daily_training_run", 5, __doc__) as dag:
    train = preptime_task("train", "train", "--date", AS_OF_DATE, minutes=60)
    # Room is made whatever became of the training: it may have failed for want of it.
    bundles = preptime_task(
        "prune_bundles", "bundles", "prune", "--keep", KEEP_BUNDLES, minutes=15, trigger_rule=TriggerRule.ALL_DONE
    )
    results = preptime_task(
        "prune_results", "results", "prune", "--days", KEEP_DAYS, minutes=15, trigger_rule=TriggerRule.ALL_DONE
    )
    # A run is as good as its last tasks: without this one a failed training would end in a green run.
    trained = EmptyOperator(task_id="trained")
    train >> [trained, bundles]
    bundles >> results
    if DEMO_FOLDER:
        # All days of a month are of one table, which begins with the month before.
        orders = ("--orders", "30000", "--days", "62", "--start", "{{ month_before(logical_date | default(none)) }}")
        preptime_task("synthesize", "synthesize", "--out", DEMO_FOLDER, *orders, minutes=15) >> train
