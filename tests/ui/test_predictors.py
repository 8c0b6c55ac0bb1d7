"""The dashboard's predictor through the API, against a real server."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import polars as pl
import pytest

from preptime.bundle.bundle import Bundle
from preptime.bundle.champion_log import ChampionLog, LogEntryDraft
from preptime.bundle.store import Store
from preptime.client import ApiConnectionError, ApiStatusError, ApiTimeoutError, ApiUnreachableError, Client, Problem
from preptime.domain.prediction_records import Prediction, PredictionResponse
from preptime.scoring.score_file import score_file
from preptime.scoring.scorer import PREDICTED_SECONDS
from preptime.settings import Settings
from preptime.ui.connections import DashboardContext
from preptime.ui.predictors import MAX_ORDERS_PER_REQUEST, ApiPredictor, SplittingClient, explain_api_error
from tests.api.processes import PLAIN_KEY, SERVE_COMMAND, running_server
from tests.scoring.factories import mixed_rows, small_bundle, write_orders


def promoted_bundle(folder: Path) -> Bundle:
    """Put a bundle into the store in `folder` and make it the champion."""
    store = Store.open(str(folder / "models"))
    bundle = small_bundle(store)
    ChampionLog(store).append(
        LogEntryDraft(
            bundle=bundle.manifest.id, date=bundle.manifest.date, action="promote", reason="test", by="test", at="now"
        ),
        expected_champion=None,
    )
    return bundle


def test_too_large_request_is_split_until_the_server_accepts(tmp_path: Path) -> None:
    """A request for 4,600 orders has 9 MB. The default limit is 8 MiB."""
    bundle = promoted_bundle(tmp_path)
    base = mixed_rows()
    rows = pl.concat([base] * (4_600 // len(base))).with_columns(city=pl.lit("x" * 1_900), order_id=pl.lit("a"))
    source = write_orders(tmp_path / "wide.parquet", rows)
    assert len(rows) <= MAX_ORDERS_PER_REQUEST
    with running_server(tmp_path, SERVE_COMMAND) as server:
        server.wait_until("/readyz")
        with Client(server.url, PLAIN_KEY) as client:
            predictor = ApiPredictor(client, bundle.manifest.id, (), (), bundle.schema, MAX_ORDERS_PER_REQUEST, None)
            remote = predictor.score(Path(source), tmp_path / "remote.parquet", lambda *_: None)
        statuses = re.findall(
            r'preptime_requests_total\{[^}]*endpoint="/v1/predictions"[^}]*status="(\d+)"[^}]*\} (\d+)',
            server.get("/metrics"),
        )
    assert dict(statuses) == {"413": "1", "200": "2"}
    local = score_file(source, tmp_path / "local.parquet", bundle)
    assert (remote.rows, remote.predicted, remote.rejected) == (local.rows, local.predicted, local.rejected)
    expected, actual = (pl.read_parquet(tmp_path / f"{name}.parquet") for name in ("local", "remote"))
    assert actual[PREDICTED_SECONDS].is_null().to_list() == expected[PREDICTED_SECONDS].is_null().to_list()
    assert float(str((actual[PREDICTED_SECONDS] - expected[PREDICTED_SECONDS]).abs().max())) <= 0.001


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ApiUnreachableError("The facts.", "The hint."), "doesn't respond. The facts. Start it with `preptime serve`"),
        (ApiTimeoutError("The facts.", "The hint."), "sent no predictions. The facts. The hint."),
        (ApiConnectionError("The facts.", "The hint."), "sent no predictions. The facts. The hint."),
    ],
)
def test_explain_api_error_separates_unreachable_from_broken(error: ApiConnectionError, message: str) -> None:
    context = DashboardContext(Settings(api_url="http://api.example"))
    assert str(explain_api_error(error, context)).startswith(f"The API at http://api.example {message}")


@dataclass
class ChangingClient:
    """A fake of the client of a server that loads a new champion after its first prediction."""

    bundles: list[str] = field(default_factory=lambda: ["old", "new", "new"])

    def predict(
        self, orders: Sequence[Mapping[str, object]], *, models: Sequence[str] | None = None
    ) -> PredictionResponse:
        assert models is None
        if len(orders) > 1:
            raise ApiStatusError(413, Problem("Payload too large"))
        return PredictionResponse(self.bundles.pop(0), [Prediction(order_id=orders[0]["order_id"])])


def test_one_bundle_predicts_both_halves_of_a_request() -> None:
    client = ChangingClient()
    response = SplittingClient(cast(Client, client)).predict([{"order_id": "a"}, {"order_id": "b"}])
    assert response.bundle == "new"
    assert [prediction.order_id for prediction in response] == ["a", "b"]
    assert client.bundles == []


def test_split_keeps_the_order_of_single_orders(tmp_path: Path) -> None:
    promoted_bundle(tmp_path)
    orders = [{"order_id": str(number), "city": "x" * 200} for number in range(9)]
    with running_server(tmp_path, SERVE_COMMAND, PREPTIME_MAX_BODY_BYTES="1024") as server:
        server.wait_until("/readyz")
        with Client(server.url, PLAIN_KEY) as client:
            response = SplittingClient(client).predict(orders)
    assert [prediction.order_id for prediction in response] == [str(number) for number in range(9)]
