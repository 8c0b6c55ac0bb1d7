"""A client of the take-home API contract, independent of preptime: `python take_home_client.py HOST PORT KEY`.

It reads orders as CSV from standard input, sends them as the take-home notebook does, and writes the status and the
response, one line of JSON each.
"""

from __future__ import annotations

import json
import sys
import warnings
from http.client import HTTPConnection

import pandas as pd


def main(host: str, port: str, key: str) -> None:
    """Send one request."""
    # pandas 3 warns about timestamps as epoch milliseconds, which the take-home contract uses.
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
