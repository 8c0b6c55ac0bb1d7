"""What others read from the same `.env`: the DAGs, and Compose. Told here so that `.env.example` documents it."""

from __future__ import annotations

DAG_SETTINGS: dict[str, tuple[str, str]] = {
    "PREPTIME_RUNNER": ("command: tasks call a command; kubernetes: each is a pod.", "command"),
    "PREPTIME_COMMAND": ("With command: what is called, from the folder above dags/.", ".venv/bin/preptime"),
    "PREPTIME_IMAGE": ("With kubernetes: the pods' image, whose entry point is preptime.", ""),
    "PREPTIME_POD_TEMPLATE": ("With kubernetes: a file that says all else of a pod.", ""),
    "PREPTIME_TIME_ZONE": ("Whose 05:00 it is.", "UTC"),
    "PREPTIME_KEEP_BUNDLES": ("How many of the newest bundles are kept.", "100"),
    "PREPTIME_KEEP_DAYS": ("How many of the newest days with results are kept.", "400"),
    "PREPTIME_DEMO_ORDERS": ("For a demonstration: a folder whose orders and restaurants are synthesized first.", ""),
}
"""Name, meaning and default (docs/daily-run.md)."""

COMPOSE_SETTINGS: dict[str, tuple[str, str]] = {
    "IMAGE_TAG": ("Tag of preptime's images.", "local"),
    "ENV_FILE": ("The file of settings that the containers get.", ".env"),
    "ORDERS_FOLDER": ("Folder on this machine that holds orders and restaurants.", "orders"),
    "COMPOSE_ORDERS": ("Orders as the containers see them: a path or a URL.", "/data/orders/orders.csv"),
    "COMPOSE_RESTAURANTS": ("Restaurants, likewise.", "/data/orders/restaurants.csv"),
    "COMPOSE_STORE": ("The store as the containers see it.", "/data/models"),
    "AIRFLOW_PORT": ("Airflow's port on this machine's loopback.", "8080"),
    "_AIRFLOW_WWW_USER_USERNAME": ("Who signs in to Airflow.", "airflow"),
    "_AIRFLOW_WWW_USER_PASSWORD": ("Their password. `make up` makes it.", ""),
    "AIRFLOW_FERNET_KEY": ("Airflow's key for what it stores. `make up` makes it.", ""),
    "AIRFLOW_SECRET": ("Airflow's secret for sessions. `make up` makes it.", ""),
    "POSTGRES_PASSWORD": ("The database's password. `make up` makes it.", ""),
    "POSTGRES_IMAGE": ("The database's image. It stands in deploy/docker/pins.env.", ""),
}
"""Name, meaning and default (docs/deploy-docker.md); it reads some of preptime's own settings too."""

EXTERNAL_SECTIONS = {"Read by the DAGs": DAG_SETTINGS, "Read by Compose": COMPOSE_SETTINGS}
