"""A process that publishes a bundle and dies on the way: `crash_during_write.py STORE FILES BUNDLE OLD STEP [BYTES]`.

It dies just before its STEP-th operation on the store's files, seen by Python's audit events, so that the code under
test knows nothing of it; with BYTES, in the middle of writing the first file that is longer. At STEP 0 it lives, and
says how many operations there were.
"""

from __future__ import annotations

import datetime as dt
import os
import sys
from pathlib import Path

from preptime.bundle.champion_log import ChampionLog, LogEntryDraft
from preptime.bundle.store import Store

OPERATIONS = {"open", "os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir", "os.scandir", "shutil.rmtree"}
DIED = 9


def die_at(root: str, step: int) -> list[int]:
    """Die before the `step`-th operation on a path under `root`. The list holds how many there have been."""
    count = [0]

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if event in OPERATIONS and any(isinstance(path, str | Path) and root in str(path) for path in arguments):
            count[0] += 1
            if count[0] == step:
                os._exit(DIED)

    sys.addaudithook(watch)
    return count


def die_beyond(length: int) -> None:
    """Let the kernel end this process when a file grows beyond `length` bytes. Not on Windows."""
    import resource
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (length, length))


def main(root: str, source: str, bundle: str, old: str, *when: str) -> None:
    """Publish `bundle`, promote it, delete `old`."""
    step, *length = (int(word) for word in when)
    files = {path.relative_to(source).as_posix(): path.read_bytes() for path in Path(source).rglob("*.*")}
    store = Store.open(root)
    log = ChampionLog(store)
    champion = log.current()
    draft = LogEntryDraft(
        bundle=bundle, date=dt.date(2015, 6, 18), action="promote", reason="crash", by="test", at="2015-06-18T05:00:00Z"
    )
    if length:
        die_beyond(length[0])
    count = die_at(root, step)
    store.write_bundle_files(bundle, files)
    log.append(draft, champion)
    if store.has_bundle(old):
        store.delete(old)
    sys.stdout.write(str(count[0]))


if __name__ == "__main__":
    main(*sys.argv[1:])
