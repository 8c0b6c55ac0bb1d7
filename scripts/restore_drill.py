"""Back up a store, restore it to an empty store, and check the result: a drill before it's needed.

    python -m scripts.restore_drill --store models --backup gs://BUCKET/backup --restored /tmp/restored

The drill copies what is new in the store to the backup, copies the backup to the empty store, loads every bundle of
the log there, and compares the champions. It prints what the last backup missed (RPO, the recovery point objective) and
the duration of the restore (RTO, the recovery time objective). The store itself never changes.
"""

from __future__ import annotations

import argparse
import datetime as dt
import sys
import time
from dataclasses import dataclass

from preptime.bundle.champion_log import ChampionLog
from preptime.bundle.copying import copy_store
from preptime.bundle.isolated_check import check_bundle
from preptime.bundle.store import Store
from preptime.errors import OperationError, PreptimeError, UsageError


@dataclass(frozen=True)
class Drill:
    """The result of a drill."""

    champion: str
    verified: tuple[str, ...]
    """The bundles of the log that were loaded from the restored store."""
    not_in_backup: int
    """Number of log entries that the last backup didn't have."""
    lost_seconds: float
    """RPO: the time since the first of these entries, or 0."""
    restore_seconds: float
    """RTO: the duration of the restore, without the checks."""


def run_drill(store: Store, backup: Store, restored: Store, now: float) -> Drill:
    """Back up, restore, and check. `now` is in seconds since 1970.

    Raises:
        UsageError: The store has no champion, or the restored store isn't empty.
        OperationError: The restored store has another champion.
        BundleVerificationError: A bundle is damaged.
        StoreError: A store can't be used.
    """
    champion = ChampionLog(store).current()
    if champion is None:
        raise UsageError(f"{store.url} has no champion.", "Pass the store of the API with --store.")
    if restored.bundle_ids() or restored.log_file_names():
        raise UsageError(f"{restored.url} isn't empty.", "Pass an empty folder with --restored.")
    new = [name for name in store.log_file_names() if name not in backup.log_file_names()]
    lost_seconds = max(now - store.log_written_at(new[0]), 0.0) if new else 0.0
    copy_store(store, backup)
    start = time.monotonic()
    copy_store(backup, restored)
    restore_seconds = time.monotonic() - start
    log = ChampionLog(restored)
    current = log.current()
    if current is None or current.bundle != champion.bundle:
        raise OperationError(f"The restored champion is {current and current.bundle}, instead of {champion.bundle}.")
    verified = sorted({entry.bundle for entry in log.entries() if restored.has_bundle(entry.bundle)})
    for bundle in verified:
        check_bundle(restored, bundle)
    return Drill(champion.bundle, tuple(verified), len(new), lost_seconds, restore_seconds)


def main(arguments: list[str]) -> int:
    """Run the drill and print its result. Return 0, or 1 if it failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--store", required=True, help="the store of the API")
    parser.add_argument("--backup", required=True, help="the store with the backup")
    parser.add_argument("--restored", required=True, help="an empty folder, or an empty folder in a bucket")
    options = parser.parse_args(arguments)
    try:
        drill = run_drill(
            Store.open(options.store), Store.open(options.backup), Store.open(options.restored), now=time.time()
        )
    except PreptimeError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    lost = dt.timedelta(seconds=round(drill.lost_seconds))
    print(f"Champion: {drill.champion}. Bundles of the log that load: {len(drill.verified)}.")
    print(f"RPO: the last backup missed {drill.not_in_backup} log entries, the first of them {lost} old.")
    print(f"RTO: {drill.restore_seconds:.1f} s to restore, without checks.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
