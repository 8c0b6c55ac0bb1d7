"""A process that crashes while it publishes a bundle: `crash_during_write.py STORE FILES BUNDLE OLD STEP [BYTES]`.

It exits just before its STEP-th operation on the store's files. Python's audit events detect operations, so the tested
code doesn't need to cooperate. With BYTES, it's killed while it writes the first file that is larger. With STEP 0, it
completes and prints the number of operations.
"""

from __future__ import annotations

import datetime as dt
import os
import sys
from pathlib import Path

from preptime.bundle.champion_log import ChampionLog, LogEntryDraft
from preptime.bundle.store import Store

OPERATIONS = {"open", "os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir", "os.scandir", "shutil.rmtree"}
EXIT_CODE = 9


def exit_before_operation(root: str, step: int) -> list[int]:
    """Exit before the `step`-th operation on a path under `root`. Return a list with the number of operations."""
    count = [0]

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if event in OPERATIONS and any(isinstance(path, str | Path) and root in str(path) for path in arguments):
            count[0] += 1
            if count[0] == step:
                os._exit(EXIT_CODE)

    sys.addaudithook(watch)
    return count


def limit_file_size(length: int) -> None:
    """Make the kernel kill this process when a file becomes larger than `length` bytes. Not on Windows."""
    import resource
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (length, length))


def main(root: str, source: str, bundle: str, old: str, *crash: str) -> None:
    """Publish `bundle`, promote it, and delete `old`."""
    step, *length = (int(argument) for argument in crash)
    files = {path.relative_to(source).as_posix(): path.read_bytes() for path in Path(source).rglob("*.*")}
    store = Store.open(root)
    log = ChampionLog(store)
    champion = log.current()
    draft = LogEntryDraft(
        bundle=bundle, date=dt.date(2015, 6, 18), action="promote", reason="crash", by="test", at="2015-06-18T05:00:00Z"
    )
    if length:
        limit_file_size(length[0])
    count = exit_before_operation(root, step)
    store.write_bundle_files(bundle, files)
    log.append(draft, champion)
    if store.has_bundle(old):
        store.delete(old)
    sys.stdout.write(str(count[0]))


if __name__ == "__main__":
    main(*sys.argv[1:])
