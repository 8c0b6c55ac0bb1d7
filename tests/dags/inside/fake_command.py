"""Stands in for the command line.

`verb.py end STATUS`; `verb.py stay FILE` or `verb.py obey FILE` until it is ended: both write their ids to FILE, `stay`
has a child and does not listen to SIGTERM; `verb.py day VERB …`: a morning on which training is wrong use, and
monitoring has an alert.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

DAY = {"train": 2, "monitor": 1}


def main(how: str, what: str, *_: str) -> int:
    """Words on both streams, as the real one has them."""
    if how == "end":
        sys.stdout.write("on standard output\n")
        sys.stdout.flush()
        sys.stderr.write("The reason, last.\n")
        return int(what)
    if how == "day":
        return DAY.get(what, 0)
    ids = [os.getpid()]
    if how == "stay":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        ids.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]).pid)
    Path(what).write_text(" ".join(str(one) for one in ids), encoding="utf-8")
    sys.stdout.write("staying\n")
    sys.stdout.flush()
    time.sleep(60)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
