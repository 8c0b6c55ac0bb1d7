"""The champion in use: watched in the store, loaded beside the old one, swapped when it has passed every check."""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from preptime.api.active_model import ActiveModel
from preptime.bundle.bundle import Bundle, fetch_verified
from preptime.bundle.champion_log import ChampionLog, LogEntry
from preptime.bundle.store import Store
from preptime.domain.orders import UNKNOWN_CODE, OrderColumns
from preptime.errors import BundleVerificationError, StoreError, UsageError

_WARM_UP_RUNS = 3
"""The first run of a graph allocates what the later ones use again."""

MIN_RETRY_SECONDS, MAX_RETRY_SECONDS = 60.0, 600.0
"""A refused bundle is tried again after the first, then after twice as long each time, up to the second.

A bundle never changes, but what hindered it may: a folder that is still being copied, a disk that misread, a file that
was restored. To load one costs about a second of one core, so that it isn't done at every look.
"""

_WATCHER_DIED = (
    "A fault ended the watcher of the champion log: no later champion is seen until the server is restarted."
)
_LOG_EMPTIED = "The champion log is empty; it was not when this champion was loaded."

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RejectedChampion:
    """A promotion that this worker did not follow."""

    champion_number: int
    """The entry in the champion log; another entry is another chance at once."""
    bundle: str
    reason: str
    retry_delay_seconds: float
    """Between this try and the next."""
    retry_at: float
    """When it is tried next, by the watcher's clock."""

    @property
    def identity(self) -> tuple[int, str, str]:
        """What there is to say of it."""
        return self.champion_number, self.bundle, self.reason


@dataclass(frozen=True, slots=True)
class WatcherState:
    """What a worker knows of the champion. Replaced as a whole, so that a reader never sees half of a change."""

    active_model: ActiveModel | None = None
    rejected: RejectedChampion | None = None
    store_error: str | None = None
    """Why the store could not be asked; what is served then goes on."""


class ChampionWatcher:
    """Looks at the champion log every `poll_seconds` in a thread of its own, and once at `start`."""

    def __init__(
        self,
        log: ChampionLog,
        load_champion: Callable[[LogEntry], ActiveModel],
        *,
        poll_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._load = load_champion
        self._poll_seconds = poll_seconds
        self._clock = clock
        self._state = WatcherState()
        self._first_poll_done = threading.Event()
        self._stop_requested = threading.Event()
        self._thread = threading.Thread(target=self._poll_loop, name="champion-watcher", daemon=True)

    @property
    def state(self) -> WatcherState:
        """All that is known."""
        return self._state

    def active_model(self) -> ActiveModel | None:
        """The champion in use, or nothing before the first one."""
        return self._state.active_model

    def champion_error(self) -> str | None:
        """Why the latest champion is not the one in use, or may not be; nothing when it is."""
        state = self._state
        return state.rejected.reason if state.rejected else state.store_error

    def start(self, *, timeout_seconds: float) -> None:
        """Begin to watch; wait until the first look is over, but no longer than that."""
        self._thread.start()
        self._first_poll_done.wait(timeout_seconds)

    def stop(self) -> None:
        """End the thread. What is served stays served."""
        self._stop_requested.set()
        if self._thread.is_alive():
            self._thread.join(self._poll_seconds)

    def poll(self) -> None:
        """Ask the log once, and follow it."""
        previous = self._state
        try:
            current = self._next_state(previous, self._log.current())
        except (StoreError, OSError) as error:
            current = replace(previous, store_error=str(error))
        self._state = current
        _log_changes(previous, current)

    def _poll_loop(self) -> None:
        try:
            while not self._stop_requested.is_set():
                self.poll()
                self._first_poll_done.set()
                self._stop_requested.wait(self._poll_seconds)
        finally:
            if not self._stop_requested.is_set():
                self._state = replace(self._state, store_error=_WATCHER_DIED)
                logger.critical(_WATCHER_DIED)

    def _next_state(self, state: WatcherState, entry: LogEntry | None) -> WatcherState:
        if entry is None:
            return WatcherState() if state.active_model is None else replace(state, store_error=_LOG_EMPTIED)
        earlier_rejection = (
            state.rejected if state.rejected is not None and state.rejected.champion_number == entry.number else None
        )
        if earlier_rejection is not None and self._clock() < earlier_rejection.retry_at:
            return replace(state, store_error=None)
        if state.active_model is not None and state.active_model.bundle.manifest.id == entry.bundle:
            return WatcherState(replace(state.active_model, entry=entry))
        loaded = self._try_load(entry)
        if isinstance(loaded, ActiveModel):
            return WatcherState(loaded)
        latest = self._log.current()
        if latest is not None and latest.number != entry.number:  # promoted past, and pruned, while it was read
            return self._next_state(state, latest)
        retry_delay = (
            MIN_RETRY_SECONDS
            if earlier_rejection is None
            else min(2 * earlier_rejection.retry_delay_seconds, MAX_RETRY_SECONDS)
        )
        rejected = RejectedChampion(entry.number, entry.bundle, loaded, retry_delay, self._clock() + retry_delay)
        return WatcherState(state.active_model or self._load_previous(entry), rejected)

    def _load_previous(self, rejected: LogEntry) -> ActiveModel | None:
        """The newest champion before a refused one that opens: for a worker that starts and has none to go on with."""
        for entry in reversed(self._log.entries()):
            if entry.number >= rejected.number or entry.bundle == rejected.bundle:
                continue
            loaded = self._try_load(entry)
            if isinstance(loaded, ActiveModel):
                return loaded
            logger.warning("Nor can %s be served, champion number %d: %s", entry.bundle, entry.number, loaded)
        return None

    def _try_load(self, entry: LogEntry) -> ActiveModel | str:
        """What is to be served, or why it cannot be. Raises `StoreError` and `OSError`: then it is the store."""
        try:
            return self._load(entry)
        except (BundleVerificationError, UsageError) as error:
            return str(error)
        except (StoreError, OSError):
            raise
        except Exception as error:
            logger.exception("A fault of ours in loading %s", entry.bundle)
            return f"loading it failed unexpectedly ({type(error).__name__}); the server's log has the story."


def champion_loader(store: Store) -> Callable[[LogEntry], ActiveModel]:
    """How a champion becomes what is served: fetched, verified (golden orders too), warmed, prepared."""

    def load_champion(entry: LogEntry) -> ActiveModel:
        bundle = fetch_verified(store, entry.bundle)
        warm_up(bundle)
        return ActiveModel.from_bundle(bundle, entry, dt.datetime.now(dt.UTC).isoformat(timespec="seconds"))

    return load_champion


def warm_up(bundle: Bundle) -> None:
    """Ask for one order a few times, so that the first real one is answered as quickly as the later ones."""
    unknown = np.array([UNKNOWN_CODE], np.int32)
    order = OrderColumns(
        acknowledged_at=np.array([0]),
        restaurant_id=np.array([UNKNOWN_CODE]),
        order_value_gbp=np.array([1.0]),
        number_of_items=np.array([1]),
        country=unknown,
        city=unknown,
        type_of_food=unknown,
    )
    for _ in range(_WARM_UP_RUNS):
        bundle.predict(order)
        bundle.predict(order, ())


def _log_changes(previous: WatcherState, current: WatcherState) -> None:
    """Say what changed, and nothing when nothing did."""
    if current.active_model is not None and (
        previous.active_model is None or previous.active_model.bundle is not current.active_model.bundle
    ):
        entry = current.active_model.entry
        logger.info("Serving %s, champion number %d (%s)", entry.bundle, entry.number, entry.action)
    if current.rejected is not None and (
        previous.rejected is None or current.rejected.identity != previous.rejected.identity
    ):
        logger.error(
            "Refused %s, champion number %d: %s",
            current.rejected.bundle,
            current.rejected.champion_number,
            current.rejected.reason,
        )
    if current.store_error != previous.store_error:
        if current.store_error is None:
            logger.info("The store answers again")
        else:
            logger.warning("What is served goes on; the store does not answer: %s", current.store_error)
