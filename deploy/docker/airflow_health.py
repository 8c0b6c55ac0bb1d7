"""The health check of Airflow's parts: `airflow_health.py PART` ends with 0 when the api-server says it is healthy."""

import json
import sys
import urllib.request

HEALTH_URL = "http://airflow-api-server:8080/api/v2/monitor/health"


def main(component: str) -> int:
    """0 when healthy, 1 when not, or when nobody answers."""
    try:
        with urllib.request.urlopen(HEALTH_URL, timeout=4) as response:  # the address is this file's own
            status = (json.load(response).get(component) or {}).get("status")
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{HEALTH_URL}: {error}\n")
        return 1
    return 0 if status == "healthy" else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
