"""The document comes back as it was written, and another format is refused."""

from __future__ import annotations

import msgspec
import pytest

from preptime.errors import DataError
from preptime.monitoring.document import MonitoringDocument, decode, encode
from tests.monitoring.example import fired, first_morning, quiet


@pytest.mark.parametrize("document", [fired(), quiet(), first_morning()], ids=["fired", "quiet", "first morning"])
def test_a_document_comes_back_as_it_was_written(document: MonitoringDocument) -> None:
    raw = encode(document)
    assert decode(raw) == document
    assert encode(decode(raw)) == raw


def test_another_format_is_refused_by_its_number() -> None:
    raw = encode(msgspec.structs.replace(quiet(), format=2))
    with pytest.raises(DataError, match=r"results/date=2015-06-22/monitoring\.json has format 2.*reads format 1"):
        decode(raw, "results/date=2015-06-22/monitoring.json")


@pytest.mark.parametrize("raw", [b"", b"{}", b'{"format": 1}', b"\xff\xfe", encode(quiet())[:-40]])
def test_what_is_no_document_is_refused(raw: bytes) -> None:
    with pytest.raises(DataError, match="cannot be read as a monitoring document"):
        decode(raw)
