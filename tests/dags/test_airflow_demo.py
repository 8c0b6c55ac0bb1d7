"""The synthetic orders that `make airflow` offers, with the real command `preptime check`."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from preptime.env_file import DAG_SETTINGS
from preptime.schema.schema import TAKE_HOME_SCHEMA
from preptime.schema.toml_file import parse_schema
from preptime.settings import Settings
from preptime.synthetic import SynthesisPlan, synthesize_frames
from scripts.airflow_demo import demo_settings, find_reason

LAST_DAY = dt.date(2015, 6, 8)
PLAN = SynthesisPlan(orders=200, restaurants=5, days=8)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The settings for orders from June 1 to 8."""
    folder = tmp_path_factory.mktemp("orders")
    orders, restaurants, _ = synthesize_frames(PLAN)
    orders.write_csv(folder / "orders.csv")
    restaurants.write_csv(folder / "restaurants.csv")
    return {"PREPTIME_ORDERS": str(folder / "orders.csv"), "PREPTIME_RESTAURANTS": str(folder / "restaurants.csv")}


def test_reason_depends_on_the_age_of_the_last_order(settings: dict[str, str]) -> None:
    assert find_reason(settings, LAST_DAY + dt.timedelta(days=7)) is None
    reason = find_reason(settings, LAST_DAY + dt.timedelta(days=4_169))
    assert reason == f"The last order in {settings['PREPTIME_ORDERS']} is of 2015-06-08, 4,169 days ago."


def test_reason_names_missing_and_unreadable_orders(tmp_path: Path) -> None:
    assert find_reason({}, LAST_DAY) == "PREPTIME_ORDERS isn't set, so there are no orders to train on."
    missing = find_reason({"PREPTIME_ORDERS": str(tmp_path / "none.csv")}, LAST_DAY)
    assert missing is not None
    assert f"PREPTIME_ORDERS={tmp_path / 'none.csv'} can't be used: " in missing
    assert "none.csv" in missing.partition("can't be used: ")[2]


def test_orders_in_a_database_are_not_read() -> None:
    assert find_reason({"PREPTIME_ORDERS": "postgresql://127.0.0.1:9/none"}, LAST_DAY) is None


@pytest.mark.parametrize(
    ("demo", "answer", "uses_demo"),
    [(None, True, True), (None, False, False), (True, False, True), (False, True, False)],
)
def test_user_decides_about_old_orders(
    demo: bool | None, answer: bool, uses_demo: bool, settings: dict[str, str], tmp_path: Path
) -> None:
    """The fixture's orders are years old. The demo has its own store, so that it never promotes in the user's."""
    questions: list[str] = []

    def ask(question: str) -> bool:
        questions.append(question)
        return answer

    result = demo_settings(settings, tmp_path, demo=demo, ask=ask)
    assert len(questions) == (demo is None)
    assert (result != settings) == uses_demo


COMPANY = {
    "PREPTIME_STORE": "gs://company/models",
    "PREPTIME_ORDERS": "postgresql://db/food?table=orders",
    "PREPTIME_RESTAURANTS": "postgresql://db/food?table=restaurants",
    "PREPTIME_SCHEMA": "company.toml",
    "PREPTIME_RESULTS": "/company/results",
    "PREPTIME_PREDICTIONS_URL": "postgresql://db/food",
    "PREPTIME_PREDICTION_LOG_SOURCE": "bigquery://company.log?table=t",
    "PREPTIME_PREDICTION_LOG_FOLDER": "/company/predictions",
    "PREPTIME_API_URL": "https://api.company",
    "PREPTIME_API_KEY": "a company key",
    "MLFLOW_TRACKING_URI": "https://mlflow.company",
    "PREPTIME_RUNNER": "dataproc",
    "PREPTIME_IMAGE": "registry.company/jobs",
    "PREPTIME_SPARK_PROJECT": "company",
    "PREPTIME_SPARK_CORPUS": "gs://company/corpus",
    "PREPTIME_TIME_ZONE": "America/New_York",
    "PREPTIME_COURIER_COST": "2",
}


def test_demo_uses_nothing_of_the_company(tmp_path: Path) -> None:
    """A task gets the environment, and reads `.env`, because it runs in the project's folder."""
    env_file = tmp_path / ".env"
    env_file.write_text("".join(f"{name}='{value}'\n" for name, value in COMPANY.items()), encoding="utf-8")
    variables = demo_settings(COMPANY, tmp_path, demo=True, ask=pytest.fail)
    loaded = Settings.load(variables, env_file)
    folder = tmp_path / "demo"
    assert loaded == Settings(
        store=str(folder / "models"),
        orders=str(folder / "orders.csv"),
        restaurants=str(folder / "restaurants.csv"),
        schema=str(folder / "schema.toml"),
        results=str(folder / "results"),
        prediction_log_folder=str(folder / "predictions"),
        courier_cost=2,
    )
    assert parse_schema((folder / "schema.toml").read_text(encoding="utf-8")) == TAKE_HOME_SCHEMA
    kept = {"PREPTIME_RUNNER": "command", "PREPTIME_TIME_ZONE": "America/New_York", "PREPTIME_DEMO_ORDERS": str(folder)}
    of_dags = {name: variables[name] for name in DAG_SETTINGS if variables.get(name)}
    assert of_dags == kept
