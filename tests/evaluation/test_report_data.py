"""What pictures are drawn from: counts that lose no order, small, and read again as they were written."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from preptime.bundle.manifest import EVALUATION_FILE, decode_manifest
from preptime.bundle.store import Store
from preptime.domain.orders import DEFAULT_MODEL
from preptime.errors import BundleVerificationError, UsageError
from preptime.evaluation.evaluated_orders import LOOKUP, build_backtest_document
from preptime.evaluation.report_data import (
    FORMAT,
    LabelCount,
    ReportData,
    backtest_of,
    decode,
    encode,
    importance_shares,
    read_report_data,
    summarize_predictions,
)
from tests.bundle.factories import put_bundle, some_draft
from tests.evaluation.factories import evaluated_orders

RELEASES = Path(__file__).parents[1] / "bundle" / "releases"


def pictured(n: int) -> ReportData:
    return ReportData(
        predictions=summarize_predictions(evaluated_orders(n)),
        importance={"quantile": importance_shares({"hour": 3.0, "weekday": 1.0})},
        orders_fitted=n,
        rows_read=n + 3,
        label_counts=(LabelCount("label_zero", 3),),
    )


def test_counts_are_of_the_orders_with_labels_up_to_three_hours() -> None:
    orders = evaluated_orders(3000)
    found = summarize_predictions(orders)
    assert found is not None
    assert found.orders == int(orders.up_to_3h.sum())
    inside = sum(count for _, _, count in found.density)
    assert found.share_beyond_axes == pytest.approx(1 - inside / found.orders)
    assert 0 < found.share_beyond_axes < 0.05
    assert set(found.error_counts) == {DEFAULT_MODEL, LOOKUP}
    assert all(0.9 * found.orders < sum(counts) <= found.orders for counts in found.error_counts.values())
    assert all(middle.low <= middle.median <= middle.high for middle in found.actual_quartiles)


def test_no_orders_no_answers() -> None:
    assert summarize_predictions(evaluated_orders(10).take(evaluated_orders(10).actual < 0)) is None


def test_it_is_small_and_comes_back_as_it_was() -> None:
    written = pictured(20_000)
    content = encode(written)
    assert len(content) < 40_000
    assert decode(content) == written
    assert encode(pictured(20_000)) == content


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b'{"format": 99}', b'{"format": 1}', b"\xff\xfe"])
def test_what_other_code_wrote_is_nothing(content: bytes) -> None:
    assert decode(content) is None
    assert FORMAT == 1


def test_shares_add_up() -> None:
    assert importance_shares({"a": 1.0, "b": 3.0}) == {"a": 0.25, "b": 0.75}
    assert importance_shares({"a": 0.0}) == {"a": 0.0}


def test_the_evaluation_of_a_manifest_or_nothing(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    manifest = store.read_manifest(put_bundle(store))
    assert backtest_of(manifest) is None
    assert read_report_data(store, manifest) is None
    document = build_backtest_document(evaluated_orders(100), "2015-06-10", "2015-06-16")
    told = msgspec.structs.replace(manifest, metrics=msgspec.to_builtins(document))
    assert backtest_of(told) == document
    assert some_draft().metrics


def test_a_bundle_of_the_first_release_says_what_it_has(tmp_path: Path) -> None:
    (path,) = RELEASES.glob("0.1.0/*/manifest.json")
    manifest = decode_manifest(path.read_bytes())
    evaluation = backtest_of(manifest)
    assert evaluation is not None
    assert evaluation.scores
    assert read_report_data(Store.open(str(tmp_path)), manifest) is None


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    manifest = store.read_manifest(put_bundle(store))
    path = store.fetch(manifest.id) / EVALUATION_FILE
    path.chmod(0o644)
    path.write_bytes(b'{"format":2}')
    with pytest.raises(BundleVerificationError, match=r"evaluation\.json: expected SHA-256"):
        read_report_data(store, manifest)
    with pytest.raises(UsageError, match="has no plots"):
        store.read_file(manifest, "plots.json")
