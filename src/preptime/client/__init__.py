"""Clients of the prediction API.

`Client` blocks, and `preptime.AsyncClient` is for `asyncio`. `protocol` has what they share.

Example:
    client = preptime.Client("http://127.0.0.1:8000", key)
    for prediction in client.predict(orders):
        print(prediction.order_id, prediction.prep_time_seconds)
"""

from __future__ import annotations

from preptime.client.blocking import Client
from preptime.client.protocol import (
    ApiConnectionError,
    ApiStatusError,
    ApiTimeoutError,
    ApiUnreachableError,
    InvalidApiKeyError,
    Problem,
    ProxyRejectedError,
)

__all__ = [
    "ApiConnectionError",
    "ApiStatusError",
    "ApiTimeoutError",
    "ApiUnreachableError",
    "Client",
    "InvalidApiKeyError",
    "Problem",
    "ProxyRejectedError",
]
