"""`preptime ui` as a person or a container starts it."""

from __future__ import annotations

import signal
import socket
import time
from pathlib import Path

import pytest

from tests.cli.run_command import preptime
from tests.ui.browser import API_KEY, run_dashboard, key_entry


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_prints_its_address_and_ends_well_when_told_to(tmp_path: Path, how: signal.Signals) -> None:
    with run_dashboard(tmp_path) as page:
        page.wait_until("/_stcore/health")
        assert page.get_response("/")[0] == 200
        assert page.get_response("/downloads/guess")[0] == 404
        assert (tmp_path / "output.txt").read_text() == f"Dashboard: {page.url} (press Ctrl-C to stop)\n"
        page.process.send_signal(how)
        assert page.process.wait(30) == 0
        assert page.stderr_text() == ""
    assert list((tmp_path / "temporary").iterdir()) == []


def test_it_is_not_shown_to_other_machines_without_a_key(tmp_path: Path) -> None:
    with run_dashboard(tmp_path, PREPTIME_UI_HOST="::") as page:
        assert page.process.wait(30) == 2
        assert "where other machines reach it, and no key is configured" in page.stderr_text()
    keys = key_entry("dispatch", API_KEY)
    with run_dashboard(tmp_path, PREPTIME_UI_HOST="::", PREPTIME_API_KEYS=keys) as page:
        page.wait_until("/_stcore/health")


def test_a_port_in_use_is_said_before_anything_starts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = preptime("ui", "--port", str(port))
    assert ran.status == 2
    assert f"Port {port} of 127.0.0.1 is in use by another program. Stop the other program" in ran.err
    assert "PREPTIME_UI_PORT" in ran.err


def test_what_an_earlier_page_left_when_it_was_killed_is_swept(tmp_path: Path) -> None:
    with run_dashboard(tmp_path) as page:
        page.wait_until("/_stcore/health")
        left = tmp_path / "temporary" / f"preptime-ui-{page.process.pid}-x"
        left.mkdir()
        page.process.kill()
        page.process.wait()
    assert left.exists()
    with run_dashboard(tmp_path) as page:
        page.wait_until("/_stcore/health")
        end = time.monotonic() + 10
        while left.exists() and time.monotonic() < end:
            time.sleep(0.05)
        assert not left.exists()
