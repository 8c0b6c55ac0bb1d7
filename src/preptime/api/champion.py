"""The champion in use: watched in the store, loaded beside the old one, swapped when it has passed every check."""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from preptime.api.serving import Serving
from preptime.bundle.bundle import Bundle, verify
from preptime.bundle.champions import ChampionLog, Entry
from preptime.bundle.store import Store
from preptime.domain.order import UNKNOWN, OrderColumns
from preptime.errors import RefusedBundleError, StoreError, UsageError

_WARM_RUNS = 3
"""The first run of a graph allocates what the later ones use again."""

RETRY_SECONDS, LONGEST_RETRY_SECONDS = 60.0, 600.0
"""A refused bundle is tried again after the first, then after twice as long each time, up to the second.

A bundle never changes, but what hindered it may: a folder that is still being copied, a disk that misread, a file that
was restored. To load one costs about a second of one core, so that it isn't done at every look.
"""

_DEAD = "A fault ended the watcher of the champion log: no later champion is seen until the server is restarted."
_EMPTIED = "The champion log is empty; it was not when this champion was loaded."

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A promotion that this worker did not follow."""

    number: int
    """The entry in the champion log; another entry is another chance at once."""
    bundle: str
    why: str
    wait_seconds: float
    """Between this try and the next."""
    again_at: float
    """When it is tried next, by the watcher's clock."""

    @property
    def facts(self) -> tuple[int, str, str]:
        """What there is to say of it."""
        return self.number, self.bundle, self.why


@dataclass(frozen=True, slots=True)
class Situation:
    """What a worker knows of the champion. Replaced as a whole, so that a reader never sees half of a change."""

    serving: Serving | None = None
    refused: Refusal | None = None
    store_trouble: str | None = None
    """Why the store could not be asked; what is served then goes on."""


class Watcher:
    """Looks at the champion log every `seconds` in a thread of its own, and once at `start`."""

    def __init__(
        self,
        log: ChampionLog,
        open_champion: Callable[[Entry], Serving],
        *,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._open = open_champion
        self._seconds = seconds
        self._clock = clock
        self._situation = Situation()
        self._looked = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="champion-watcher", daemon=True)

    @property
    def situation(self) -> Situation:
        """All that is known."""
        return self._situation

    def serving(self) -> Serving | None:
        """The champion in use, or nothing before the first one."""
        return self._situation.serving

    def refusal(self) -> str | None:
        """Why the latest champion is not the one in use, or may not be; nothing when it is."""
        now = self._situation
        return now.refused.why if now.refused else now.store_trouble

    def start(self, *, wait_seconds: float) -> None:
        """Begin to watch; wait until the first look is over, but no longer than that."""
        self._thread.start()
        self._looked.wait(wait_seconds)

    def stop(self) -> None:
        """End the thread. What is served stays served."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(self._seconds)

    def look(self) -> None:
        """Ask the log once, and follow it."""
        before = self._situation
        try:
            after = self._follow(before, self._log.current())
        except (StoreError, OSError) as error:
            after = replace(before, store_trouble=str(error))
        self._situation = after
        _tell(before, after)

    def _watch(self) -> None:
        try:
            while not self._stopped.is_set():
                self.look()
                self._looked.set()
                self._stopped.wait(self._seconds)
        finally:
            if not self._stopped.is_set():
                self._situation = replace(self._situation, store_trouble=_DEAD)
                logger.critical(_DEAD)

    def _follow(self, now: Situation, entry: Entry | None) -> Situation:
        if entry is None:
            return Situation() if now.serving is None else replace(now, store_trouble=_EMPTIED)
        before = now.refused if now.refused is not None and now.refused.number == entry.number else None
        if before is not None and self._clock() < before.again_at:
            return replace(now, store_trouble=None)
        if now.serving is not None and now.serving.bundle.manifest.id == entry.bundle:
            return Situation(replace(now.serving, entry=entry))
        found = self._opened(entry)
        if isinstance(found, Serving):
            return Situation(found)
        latest = self._log.current()
        if latest is not None and latest.number != entry.number:  # promoted past, and pruned, while it was read
            return self._follow(now, latest)
        wait = RETRY_SECONDS if before is None else min(2 * before.wait_seconds, LONGEST_RETRY_SECONDS)
        refused = Refusal(entry.number, entry.bundle, found, wait, self._clock() + wait)
        return Situation(now.serving or self._before(entry), refused)

    def _before(self, refused: Entry) -> Serving | None:
        """The newest champion before a refused one that opens: for a worker that starts and has none to go on with."""
        for entry in reversed(self._log.history()):
            if entry.number >= refused.number or entry.bundle == refused.bundle:
                continue
            found = self._opened(entry)
            if isinstance(found, Serving):
                return found
            logger.warning("Nor can %s be served, champion number %d: %s", entry.bundle, entry.number, found)
        return None

    def _opened(self, entry: Entry) -> Serving | str:
        """What is to be served, or why it cannot be. Raises `StoreError` and `OSError`: then it is the store."""
        try:
            return self._open(entry)
        except (RefusedBundleError, UsageError) as error:
            return str(error)
        except (StoreError, OSError):
            raise
        except Exception as error:
            logger.exception("A fault of ours in loading %s", entry.bundle)
            return f"loading it failed unexpectedly ({type(error).__name__}); the server's log has the story."


def champion_opener(store: Store) -> Callable[[Entry], Serving]:
    """How a champion becomes what is served: fetched, verified (golden orders too), warmed, prepared."""

    def open_champion(entry: Entry) -> Serving:
        bundle = verify(store, entry.bundle)
        warm(bundle)
        return Serving.of(bundle, entry, dt.datetime.now(dt.UTC).isoformat(timespec="seconds"))

    return open_champion


def warm(bundle: Bundle) -> None:
    """Ask for one order a few times, so that the first real one is answered as quickly as the later ones."""
    unknown = np.array([UNKNOWN], np.int32)
    order = OrderColumns(
        acknowledged_at=np.array([0]),
        restaurant_id=np.array([UNKNOWN]),
        order_value_gbp=np.array([1.0]),
        number_of_items=np.array([1]),
        country=unknown,
        city=unknown,
        type_of_food=unknown,
    )
    for _ in range(_WARM_RUNS):
        bundle.predict(order)
        bundle.predict(order, ())


def _tell(before: Situation, after: Situation) -> None:
    """Say what changed, and nothing when nothing did."""
    if after.serving is not None and (before.serving is None or before.serving.bundle is not after.serving.bundle):
        entry = after.serving.entry
        logger.info("Serving %s, champion number %d (%s)", entry.bundle, entry.number, entry.action)
    if after.refused is not None and (before.refused is None or after.refused.facts != before.refused.facts):
        logger.error(
            "Refused %s, champion number %d: %s", after.refused.bundle, after.refused.number, after.refused.why
        )
    if after.store_trouble != before.store_trouble:
        if after.store_trouble is None:
            logger.info("The store answers again")
        else:
            logger.warning("What is served goes on; the store does not answer: %s", after.store_trouble)
