"""The health check of an Airflow component: `airflow_health.py COMPONENT` exits with 0 if the component is healthy."""

import json
import sys
import urllib.request

HEALTH_URL = "http://airflow-api-server:8080/api/v2/monitor/health"


def main(component: str) -> int:
    """Return 0 if the API server reports the component as healthy, otherwise 1."""
    try:
        with urllib.request.urlopen(HEALTH_URL, timeout=4) as response:  # The URL is a constant.
            status = (json.load(response).get(component) or {}).get("status")
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{HEALTH_URL}: {error}\n")
        return 1
    return 0 if status == "healthy" else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
