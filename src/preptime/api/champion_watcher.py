"""The champion watcher: polls the champion log, verifies a new champion, and replaces the active model.

A new champion is loaded while the previous one stays in use. It becomes active after it passes every check.
"""

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
"""The first run of a graph allocates memory that later runs reuse."""

MIN_RETRY_SECONDS, MAX_RETRY_SECONDS = 60.0, 600.0
"""Delay before a rejected bundle is retried: the minimum at first, then twice the previous delay, up to the maximum.

A bundle never changes, but the cause of the failure can disappear: an unfinished copy, a read error, a missing file.
Loading a bundle takes about a second of one core, so it isn't retried at every poll.
"""

_WATCHER_DIED = "The champion watcher stopped because of an unexpected error. Restart the server to load new champions."
_LOG_EMPTIED = "The champion log is empty, but it had an entry when the active champion was loaded."

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RejectedChampion:
    """A champion that this worker failed to load."""

    champion_number: int
    """Number of the entry in the champion log. A new entry is tried immediately."""
    bundle: str
    reason: str
    retry_delay_seconds: float
    """Delay between this attempt and the next."""
    retry_at: float
    """Time of the next attempt, on the watcher's clock."""

    @property
    def identity(self) -> tuple[int, str, str]:
        """The values that identify this rejection in the log: it's logged once, not at every attempt."""
        return self.champion_number, self.bundle, self.reason


@dataclass(frozen=True, slots=True)
class WatcherState:
    """What a worker knows about the champion. Replaced as a whole, so that readers never see a partial change."""

    active_model: ActiveModel | None = None
    rejected: RejectedChampion | None = None
    store_error: str | None = None
    """Why the store is unavailable. The active model stays in use."""


class ChampionWatcher:
    """Polls the champion log every `poll_seconds` in its own thread, and once at `start`."""

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
        """The current state."""
        return self._state

    def active_model(self) -> ActiveModel | None:
        """Return the active model, or None before the first champion is loaded."""
        return self._state.active_model

    def champion_error(self) -> str | None:
        """Return why the latest champion isn't active or may not be, or None if it is active."""
        state = self._state
        return state.rejected.reason if state.rejected else state.store_error

    def start(self, *, timeout_seconds: float) -> None:
        """Start the thread. Wait until the first poll is done, at most `timeout_seconds`."""
        self._thread.start()
        self._first_poll_done.wait(timeout_seconds)

    def stop(self) -> None:
        """Stop the thread. The active model stays in use."""
        self._stop_requested.set()
        if self._thread.is_alive():
            self._thread.join(self._poll_seconds)

    def poll(self) -> None:
        """Read the champion log once and load a new champion if there is one."""
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
        if latest is not None and latest.number != entry.number:  # superseded and pruned while it was loading
            return self._next_state(state, latest)
        retry_delay = (
            MIN_RETRY_SECONDS
            if earlier_rejection is None
            else min(2 * earlier_rejection.retry_delay_seconds, MAX_RETRY_SECONDS)
        )
        rejected = RejectedChampion(entry.number, entry.bundle, loaded, retry_delay, self._clock() + retry_delay)
        return WatcherState(state.active_model or self._load_previous(entry), rejected)

    def _load_previous(self, rejected: LogEntry) -> ActiveModel | None:
        """Return the newest earlier champion that loads, for a worker that has no active model yet."""
        for entry in reversed(self._log.entries()):
            if entry.number >= rejected.number or entry.bundle == rejected.bundle:
                continue
            loaded = self._try_load(entry)
            if isinstance(loaded, ActiveModel):
                return loaded
            logger.warning("Fallback bundle %s (champion %d) failed to load: %s", entry.bundle, entry.number, loaded)
        return None

    def _try_load(self, entry: LogEntry) -> ActiveModel | str:
        """Return the loaded model, or why it can't be loaded.

        Raises `StoreError` or `OSError` if the store is unavailable.
        """
        try:
            return self._load(entry)
        except (BundleVerificationError, UsageError) as error:
            return str(error)
        except (StoreError, OSError):
            raise
        except Exception as error:
            logger.exception("Unexpected error while loading bundle %s", entry.bundle)
            return f"Loading failed unexpectedly ({type(error).__name__}). For details, see the server log."


def champion_loader(store: Store) -> Callable[[LogEntry], ActiveModel]:
    """Return a function that fetches, verifies (including golden orders), warms up, and prepares a champion."""

    def load_champion(entry: LogEntry) -> ActiveModel:
        bundle = fetch_verified(store, entry.bundle)
        warm_up(bundle)
        return ActiveModel.from_bundle(bundle, entry, dt.datetime.now(dt.UTC).isoformat(timespec="seconds"))

    return load_champion


def warm_up(bundle: Bundle) -> None:
    """Predict one order a few times, so that the first real order is as fast as later ones."""
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
    """Log what changed between two states."""
    if current.active_model is not None and (
        previous.active_model is None or previous.active_model.bundle is not current.active_model.bundle
    ):
        entry = current.active_model.entry
        logger.info("Serving bundle %s (champion %d, %s)", entry.bundle, entry.number, entry.action)
    if current.rejected is not None and (
        previous.rejected is None or current.rejected.identity != previous.rejected.identity
    ):
        logger.error(
            "Rejected bundle %s (champion %d): %s",
            current.rejected.bundle,
            current.rejected.champion_number,
            current.rejected.reason,
        )
    if current.store_error != previous.store_error:
        if current.store_error is None:
            logger.info("The store is available again.")
        else:
            logger.warning("The store is unavailable. The active bundle stays in use. %s", current.store_error)
