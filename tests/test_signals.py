"""Signals in a process with several threads."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

from preptime.signals import TERMINATION_SECONDS, wake_main_thread
from tests.requirements import requires


def test_signal_to_another_thread_ends_wait_of_main_thread() -> None:
    requires(os.name == "posix", "Windows can't send a signal to a thread")
    received = threading.Event()
    previous = signal.signal(signal.SIGUSR1, lambda *_: received.set())

    def send_to_itself() -> None:
        time.sleep(0.3)  # Then the main thread waits.
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)

    try:
        with wake_main_thread():
            threading.Thread(target=send_to_itself).start()
            assert received.wait(60)
    finally:
        signal.signal(signal.SIGUSR1, previous)


FORK = """
import multiprocessing, time
from preptime.signals import clean_exit_on_sigterm
with clean_exit_on_sigterm():
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
    child.start()
    time.sleep(0.3)
    child.terminate()
    child.join()
    time.sleep(TERMINATION_SECONDS + 1)
    print("end of work")
"""


def test_sigterm_of_a_forked_child_does_not_end_its_parent() -> None:
    requires(hasattr(os, "fork"), "Windows has no fork")
    program = FORK.replace("TERMINATION_SECONDS", str(TERMINATION_SECONDS))
    completed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (completed.returncode, completed.stdout) == (0, "end of work\n"), completed.stderr


def test_wake_main_thread_restores_signals() -> None:
    requires(os.name == "posix", "Windows can't send a signal to a thread")
    previous = signal.getsignal(signal.SIGURG)
    with wake_main_thread():
        assert signal.getsignal(signal.SIGURG) is not previous
    assert signal.getsignal(signal.SIGURG) is previous
    assert signal.set_wakeup_fd(-1) == -1


def test_wake_main_thread_does_nothing_in_another_thread() -> None:
    def use() -> None:
        with wake_main_thread():
            handlers.append(signal.getsignal(signal.SIGTERM))

    handlers: list[object] = []
    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGTERM)]
