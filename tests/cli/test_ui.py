"""`preptime ui` as a user or a container starts it."""

from __future__ import annotations

import signal
import socket
import time
from pathlib import Path

import pytest

from tests.cli.run_command import preptime
from tests.ui.browser import API_KEY, key_entry, run_dashboard


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_ui_prints_url_and_stops_on_signal(tmp_path: Path, signal_number: signal.Signals) -> None:
    with run_dashboard(tmp_path) as page:
        page.wait_until("/_stcore/health")
        assert page.get_response("/")[0] == 200
        assert page.get_response("/downloads/guess")[0] == 404
        assert (tmp_path / "output.txt").read_text() == f"Dashboard: {page.url} (press Ctrl-C to stop)\n"
        page.process.send_signal(signal_number)
        assert page.process.wait(30) == 0
        assert page.stderr_text() == ""
    assert list((tmp_path / "temporary").iterdir()) == []


def test_ui_non_loopback_requires_a_key(tmp_path: Path) -> None:
    with run_dashboard(tmp_path, PREPTIME_UI_HOST="::") as page:
        assert page.process.wait(30) == 2
        assert "Other machines can reach ::, but no key is configured" in page.stderr_text()
    keys = key_entry("dispatch", API_KEY)
    with run_dashboard(tmp_path, PREPTIME_UI_HOST="::", PREPTIME_API_KEYS=keys) as page:
        page.wait_until("/_stcore/health")


def test_ui_port_in_use_is_usage_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server_socket:
        port = server_socket.getsockname()[1]
        result = preptime("ui", "--port", str(port))
    assert result.status == 2
    assert f"Port {port} of 127.0.0.1 is in use by another program. Stop the other program" in result.err
    assert "PREPTIME_UI_PORT" in result.err


def test_ui_removes_folders_of_killed_server(tmp_path: Path) -> None:
    with run_dashboard(tmp_path) as page:
        page.wait_until("/_stcore/health")
        orphaned_folder = tmp_path / "temporary" / f"preptime-ui-{page.process.pid}-x"
        orphaned_folder.mkdir()
        page.process.kill()
        page.process.wait()
    assert orphaned_folder.exists()
    with run_dashboard(tmp_path) as page:
        page.wait_until("/_stcore/health")
        end = time.monotonic() + 10
        while orphaned_folder.exists() and time.monotonic() < end:
            time.sleep(0.05)
        assert not orphaned_folder.exists()
