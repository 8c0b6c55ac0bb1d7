"""Tests of upload sessions and downloads."""

from __future__ import annotations

import gzip
import io
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from preptime.errors import DataError
from preptime.ui.upload_session import (
    FOLDER_PREFIX,
    DownloadRegistry,
    UploadSession,
    check_decompressed_size,
    remove_orphaned_folders,
    remove_own_folders,
)


@pytest.fixture(autouse=True)
def _temporary_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def test_upload_session_is_private_and_ignores_the_file_name(tmp_path: Path) -> None:
    session = UploadSession()
    assert stat.S_IMODE(session.folder.stat().st_mode) == 0o700
    upload = session.save("../../etc/passwd.csv", io.BytesIO(b"a,b\n"))
    assert upload.path == session.folder / "orders.csv"
    assert upload.path.read_bytes() == b"a,b\n"
    assert session.save("ORDERS.PARQUET", io.BytesIO(b"PAR1")).path.name == "orders.parquet"
    assert [path.name for path in session.folder.iterdir()] == ["orders.parquet"]
    session.close()
    assert list(tmp_path.iterdir()) == []
    session.close()  # closing twice is allowed


def test_with_original_name_replaces_the_path_in_errors() -> None:
    upload = UploadSession().save("mine.csv", io.BytesIO(b""))
    with pytest.raises(DataError, match=r"^mine\.csv is empty\. Fill it\.$"), upload.with_original_name():
        raise DataError(f"{upload.path} is empty.", "Fill it.")


def test_compressed_upload_is_limited_by_its_content() -> None:
    compressed = gzip.compress(b"0" * 3_000_000)
    check_decompressed_size("orders.csv.gz", io.BytesIO(compressed), 3_000_000)
    check_decompressed_size("orders.csv", io.BytesIO(b"0" * 3_000_000), 1)  # the browser's limit applies
    check_decompressed_size("orders.csv.gz", io.BytesIO(compressed[:100]), 3_000_000)
    with pytest.raises(DataError, match=r"orders\.csv\.gz has more than 2 MB when it's decompressed\."):
        check_decompressed_size("orders.csv.gz", io.BytesIO(compressed), 2 << 20)


def test_remove_orphaned_folders_keeps_running_processes(tmp_path: Path) -> None:
    ended_process = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    orphaned = tmp_path / f"{FOLDER_PREFIX}{int(ended_process.stdout)}-abc"
    used = tmp_path / f"{FOLDER_PREFIX}{os.getppid()}-abc"
    other = tmp_path / f"{FOLDER_PREFIX}notes"
    too_large = tmp_path / f"{FOLDER_PREFIX}{10**20}-abc"
    for folder in (orphaned, used, other, too_large):
        folder.mkdir()
    remove_orphaned_folders()
    assert sorted(tmp_path.iterdir()) == sorted([used, other, too_large])


def test_remove_own_folders_removes_all_of_this_process(tmp_path: Path) -> None:
    UploadSession()
    UploadSession().save("a.csv", io.BytesIO(b"a"))
    remove_own_folders()
    assert list(tmp_path.iterdir()) == []


def test_download_registry_finds_a_download_only_by_its_token(tmp_path: Path) -> None:
    downloads = DownloadRegistry()
    first, second = (downloads.add(tmp_path / "x.parquet", "csv", name) for name in ('a"\r\n;b/c<d>.csv', "..."))
    assert first.token != second.token
    assert downloads.get(first.token) == first
    assert downloads.get("guess") is None
    assert first.file_name == "c_d_-predictions.csv"
    assert second.file_name == "orders-predictions.csv"
    assert downloads.add(tmp_path / "x.parquet", "csv", "may.csv.gz").file_name == "may-predictions.csv"
    downloads.remove(first)
    assert downloads.get(first.token) is None
