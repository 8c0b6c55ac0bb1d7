"""Mornings are read as they were written; a damaged one is told, and the latest word on a day counts."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import msgspec

from preptime.monitoring.document import encode, latest_days, read_monitoring_history
from preptime.sources.results import MONITORING_FILE, ResultsFolder
from tests.monitoring.example import DATE, quiet

ONE_DAY = dt.timedelta(days=1)


def test_the_latest_mornings_are_read_and_the_others_counted(tmp_path: Path) -> None:
    results = ResultsFolder(tmp_path)
    mornings = [quiet(DATE + place * ONE_DAY) for place in range(3)]
    for one in mornings:
        results.write(one.date, MONITORING_FILE, encode(one))
    results.write(DATE + 3 * ONE_DAY, MONITORING_FILE, b"half a doc")
    found = read_monitoring_history(results, limit=3)
    assert found.documents == tuple(mornings[1:])
    assert list(found.unreadable) == [DATE + 3 * ONE_DAY]
    assert f"monitoring.json of {DATE + 3 * ONE_DAY}" in found.unreadable[DATE + 3 * ONE_DAY]
    assert found.unread_count == 1
    assert read_monitoring_history(ResultsFolder(tmp_path / "nothing")).documents == ()


def test_a_day_is_as_the_latest_morning_knows_it() -> None:
    early, late = quiet(DATE), quiet(DATE + ONE_DAY)
    more = msgspec.structs.replace(late.days[0], orders=9_999)
    late = msgspec.structs.replace(late, days=(more, *late.days[1:]))
    days = latest_days([late, early])
    assert [day.date for day in days] == sorted({day.date for one in (early, late) for day in one.days})
    assert next(day for day in days if day.date == more.date).orders == 9_999
