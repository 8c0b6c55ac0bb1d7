"""The entry point of Airflow's image: writes the file of users that Airflow reads, then becomes `airflow`."""

import json
import os
import sys
from pathlib import Path

AIRFLOW = "/opt/airflow/bin/airflow"


def main() -> None:
    """Who may log in comes from the demo's variables; without a password nobody is written down."""
    password = os.environ.get("_AIRFLOW_WWW_USER_PASSWORD")
    passwords_file = os.environ.get("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE")
    if password and passwords_file:
        Path(passwords_file).touch(mode=0o600)
        Path(passwords_file).write_text(
            json.dumps({os.environ["_AIRFLOW_WWW_USER_USERNAME"]: password}), encoding="utf-8"
        )
    os.execv(AIRFLOW, [AIRFLOW, *sys.argv[1:]])  # one program, with the arguments that Docker was given


if __name__ == "__main__":
    main()
