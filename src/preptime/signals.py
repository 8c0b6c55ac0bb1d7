"""Handling of signals, also while the main thread computes or waits."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from preptime.atomic_write import remove_own_temporaries

TERMINATED = 128 + 15
"""Exit status after SIGTERM, as in shells."""
TERMINATION_SECONDS = 2.0
"""How long the main thread has to clean up after SIGTERM. A library may not return control for longer than that."""

_write_ends = set[int]()
"""The pipes that this process writes the numbers of its signals to."""


def _can_handle_signals() -> bool:
    """Return whether this is the main thread of a system with POSIX signals: only there, Python sets handlers."""
    return sys.platform != "win32" and threading.current_thread() is threading.main_thread()


@contextmanager
def _watch_signals(on_signal: Callable[[int], None]) -> Iterator[None]:
    """Call `on_signal` in a thread with the number of every signal that has a handler in Python.

    The thread receives the numbers also while the main thread computes or waits. Use it in the main thread.
    """
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    _write_ends.add(write_end)
    previous_fd = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    threading.Thread(target=_read_signals, args=(read_end, on_signal), name="signals", daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(previous_fd)
        _write_ends.discard(write_end)
        os.close(write_end)  # ends the thread, which closes the other end


def _read_signals(read_end: int, on_signal: Callable[[int], None]) -> None:
    while number := os.read(read_end, 1):
        on_signal(number[0])
    os.close(read_end)


def _stop_watching_in_child() -> None:
    """A forked child shares the pipe, but its signals aren't those of its parent."""
    if _write_ends:
        signal.set_wakeup_fd(-1)


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_stop_watching_in_child)


@contextmanager
def wake_main_thread() -> Iterator[None]:
    """Let the main thread run the handler of every signal immediately, also while it waits for a lock.

    Python runs handlers only in the main thread. A signal that the main thread receives ends its wait, but the system
    can give the signal to any thread, for example to one that starts a thread or a process at that moment. Then the
    handler would run when the wait ends by itself. Here, every signal interrupts the main thread with SIGURG, which
    does nothing else. On Windows, and in another thread than the main one, this does nothing.
    """
    if not _can_handle_signals():
        yield
        return
    main_thread = threading.get_ident()

    def interrupt(number: int) -> None:
        if number != signal.SIGURG:
            signal.pthread_kill(main_thread, signal.SIGURG)

    previous_handler = signal.signal(signal.SIGURG, lambda *_: None)
    try:
        with _watch_signals(interrupt):
            yield
    finally:
        signal.signal(signal.SIGURG, previous_handler)


@contextmanager
def clean_exit_on_sigterm() -> Iterator[None]:
    """End the process with status 143 after SIGTERM, without temporary files.

    The main thread raises `SystemExit`. If it doesn't end within `TERMINATION_SECONDS`, for example because a library
    computes, another thread removes the temporary files and ends the process. Use it in the main thread, and not around
    a server, which has its own handler. On Windows, a process can't handle its termination.
    """
    if not _can_handle_signals():
        yield
        return
    ended = threading.Event()

    def exit_after_sigterm(number: int) -> None:
        if number == signal.SIGTERM and not ended.wait(TERMINATION_SECONDS):
            remove_own_temporaries()
            os._exit(TERMINATED)

    previous_handler = signal.signal(signal.SIGTERM, _raise_system_exit)
    try:
        with _watch_signals(exit_after_sigterm):
            yield
    finally:
        ended.set()
        signal.signal(signal.SIGTERM, previous_handler)


def _raise_system_exit(_number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(TERMINATED)
