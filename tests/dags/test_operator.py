"""The operator: exit statuses, stopping, environment, and dates."""

from __future__ import annotations

import pytest

from tests.dags.installation import Installation

Results = dict[str, object]


@pytest.fixture(scope="session")
def results(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """The results of all cases in `inside/run_operator.py`."""
    return installation.run_inside("run_operator", str(tmp_path_factory.mktemp("operator")))


def test_exit_status_decides_retry(results: Results) -> None:
    """AirflowFailException ends all tries. Late data (1) may be complete later, statuses 2 and 4 stay."""
    assert results["0"] == "success"
    assert results["1"] == "AirflowException: preptime exited with status 1: The reason, last."
    assert results["2"] == "AirflowFailException: preptime exited with status 2: The reason, last."
    assert results["3"] == "AirflowException: preptime exited with status 3: The reason, last."
    assert results["4"] == "AirflowFailException: preptime exited with status 4: The reason, last."
    assert results["alert"] == "AirflowFailException: preptime exited with status 1: The reason, last."


def test_stopped_task_stops_command_and_children(results: Results) -> None:
    """A user stops the task, it times out, or it's killed. In the first two cases, the command ignores SIGTERM."""
    assert results["stopped"] == "AirflowException: preptime exited with status -9: waiting"
    assert str(results["timeout"]).startswith("AirflowTaskTimeout")
    assert results["ended"] == {"stopped": True, "timeout": True, "killed": True}


def test_missing_command_is_named_without_retry(results: Results) -> None:
    message = str(results["missing command"])
    assert message.startswith("AirflowFailException: preptime exited with status 127: ")
    assert "/no/such/preptime" in message
    assert message.endswith(" Check PREPTIME_COMMAND.")


def test_environment_excludes_airflow_variables(results: Results) -> None:
    assert results["environment"] == []


def test_as_of_date_uses_schedule_time_zone(results: Results) -> None:
    """20:00 UTC is 05:00 of the next day in Tokyo, where `ds` is still the day before."""
    dates = results["dates"]
    assert isinstance(dates, dict)
    assert str(dates.pop("none")).startswith("AirflowFailException: The run has no logical date")
    assert dates == {
        "UTC": "2015-06-14",
        "Asia/Tokyo": "2015-06-15",
        "America/Los_Angeles": "2015-06-14",
        "month before": "2016-02-01",
    }
