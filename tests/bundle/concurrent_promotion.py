"""A process that promotes its bundle on a signal from standard input: `concurrent_promotion.py STORE BUNDLE ROUNDS`."""

from __future__ import annotations

import datetime as dt
import sys

from preptime.bundle.champion_log import ChampionLog, LogEntryDraft
from preptime.bundle.store import Store
from preptime.errors import StoreError


def reply(word: str) -> None:
    """Write one line to standard output."""
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def main(url: str, bundle: str, rounds: int) -> None:
    """Read the champion, wait for the signal, and try to replace it, `rounds` times."""
    log = ChampionLog(Store.open(url))
    draft = LogEntryDraft(
        bundle=bundle, date=dt.date(2015, 6, 17), action="promote", reason="race", by=bundle, at="2015-06-17T05:00:00Z"
    )
    reply("ready")
    for _ in range(rounds):
        sys.stdin.readline()
        champion = log.current()
        reply("set")
        sys.stdin.readline()
        try:
            log.append(draft, champion)
            reply("won")
        except StoreError:
            reply("lost")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
