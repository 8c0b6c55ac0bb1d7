"""The monitoring document: round trip and unknown formats."""

from __future__ import annotations

import msgspec
import pytest

from preptime.errors import DataError
from preptime.monitoring.document import MonitoringDocument, decode, encode
from tests.monitoring.example import fired, first_day, quiet


@pytest.mark.parametrize("document", [fired(), quiet(), first_day()], ids=["fired", "quiet", "first day"])
def test_decode_round_trips(document: MonitoringDocument) -> None:
    raw = encode(document)
    assert decode(raw) == document
    assert encode(decode(raw)) == raw


def test_decode_reads_document_without_waiting_costs() -> None:
    metrics = msgspec.structs.replace(quiet().metrics, waiting_costs=())
    plain = msgspec.json.decode(encode(msgspec.structs.replace(quiet(), metrics=metrics)))
    del plain["metrics"]["waiting_costs"]
    assert decode(msgspec.json.encode(plain)).metrics == metrics


def test_decode_reads_document_without_interval_counts() -> None:
    plain = msgspec.json.decode(encode(quiet()))
    for metrics in (plain["metrics"], plain["recent_metrics"], *(day["metrics"] for day in plain["days"])):
        del metrics["interval_n"]
    assert decode(msgspec.json.encode(plain)) == quiet()


def test_decode_rejects_other_format() -> None:
    raw = encode(msgspec.structs.replace(quiet(), format=3))
    with pytest.raises(DataError, match=r"results/date=2015-06-22/monitoring\.json has format 3, but.*reads format 2"):
        decode(raw, "results/date=2015-06-22/monitoring.json")


@pytest.mark.parametrize("raw", [b"", b"{}", b'{"format": 2}', b"\xff\xfe", encode(quiet())[:-40]])
def test_decode_rejects_invalid_document(raw: bytes) -> None:
    with pytest.raises(DataError, match="isn't a valid monitoring document"):
        decode(raw)
