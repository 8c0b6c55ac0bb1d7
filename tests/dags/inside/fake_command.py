"""A replacement for the preptime command.

- `fake_command.py exit STATUS` prints to both streams and exits.
- `fake_command.py ignore FILE` ignores SIGTERM and starts a child process.
- `fake_command.py obey FILE` ends with SIGTERM.
- `fake_command.py day COMMAND ...` plays a day on which training is a usage error and monitoring has an alert.

`ignore` and `obey` write their process ids to FILE.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

DAY_STATUSES = {"train": 2, "monitor": 1}


def main(mode: str, argument: str, *_: str) -> int:
    """Run one of the modes and return the exit status."""
    if mode == "exit":
        sys.stdout.write("A line on standard output.\n")
        sys.stdout.flush()
        sys.stderr.write("The reason, last.\n")
        return int(argument)
    if mode == "day":
        return DAY_STATUSES.get(argument, 0)
    process_ids = [os.getpid()]
    if mode == "ignore":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        process_ids.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]).pid)
    Path(argument).write_text(" ".join(map(str, process_ids)), encoding="utf-8")
    sys.stdout.write("waiting\n")
    sys.stdout.flush()
    time.sleep(60)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
