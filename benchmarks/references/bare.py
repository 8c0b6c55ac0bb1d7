"""The same pure function as a bare WSGI callable on Granian, without API key, log, and metrics.

python -m benchmarks.references.bare PORT STORE
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.references.hosting import host
from preptime.api.active_model import ActiveModel
from preptime.api.predict import predict
from preptime.bundle.bundle import fetch_verified
from preptime.bundle.champion_log import ChampionLog
from preptime.bundle.store import Store

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

MAX_ORDERS = 10_000


def open_active_model(store_url: str) -> ActiveModel:
    """Return the verified champion of a store."""
    store = Store.open(store_url)
    entry = ChampionLog(store).current()
    if entry is None:
        sys.exit(f"{store_url} has no champion.")
    return ActiveModel.from_bundle(fetch_verified(store, entry.bundle), entry, "")


def make_app(store: str) -> WSGIApplication:
    """Return the application. Called in the worker."""
    active_model = open_active_model(store)

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] != "POST":
            start_response("200 OK", [])
            return (b"ready",)
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        response_body = predict(body, active_model, MAX_ORDERS).body
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(response_body)))])
        return (response_body,)

    return app


if __name__ == "__main__":
    host(int(sys.argv[1]), partial(make_app, sys.argv[2]))
