"""The entry point of the Airflow image: writes Airflow's file of users, then runs `airflow`."""

import json
import os
import sys
from pathlib import Path

AIRFLOW = "/opt/airflow/bin/airflow"


def main() -> None:
    """Write the user and password from the environment, if there is a password, and run Airflow."""
    password = os.environ.get("_AIRFLOW_WWW_USER_PASSWORD")
    passwords_file = os.environ.get("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE")
    if password and passwords_file:
        Path(passwords_file).touch(mode=0o600)
        Path(passwords_file).write_text(
            json.dumps({os.environ["_AIRFLOW_WWW_USER_USERNAME"]: password}), encoding="utf-8"
        )
    os.execv(AIRFLOW, [AIRFLOW, *sys.argv[1:]])  # The program is a constant.


if __name__ == "__main__":
    main()
