"""`evaluation.json`: counts, size, round trip, and unknown formats."""

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
    backtest_from_manifest,
    decode,
    encode,
    importance_shares,
    read_report_data,
    summarize_predictions,
)
from tests.bundle.factories import put_bundle, some_draft
from tests.evaluation.factories import evaluated_orders

RELEASES_DIR = Path(__file__).parents[1] / "bundle" / "releases"


def make_report_data(n: int) -> ReportData:
    return ReportData(
        predictions=summarize_predictions(evaluated_orders(n)),
        importance={"quantile": importance_shares({"hour": 3.0, "weekday": 1.0})},
        orders_fitted=n,
        rows_read=n + 3,
        label_counts=(LabelCount("label_zero", 3),),
    )


def test_summarize_predictions_uses_labels_up_to_3h() -> None:
    orders = evaluated_orders(3000)
    summary = summarize_predictions(orders)
    assert summary is not None
    assert summary.orders == int(orders.up_to_3h.sum())
    inside = sum(count for _, _, count in summary.density)
    assert summary.share_beyond_axes == pytest.approx(1 - inside / summary.orders)
    assert 0 < summary.share_beyond_axes < 0.05
    assert set(summary.error_counts) == {DEFAULT_MODEL, LOOKUP}
    assert all(0.9 * summary.orders < sum(counts) <= summary.orders for counts in summary.error_counts.values())
    assert all(quartiles.low <= quartiles.median <= quartiles.high for quartiles in summary.actual_quartiles)


def test_summarize_predictions_without_orders_is_none() -> None:
    assert summarize_predictions(evaluated_orders(10).take(evaluated_orders(10).actual < 0)) is None


def test_encode_is_small_and_round_trips() -> None:
    report_data = make_report_data(20_000)
    content = encode(report_data)
    assert len(content) < 40_000
    assert decode(content) == report_data
    assert encode(make_report_data(20_000)) == content


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b'{"format": 99}', b'{"format": 1}', b"\xff\xfe"])
def test_decode_unknown_format_is_none(content: bytes) -> None:
    assert decode(content) is None
    assert FORMAT == 1


def test_importance_shares_add_up_to_one() -> None:
    assert importance_shares({"a": 1.0, "b": 3.0}) == {"a": 0.25, "b": 0.75}
    assert importance_shares({"a": 0.0}) == {"a": 0.0}


def test_backtest_of_manifest_without_metrics_is_none(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    manifest = store.read_manifest(put_bundle(store))
    assert backtest_from_manifest(manifest) is None
    assert read_report_data(store, manifest) is None
    document = build_backtest_document(evaluated_orders(100), "2015-06-10", "2015-06-16")
    with_metrics = msgspec.structs.replace(manifest, metrics=msgspec.to_builtins(document))
    assert backtest_from_manifest(with_metrics) == document
    assert some_draft().metrics


def test_read_report_data_of_release_bundle(tmp_path: Path) -> None:
    (path,) = RELEASES_DIR.glob("0.1.0/*/manifest.json")
    manifest = decode_manifest(path.read_bytes())
    evaluation = backtest_from_manifest(manifest)
    assert evaluation is not None
    assert evaluation.scores
    report_data = decode((path.parent / EVALUATION_FILE).read_bytes())
    assert report_data is not None
    assert report_data.predictions is not None
    without_file = {name: entry for name, entry in manifest.files.items() if name != EVALUATION_FILE}
    older = msgspec.structs.replace(manifest, files=without_file)
    assert read_report_data(Store.open(str(tmp_path)), older) is None


def test_read_report_data_rejects_damaged_file(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    manifest = store.read_manifest(put_bundle(store))
    path = store.fetch(manifest.id) / EVALUATION_FILE
    path.chmod(0o644)
    path.write_bytes(b'{"format":2}')
    with pytest.raises(BundleVerificationError, match=r"evaluation\.json: expected SHA-256"):
        read_report_data(store, manifest)
    with pytest.raises(UsageError, match="has no plots"):
        store.read_file(manifest, "plots.json")
