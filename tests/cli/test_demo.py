"""`demo` on the user's own orders, and the settings that it writes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import msgspec
import polars as pl
import pytest

from preptime.cli.demo import ENV_COMMENT, quote_value
from preptime.env_file import read_env_file
from preptime.evaluation.documents import BacktestDocument
from preptime.keys import Keys
from preptime.models.catalogue import CATALOGUE
from preptime.scoring.score_document import ScoreDocument
from preptime.settings import Settings
from tests.cli.conftest import DATE, Demo, Files, champion
from tests.cli.run_command import error_document, preptime


class Document(msgspec.Struct, forbid_unknown_fields=True):
    """The document of `demo --json`."""

    date: str
    scored_day: str
    bundle: str
    outcome: str
    backtest: BacktestDocument
    score: ScoreDocument
    files: dict[str, str]


def test_demo_evaluates_models_and_baselines(demo_run: Demo) -> None:
    document = demo_run.result.document(Document)
    names = {score.name for score in document.backtest.scores}
    assert names == {*CATALOGUE, "live", "restaurant_lookup", "global_median"}
    assert all(name in demo_run.result.err for name in names)
    assert document.date == document.scored_day == DATE
    assert document.backtest.last_day < DATE


def test_demo_scores_next_day_with_champion(demo_run: Demo, orders: pl.DataFrame) -> None:
    document = demo_run.result.document(Document)
    assert document.outcome == "promoted"
    assert document.score.bundle == document.bundle == champion(demo_run.folder / "models")
    next_day = pl.read_csv(demo_run.folder / "next_day.csv")
    of_day = orders.filter(pl.col("order_acknowledged_at").str.starts_with(DATE))
    assert next_day["order_id"].to_list() == of_day["order_id"].cast(pl.Int64).to_list()
    assert {"order_ready_at", "prep_time_seconds"} & set(next_day.columns) == set()
    predicted = pl.read_csv(demo_run.folder / "predictions.csv")
    assert document.score.predicted == document.score.rows == len(predicted) == len(next_day)


def test_demo_prints_files_and_next_steps(demo_run: Demo) -> None:
    files = demo_run.result.document(Document).files
    assert set(files) == {"store", "report", "next_day", "predictions", "settings"}
    assert all((demo_run.folder / path).exists() for path in files.values())
    next_steps = demo_run.result.err.rpartition("Next steps:")[2]
    command = next(line for line in next_steps.splitlines() if line.endswith(" bundles list"))
    assert command.endswith(" bundles list")
    listed = subprocess.run(command.split(), cwd=demo_run.folder, capture_output=True, text=True, check=True)
    assert demo_run.result.document(Document).bundle in listed.stdout + listed.stderr


def test_demo_writes_private_settings_with_working_keys(demo_run: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    path = demo_run.folder / ".env"
    settings = Settings.load({}, path)
    assert Path(settings.store) == demo_run.folder / "models"
    assert (demo_run.folder / settings.orders).is_file()
    assert (demo_run.folder / settings.restaurants).is_file()
    assert Path(settings.results) == demo_run.folder / "results"
    assert Keys.from_setting(settings.api_keys).name_of(settings.api_key) == "demo"
    operator_key = next(line for line in path.read_text().splitlines() if re.fullmatch(r"# [\w-]{43}", line))[2:]
    assert Keys.from_setting(settings.operator_keys).name_of(operator_key) == "demo-operator"
    assert sys.platform == "win32" or path.stat().st_mode & 0o777 == 0o600
    monkeypatch.chdir(demo_run.folder)
    assert f" orders of {DATE}." in preptime("score", "--date", DATE).succeeded().out


@pytest.mark.usefixtures("quick_models")
def test_demo_does_not_change_existing_env_file(files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("OTHER=1\n", encoding="utf-8")
    result = preptime("demo", *files.options, "--out", "out").succeeded()
    assert (tmp_path / ".env").read_text(encoding="utf-8") == "OTHER=1\n"
    assert ".env exists, so it wasn't changed." in result.out
    assert f"  PREPTIME_STORE={Path('out') / 'models'}\n" in result.out
    assert "bundles list --store" in result.out


@pytest.mark.usefixtures("quick_models")
def test_demo_with_own_orders_is_apart_from_the_synthetic_one(
    files: Files, orders: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has its own folder, and only the locations in the `.env` of an earlier demo change.

    Other orders in the same folder are compared with the first ones, so the output says so.
    """
    monkeypatch.chdir(tmp_path)
    keys = "# A comment.\nPREPTIME_API_KEY=key\nPREPTIME_PORT=8001\n"
    synthetic = "PREPTIME_STORE=demo/models\nexport PREPTIME_ORDERS=demo/data/orders.csv\nPREPTIME_SCHEMA=a.toml\n"
    env_file = tmp_path / ".env"
    env_file.write_text(f"{ENV_COMMENT}\n{synthetic}{keys}", encoding="utf-8")
    env_file.chmod(0o640)
    (tmp_path / "a.toml").write_text("[models.quantile]\n", encoding="utf-8")
    result = preptime("demo", *files.options).succeeded()
    folder = Path("demo-own")
    assert env_file.read_text(encoding="utf-8").splitlines() == [
        ENV_COMMENT,
        f"PREPTIME_STORE={quote_value(str(folder / 'models'))}",
        f"PREPTIME_ORDERS={quote_value(str(files.orders))}",
        f"PREPTIME_RESTAURANTS={quote_value(str(files.restaurants))}",
        "PREPTIME_SCHEMA=a.toml",
        f"PREPTIME_RESULTS={quote_value(str(folder / 'results'))}",
        f"PREPTIME_PREDICTION_LOG_FOLDER={quote_value(str(folder / 'prediction-log'))}",
        *keys.splitlines(),
    ]
    assert sys.platform == "win32" or env_file.stat().st_mode & 0o777 == 0o640
    assert "Replaced the locations in .env, which an earlier demo created, with those of this demo." in result.out
    first = champion(folder / "models")
    assert f"{first} is the new champion of {folder / 'models'}." in result.out
    assert "was trained on other orders" not in result.out
    assert "bundles promote" not in result.out

    orders.filter(pl.col("restaurant_id") != orders["restaurant_id"][0]).write_csv(tmp_path / "other.csv")
    result = preptime("demo", "--orders", "other.csv", "--restaurants", files.restaurants).succeeded()
    sentence = f"{first}, the champion of the comparison, was trained on other orders or with another schema."
    assert f"{sentence} To start without it, add --out with a new folder.\n" in result.out
    first_step = result.out.partition("Next steps:\n")[2].splitlines()[0]
    challenger = re.search(r"(\S+) is stored but not promoted", result.out)
    assert challenger is not None
    assert first_step.endswith(f" bundles promote {challenger[1]} --reason TEXT")


@pytest.mark.parametrize("value", ["models", "gs://a/b?c=d&e", "a folder/#1/o'clock", "C:\\data\\new"])
def test_demo_quotes_values_for_the_env_file(value: str, tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text(f"A={quote_value(value)}\n", encoding="utf-8")
    assert read_env_file(path) == {"A": value}


def test_demo_orders_without_restaurants_need_a_time_zone(files: Files) -> None:
    document = error_document(preptime("demo", "--orders", files.orders, "--json"), 1, "DataError")
    assert "there is no restaurants file, the orders have no country" in document.facts
    assert "Add --restaurants FILE." in document.hint


def test_demo_restaurants_without_orders_is_usage_error(files: Files) -> None:
    document = error_document(preptime("demo", "--restaurants", files.restaurants, "--json"), 2, "UsageError")
    assert document.hint == "Add the orders of these restaurants: --orders FILE."
