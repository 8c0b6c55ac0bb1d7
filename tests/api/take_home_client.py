"""The demo's client, as its users have it: `python demo_client.py HOST PORT KEY`. It knows nothing of preptime.

Reads orders as csv from standard input, sends them as the demo's notebook does, and writes status and answer, one line
of JSON each.
"""

from __future__ import annotations

import json
import sys
import warnings
from http.client import HTTPConnection

import pandas as pd


def main(host: str, port: str, key: str) -> None:
    """Ask once."""
    # pandas 3 warns of what the demo relies on: moments as epoch milliseconds.
    warnings.simplefilter("ignore", DeprecationWarning)
    orders = pd.read_csv(sys.stdin)
    for name in ("order_acknowledged_at", "order_ready_at"):
        orders[name] = pd.to_datetime(orders[name])
    connection = HTTPConnection(host, int(port), timeout=60)
    body = json.dumps({"json_data": orders.to_json()})
    connection.request("POST", "/predict", body, {"aikey": key, "Content-Type": "application/json"})
    response = connection.getresponse()
    sys.stdout.write(f"{response.status}\n{json.dumps(json.load(response))}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
