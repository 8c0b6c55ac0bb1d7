"""What lies on a visitor's desk is theirs, and goes."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from preptime.errors import DataError
from preptime.ui import upload_session as module
from preptime.ui.upload_session import DownloadRegistry, UploadSession, remove_orphaned_folders, remove_own_folders


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def test_a_desk_is_closed_to_others_and_a_file_on_it_has_a_name_of_ours(tmp_path: Path) -> None:
    desk = UploadSession()
    assert stat.S_IMODE(desk.folder.stat().st_mode) == 0o700
    upload = desk.save("../../etc/passwd.csv", io.BytesIO(b"a,b\n"))
    assert upload.path == desk.folder / "orders.csv"
    assert upload.path.read_bytes() == b"a,b\n"
    assert desk.save("ORDERS.PARQUET", io.BytesIO(b"PAR1")).path.name == "orders.parquet"
    assert [path.name for path in desk.folder.iterdir()] == ["orders.parquet"]
    desk.close()
    assert list(tmp_path.iterdir()) == []
    desk.close()  # its visitor may go twice


def test_errors_speak_of_a_file_by_its_visitors_name() -> None:
    upload = UploadSession().save("mine.csv", io.BytesIO(b""))
    with pytest.raises(DataError, match=r"^mine\.csv is empty\. Fill it\.$"), upload.with_original_name():
        raise DataError(f"{upload.path} is empty.", "Fill it.")


def test_desks_of_pages_that_live_are_left_alone(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    dead = tmp_path / f"{module.FOLDER_PREFIX}{int(ended.stdout)}-abc"
    alive = tmp_path / f"{module.FOLDER_PREFIX}{os.getppid()}-abc"
    other = tmp_path / f"{module.FOLDER_PREFIX}notes"
    for folder in (dead, alive, other):
        folder.mkdir()
    remove_orphaned_folders()
    assert sorted(tmp_path.iterdir()) == sorted([alive, other])


def test_all_desks_of_this_process_are_closed_when_it_ends(tmp_path: Path) -> None:
    UploadSession()
    UploadSession().save("a.csv", io.BytesIO(b"a"))
    remove_own_folders()
    assert list(tmp_path.iterdir()) == []


def test_a_download_is_found_by_its_token_alone_until_it_is_withdrawn(tmp_path: Path) -> None:
    downloads = DownloadRegistry()
    first, second = (downloads.add(tmp_path / "x.parquet", "csv", name) for name in ('a"\r\n;b/c<d>.csv', "..."))
    assert first.token != second.token
    assert downloads.get(first.token) == first
    assert downloads.get("guess") is None
    assert first.file_name == "c_d_-predictions.csv"
    assert second.file_name == "orders-predictions.csv"
    downloads.remove(first)
    assert downloads.get(first.token) is None
