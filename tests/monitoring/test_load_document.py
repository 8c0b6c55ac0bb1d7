"""Reading monitoring documents: the latest ones, damaged ones, and days in several documents."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import msgspec

from preptime.monitoring.document import encode, latest_days, read_monitoring_history
from preptime.sources.results import MONITORING_FILE, ResultsFolder
from tests.monitoring.example import DATE, quiet

ONE_DAY = dt.timedelta(days=1)


def test_read_monitoring_history_reads_latest_documents(tmp_path: Path) -> None:
    results = ResultsFolder(tmp_path)
    documents = [quiet(DATE + offset * ONE_DAY) for offset in range(3)]
    for document in documents:
        results.write(document.date, MONITORING_FILE, encode(document))
    results.write(DATE + 3 * ONE_DAY, MONITORING_FILE, b"truncated")
    history = read_monitoring_history(results, limit=3)
    assert history.documents == tuple(documents[1:])
    assert list(history.unreadable) == [DATE + 3 * ONE_DAY]
    assert f"monitoring.json of {DATE + 3 * ONE_DAY}" in history.unreadable[DATE + 3 * ONE_DAY]
    assert history.unread_count == 1
    assert read_monitoring_history(ResultsFolder(tmp_path / "missing")).documents == ()


def test_latest_days_prefers_latest_document() -> None:
    early, late = quiet(DATE), quiet(DATE + ONE_DAY)
    changed_day = msgspec.structs.replace(late.days[0], orders=9_999)
    late = msgspec.structs.replace(late, days=(changed_day, *late.days[1:]))
    days = latest_days([late, early])
    assert [day.date for day in days] == sorted({day.date for document in (early, late) for day in document.days})
    assert next(day for day in days if day.date == changed_day.date).orders == 9_999
