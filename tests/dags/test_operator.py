"""A task is a verb: how it ends, what it is ended by, and what it leaves."""

from __future__ import annotations

import pytest

from tests.dags.installation import Installation

Told = dict[str, object]


@pytest.fixture(scope="session")
def told(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Told:
    """Everything, once: see `inside/operate.py`."""
    return installation.inside("operate", str(tmp_path_factory.mktemp("operate")))


def test_the_exit_status_decides_whether_it_is_tried_again(told: Told) -> None:
    """AirflowFailException ends all tries."""
    reason = "on standard output The reason, last."
    assert told["0"] == "fine"
    assert told["1"] == f"AirflowException: preptime end ended with 1. {reason}"  # data that may yet be complete
    assert told["2"] == f"AirflowFailException: preptime end ended with 2. {reason}"  # wrong use stays wrong
    assert told["3"] == f"AirflowException: preptime end ended with 3. {reason}"
    assert told["alert"] == f"AirflowFailException: preptime end ended with 1. {reason}"


def test_a_stopped_task_takes_its_verb_and_all_its_children_with_it(told: Told) -> None:
    """Stopped by a person, out of time, killed outright; the first two with a verb that does not listen."""
    assert told["stopped"] == "AirflowException: preptime stay ended with -9. staying"
    assert str(told["too late"]).startswith("AirflowTaskTimeout")
    assert told["gone"] == {"stopped": True, "late": True, "killed": True}


def test_what_cannot_be_called_is_named_and_not_tried_again(told: Told) -> None:
    assert str(told["no command"]).startswith("AirflowFailException: There is no /no/such/preptime that can be called.")


def test_verbs_are_not_told_what_is_airflows(told: Told) -> None:
    assert told["environment"] == []


def test_the_date_is_that_of_the_logical_date_on_the_schedules_clock(told: Told) -> None:
    """20:00 UTC is 05:00 of the next day in Tokyo, where `ds` would still say yesterday."""
    dates = told["dates"]
    assert isinstance(dates, dict)
    assert str(dates.pop("none")).startswith("AirflowFailException: This run has no logical date")
    assert dates == {
        "UTC": "2015-06-14",
        "Asia/Tokyo": "2015-06-15",
        "America/Los_Angeles": "2015-06-14",
        "month before": "2016-02-01",
    }
