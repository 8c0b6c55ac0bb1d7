"""The client for `asyncio`, against `preptime serve` and against servers that misbehave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from preptime import AsyncClient, Client
from preptime.client import ApiConnectionError, ApiStatusError, ApiTimeoutError, ApiUnreachableError, ProxyRejectedError
from preptime.domain.prediction_records import PredictionResponse
from preptime.errors import UsageError
from tests.api.processes import PLAIN_KEY, SERVE_COMMAND, Server, free_port, running_server
from tests.api.test_server import promote
from tests.event_loop import run_coroutine
from tests.test_client import ORDER, RESPONSE, misbehaving_server
from tests.test_http_connections import CREDENTIALS, chain_text, proxy_url, running_proxy
from tests.tls import write_certificate

BUSY = (503, json.dumps({"detail": "The server is busy."}).encode())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`preptime serve` with a champion of three restaurants."""
    folder = tmp_path_factory.mktemp("served")
    promote(folder)
    with running_server(folder, SERVE_COMMAND) as running:
        running.wait_until("/readyz")
        yield running


async def predict_once(url: str, **options: Any) -> PredictionResponse:
    """Return the prediction for one order, from a new client."""
    async with AsyncClient(url, "k", **options) as client:
        return await client.predict(ORDER)


def test_every_method_returns_what_the_other_client_returns(server: Server) -> None:
    orders = pl.DataFrame([ORDER, ORDER | {"restaurant_id": 20, "number_of_items": 0}])
    trips = orders.with_columns(travel_seconds=240)

    async def request_all() -> tuple[Any, ...]:
        async with AsyncClient(server.url, PLAIN_KEY) as client:
            responses = client.predict(orders, models=["rf"]), client.predict(ORDER)
            others = client.dispatch(trips, courier_cost=2, food_cost=1), client.bundle()
            return tuple(await asyncio.gather(*responses, *others))

    with Client(server.url, PLAIN_KEY) as client:
        expected = (
            client.predict(orders, models=["rf"]),
            client.predict(ORDER),
            client.dispatch(trips, courier_cost=2, food_cost=1),
            client.bundle(),
        )
    assert run_coroutine(request_all()) == expected
    assert expected[0][1].error is not None


def test_one_client_serves_many_tasks(server: Server) -> None:
    async def request_many() -> list[PredictionResponse]:
        async with AsyncClient(server.url, PLAIN_KEY) as client:
            orders = [ORDER | {"order_id": str(number)} for number in range(40)]
            return await asyncio.gather(*(client.predict(order) for order in orders))

    responses = run_coroutine(request_many())
    assert [response[0].order_id for response in responses] == [str(number) for number in range(40)]


def test_client_opens_new_connections_after_close(server: Server) -> None:
    async def predict_twice() -> tuple[PredictionResponse, PredictionResponse]:
        client = AsyncClient(server.url, PLAIN_KEY)
        first = await client.predict(ORDER)
        await client.close()
        await client.close()
        second = await client.predict(ORDER)
        await client.close()
        return first, second

    first, second = run_coroutine(predict_twice())
    assert first == second


def test_rejected_requests_raise_the_facts_of_the_server(server: Server) -> None:
    with pytest.raises(ApiStatusError) as refused:
        run_coroutine(predict_once(server.url))
    assert refused.value.status == 401

    async def predict_unknown_model() -> None:
        async with AsyncClient(server.url, PLAIN_KEY) as client:
            await client.predict(ORDER, models=["none"])

    with pytest.raises(ApiStatusError, match="none"):
        run_coroutine(predict_unknown_model())


def test_explain_of_a_bundle_without_explanations_is_rejected(server: Server) -> None:
    """tests/api/test_explanations.py has the method with explanations."""

    async def explain() -> None:
        async with AsyncClient(server.url, PLAIN_KEY) as client:
            await client.explain(ORDER)

    with Client(server.url, PLAIN_KEY) as client, pytest.raises(ApiStatusError) as expected:
        client.explain(ORDER)
    with pytest.raises(ApiStatusError) as refused:
        run_coroutine(explain())
    assert (refused.value.status, str(refused.value)) == (expected.value.status, str(expected.value))


def test_busy_server_and_broken_connection_are_retried() -> None:
    with misbehaving_server(BUSY, None, (200, RESPONSE)) as (url, bodies):
        assert run_coroutine(predict_once(url)).predictions[0].p50 == 600.2
    assert len(bodies) == 3
    assert bodies[0] == bodies[1] == bodies[2]


def test_last_attempt_raises_its_error() -> None:
    with misbehaving_server(BUSY, BUSY) as (url, bodies):
        with pytest.raises(ApiStatusError, match="busy"):
            run_coroutine(predict_once(url, max_attempts=2))
        assert len(bodies) == 2
    with misbehaving_server(None, None, None) as (url, bodies):
        with pytest.raises(ApiConnectionError, match="closed the connection"):
            run_coroutine(predict_once(url, max_attempts=2))
        assert len(bodies) == 3  # the first one uses the connection of the request for the schema, which could be stale


def test_timeout_is_not_retried() -> None:
    with misbehaving_server(5.0, (200, RESPONSE)) as (url, bodies):
        with pytest.raises(ApiTimeoutError, match=r"did not respond within 0.3 s"):
            run_coroutine(predict_once(url, timeout_seconds=0.3))
        assert len(bodies) == 1


def test_unreachable_server_and_proxy_are_named() -> None:
    port = free_port()
    with pytest.raises(ApiUnreachableError, match=f"127.0.0.1:{port} cannot be reached"):
        run_coroutine(predict_once(f"http://127.0.0.1:{port}", max_attempts=1))
    with pytest.raises(ApiUnreachableError, match=f"The proxy 127.0.0.1:{port} cannot be reached"):
        run_coroutine(predict_once("http://example.com", max_attempts=1, proxy=f"http://user:secret@127.0.0.1:{port}"))


@pytest.mark.parametrize("credentials", ["", CREDENTIALS, "käse:münchen"])
def test_proxy_gets_its_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, credentials: str) -> None:
    certificate = write_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with running_proxy(credentials) as (port, proxy):
        assert len(run_coroutine(predict_once("http://127.0.0.1:8000", proxy=proxy_url(port, credentials)))) == 1
    assert proxy.requests[-1] == "POST http://127.0.0.1:8000/v1/predictions"
    with running_proxy(credentials, certificate) as (port, proxy):
        assert len(run_coroutine(predict_once("https://localhost:8443", proxy=proxy_url(port, credentials)))) == 1
    assert {*proxy.requests} == {"CONNECT localhost:8443"}


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_rejected_credentials_are_sent_once_and_not_shown(scheme: str) -> None:
    with running_proxy(CREDENTIALS) as (port, proxy):
        proxy_address = f"http://kitchen:wr0ng-secret@127.0.0.1:{port}"
        with pytest.raises(ProxyRejectedError, match=rf"The proxy 127\.0\.0\.1:{port} rejected .*407") as refused:
            run_coroutine(predict_once(f"{scheme}://preptime.invalid", proxy=proxy_address))
        assert "wr0ng" not in chain_text(refused.value)
        assert "add USER:PASSWORD@ before the host" in refused.value.hint
    assert len(proxy.requests) == 1


def test_other_content_and_invalid_arguments_raise() -> None:
    with misbehaving_server((200, b"<html>")) as (url, _), pytest.raises(ApiConnectionError, match="not as preptime"):
        run_coroutine(predict_once(url, max_attempts=1))
    with pytest.raises(UsageError, match="isn't the URL"):
        AsyncClient("ftp://x", "k")
    with pytest.raises(UsageError, match="visible ASCII"):
        AsyncClient("http://127.0.0.1:8000", "secret\ny")


def test_both_clients_send_the_same_bytes(tmp_path: Path) -> None:
    frame = pl.DataFrame([ORDER]).with_columns(note=pl.lit("not sent"))
    with misbehaving_server((200, RESPONSE), (200, RESPONSE)) as (url, bodies):
        with Client(url, "k") as client:
            client.predict(frame, models=["rf"])

        async def predict() -> None:
            async with AsyncClient(url, "k") as other:
                await other.predict(frame, models=["rf"])

        run_coroutine(predict())
    assert bodies[0] == bodies[1]
    assert b"not sent" not in bodies[0]
