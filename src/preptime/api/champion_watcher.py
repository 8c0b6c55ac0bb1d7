"""The champion watcher: polls the champion log, verifies a new champion, and replaces the active model.

A new champion is loaded in its own thread, while the previous one stays in use and the log is still polled. It becomes
active after it passes every check. If a newer champion is promoted before that, the load is cancelled.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from preptime.api.active_model import ActiveModel
from preptime.bundle.champion_log import ChampionLog, LogEntry
from preptime.bundle.isolated_check import Cancellation, CheckCancelledError
from preptime.errors import BundleVerificationError, OperationError, StoreError, UsageError

MIN_RETRY_SECONDS, MAX_RETRY_SECONDS = 60.0, 600.0
"""Delay before a rejected bundle is retried: the minimum at first, then twice the previous delay, up to the maximum.

A bundle never changes, but the cause of the failure can disappear: an unfinished copy, a read error, a missing file.
Loading a bundle takes about a second of one core, so it isn't retried at every poll.
"""

_WATCHER_DIED = "The champion watcher stopped because of an unexpected error. Restart the server to load new champions."
_LOG_EMPTIED = "The champion log is empty, but it had an entry before."

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

    @property
    def has_seen_champion(self) -> bool:
        """Whether the champion log had an entry. If it's empty now, its folder may be gone."""
        return self.active_model is not None or self.rejected is not None


LoadChampion = Callable[[LogEntry, Cancellation], ActiveModel]
"""Loads and verifies the bundle of an entry. Another thread can cancel it."""


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What a load returned: an active model, a reason for the rejection of the champion, or both, or a store error."""

    active_model: ActiveModel | None = None
    """The new champion. If it was rejected: an earlier one, for a worker without an active model."""
    rejection: str | None = None
    store_error: str | None = None


class ChampionLoad:
    """The load of one champion in its own thread."""

    def __init__(self, entry: LogEntry, load_champion: LoadChampion, log: ChampionLog, *, use_earlier: bool) -> None:
        """With `use_earlier`, the newest earlier champion that loads replaces a rejected one."""
        self.entry = entry
        self.finished = threading.Event()
        self.result = LoadResult()
        self._load_champion = load_champion
        self._log = log
        self._use_earlier = use_earlier
        self._cancellation = Cancellation()

    def start(self, on_finished: Callable[[], None]) -> None:
        """Start the thread. It calls `on_finished` at its end."""

        def run() -> None:
            try:
                self.result = self._load()
            except CheckCancelledError:
                logger.info("Stopped loading bundle %s: a newer champion exists.", self.entry.bundle)
            except (StoreError, OSError) as error:
                self.result = LoadResult(store_error=str(error))
            finally:
                self.finished.set()
                on_finished()

        threading.Thread(target=run, name="champion-load", daemon=True).start()

    def cancel(self) -> None:
        """Stop the check of the bundle, and ignore the result. A read that hangs in the storage isn't interrupted."""
        self._cancellation.cancel()

    def _load(self) -> LoadResult:
        loaded = self._try_load(self.entry)
        if isinstance(loaded, ActiveModel):
            return LoadResult(loaded)
        return LoadResult(self._load_earlier() if self._use_earlier else None, loaded)

    def _load_earlier(self) -> ActiveModel | None:
        for entry in reversed(self._log.read_all().entries):
            if entry.number >= self.entry.number or entry.bundle == self.entry.bundle:
                continue
            loaded = self._try_load(entry)
            if isinstance(loaded, ActiveModel):
                return loaded
            logger.warning("Fallback bundle %s (champion %d) failed to load: %s", entry.bundle, entry.number, loaded)
        return None

    def _try_load(self, entry: LogEntry) -> ActiveModel | str:
        """Return the loaded model, or why it can't be loaded.

        Raises `CheckCancelledError`, or `StoreError` or `OSError` if the store is unavailable.
        """
        try:
            return self._load_champion(entry, self._cancellation)
        except (BundleVerificationError, UsageError, OperationError) as error:
            return str(error)
        except (StoreError, OSError, CheckCancelledError):
            raise
        except Exception as error:
            logger.exception("Unexpected error while loading bundle %s", entry.bundle)
            return f"Loading failed unexpectedly ({type(error).__name__}). For details, see the server log."


class ChampionWatcher:
    """Polls the champion log every `poll_seconds` in its own thread, and once at `start`."""

    def __init__(
        self,
        log: ChampionLog,
        load_champion: LoadChampion,
        *,
        poll_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._load_champion = load_champion
        self._poll_seconds = poll_seconds
        self._clock = clock
        self._state = WatcherState()
        self._load: ChampionLoad | None = None
        """The load that runs, or whose result isn't in the state yet. Only one thread polls, so it has no lock."""
        self._load_store_error: str | None = None
        """The store error of the last finished load. A successful read of the log doesn't clear it."""
        self._last_poll_at: float | None = None
        self._first_load_done = threading.Event()
        self._poll_now = threading.Event()
        self._stop_requested = threading.Event()
        self._thread = threading.Thread(target=self._poll_loop, name="champion-watcher", daemon=True)

    @property
    def state(self) -> WatcherState:
        """The current state."""
        return self._state

    @property
    def last_poll_at(self) -> float | None:
        """When the champion log was last read successfully, on the watcher's clock (by default, `time.monotonic`)."""
        return self._last_poll_at

    @property
    def seconds_since_poll(self) -> float | None:
        """How long ago the champion log was last read successfully, or None before the first time."""
        return None if self._last_poll_at is None else max(0.0, self._clock() - self._last_poll_at)

    def active_model(self) -> ActiveModel | None:
        """Return the active model, or None before the first champion is loaded."""
        return self._state.active_model

    def champion_error(self) -> str | None:
        """Return why the latest champion isn't active or may not be, or None if it is active."""
        state, load = self._state, self._load
        if state.rejected is None and state.store_error is None and state.active_model is None and load is not None:
            return f"Bundle {load.entry.bundle} (champion {load.entry.number}) is being loaded and checked."
        return state.rejected.reason if state.rejected else state.store_error

    def is_store_available(self) -> bool:
        """Return whether the store could be read at the latest attempt."""
        return self._state.store_error is None

    def start(self, *, timeout_seconds: float) -> None:
        """Start the thread. Wait until the first champion is loaded or rejected, at most `timeout_seconds`."""
        self._thread.start()
        self._first_load_done.wait(timeout_seconds)

    def stop(self) -> None:
        """Stop the thread and a running load. The active model stays in use."""
        self._stop_requested.set()
        self._poll_now.set()
        if self._thread.is_alive():
            self._thread.join(self._poll_seconds)
        if (load := self._load) is not None:
            load.cancel()

    def poll(self) -> None:
        """Read the champion log once. Start a load if there's a new champion, or use the result of a finished load."""
        previous = self._state
        try:
            entry = self._log.current()
        except (StoreError, OSError) as error:
            current = replace(previous, store_error=str(error))
        else:
            if entry is not None or not previous.has_seen_champion:
                self._last_poll_at = self._clock()
            current = self._next_state(previous, entry)
        self._state = current
        _log_changes(previous, current)

    def _poll_loop(self) -> None:
        try:
            while not self._stop_requested.is_set():
                self._poll_now.clear()
                self.poll()
                if self._load is None:
                    self._first_load_done.set()
                self._poll_now.wait(self._poll_seconds)
        finally:
            if not self._stop_requested.is_set():
                self._state = replace(self._state, store_error=_WATCHER_DIED)
                logger.critical(_WATCHER_DIED)

    def _next_state(self, state: WatcherState, entry: LogEntry | None) -> WatcherState:
        load = self._load
        if load is not None and (entry is None or load.entry.number != entry.number):
            load.cancel()
            load = self._load = None
        if entry is None:
            return replace(state, store_error=_LOG_EMPTIED) if state.has_seen_champion else WatcherState()
        if load is not None:
            if not load.finished.is_set():
                return replace(state, store_error=self._load_store_error)
            self._load = None
            self._load_store_error = load.result.store_error
            return self._apply_result(state, entry, load.result)
        rejected = _rejection_of(entry, state)
        if rejected is not None and self._clock() < rejected.retry_at:
            return replace(state, store_error=None)
        if state.active_model is not None and state.active_model.bundle.manifest.id == entry.bundle:
            return WatcherState(replace(state.active_model, entry=entry))
        self._load = ChampionLoad(entry, self._load_champion, self._log, use_earlier=state.active_model is None)
        self._load.start(self._poll_now.set)
        return replace(state, store_error=self._load_store_error)

    def _apply_result(self, state: WatcherState, entry: LogEntry, result: LoadResult) -> WatcherState:
        if result.store_error is not None:
            return replace(state, store_error=result.store_error)
        if result.rejection is None:
            return WatcherState(result.active_model)
        earlier_rejection = _rejection_of(entry, state)
        retry_delay = (
            MIN_RETRY_SECONDS
            if earlier_rejection is None
            else min(2 * earlier_rejection.retry_delay_seconds, MAX_RETRY_SECONDS)
        )
        rejected = RejectedChampion(
            entry.number, entry.bundle, result.rejection, retry_delay, self._clock() + retry_delay
        )
        return WatcherState(state.active_model or result.active_model, rejected)


def _rejection_of(entry: LogEntry, state: WatcherState) -> RejectedChampion | None:
    """Return the earlier rejection of this entry, or None."""
    rejected = state.rejected
    return rejected if rejected is not None and rejected.champion_number == entry.number else None


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
