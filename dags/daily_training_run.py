"""At 05:00, train on the data as of this date, compare with the champion, promote or refresh, then prune.

If the new bundle loses the comparison, the run succeeds and reports it. If the data is incomplete, training refuses it
and Airflow retries while there is time. If Spark selects the orders, each retry first selects them again.
"""

from __future__ import annotations

import os

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import TriggerRule
from preptime_operators import (
    AS_OF_DATE,
    CORPUS_MINUTES,
    corpus_address,
    daily_dag,
    preptime_task,
    select_orders_again,
)

KEEP_BUNDLES = os.environ.get("PREPTIME_KEEP_BUNDLES") or "100"
"""Monitoring reads 42 days. A day whose challenger loses adds two bundles, the challenger and the refreshed champion:
84 in total. The others are for manual trainings and `respond`. At about 20 MB each, 100 bundles take 2 GB."""
KEEP_DAYS = os.environ.get("PREPTIME_KEEP_DAYS") or "400"
"""A year and a month, so that you can compare a day with the same day of the previous year."""

DEMO_FOLDER = os.environ.get("PREPTIME_DEMO_ORDERS")
"""If set, the run first writes synthetic orders.csv and restaurants.csv to this folder, for a demo without data."""
CORPUS = corpus_address()
"""If set, Spark first selects the orders of the training and writes them to this address."""

with daily_dag("daily_training_run", 5, __doc__) as dag:
    orders_option = ("--corpus", CORPUS) if CORPUS else ()
    before_train = select_orders_again if CORPUS else None
    train = preptime_task("train", "train", *orders_option, "--date", AS_OF_DATE, minutes=60, pre_execute=before_train)
    # Pruning runs even if training failed: a full disk may be the cause.
    bundles = preptime_task(
        "prune_bundles", "bundles", "prune", "--keep", KEEP_BUNDLES, minutes=15, trigger_rule=TriggerRule.ALL_DONE
    )
    results = preptime_task(
        "prune_results", "results", "prune", "--days", KEEP_DAYS, minutes=15, trigger_rule=TriggerRule.ALL_DONE
    )
    # Airflow takes the state of a run from its last tasks. Without this task, the run would succeed without a training.
    trained = EmptyOperator(task_id="trained")
    train >> [trained, bundles]
    bundles >> results
    if CORPUS:
        preptime_task("corpus", "spark", "corpus", minutes=CORPUS_MINUTES, spark_command="corpus") >> train
    if DEMO_FOLDER:
        # All days of a month use the same orders, which start with the month before.
        orders = ("--orders", "30000", "--days", "62", "--start", "{{ month_before(logical_date | default(none)) }}")
        preptime_task("synthesize", "synthesize", "--out", DEMO_FOLDER, *orders, minutes=15) >> train
