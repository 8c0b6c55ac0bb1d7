"""Output of a Spark command: a new folder for each run, and a document that names the folder of the last complete run.

    B/score.json                      the document, written last and replaced in one step
    B/run-4f0c1d2e9a7b/…              the files of that run, which never change

A reader opens the document first, and then the folder that its field `out` names. A failed or killed run writes no
document, so that the previous document and its files stay. Spark's own `overwrite` deletes them before it starts.
After the document, the previous run's folder is removed, and folders of killed runs after a day.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from preptime.atomic_write import ABANDONED_SECONDS, write_bytes
from preptime.errors import OperationError, UsageError
from preptime.sources.results import SCORE_FILE
from preptime.spark.addresses import Address, parse_address
from preptime.spark.failures import plain_path, spark_errors
from preptime.spark.parquet_files import file_system
from preptime.spark.session import hadoop_configuration, java
from preptime.training.corpus import CORPUS_FILE
from preptime.training.saved_state import STATE_FILE

_DOCUMENTS = (SCORE_FILE, STATE_FILE, CORPUS_FILE)
_RUN_NAME = re.compile(r"run-[0-9a-f]{12}")
_OBJECT_STORES = {"gs", "s3", "s3a", "s3n", "abfs", "abfss", "wasb", "wasbs"}
"""Schemes of stores in which a new object replaces an existing one in one step, when it's complete."""
_WRITE_HINT = "A previous output is unchanged. Fix the cause, and then run the command again."


class _PublishedRun(msgspec.Struct):
    """The part of a document that names its run."""

    out: str


@dataclass(frozen=True)
class OutputFolder:
    """The folder of an output (`open_output`)."""

    session: Any
    address: str
    """The path of a local folder, else a URL."""
    document: str
    """The name of the document, such as `score.json`."""
    system: Any
    """Hadoop's file system."""
    path: Any
    """Hadoop's path of the folder."""

    @property
    def is_local(self) -> bool:
        """Whether the folder is in the local file system."""
        return str(self.path.toString()).startswith("file:")

    def child(self, name: str) -> Any:
        """Return Hadoop's path of a file or a folder in this folder."""
        return java(self.session).org.apache.hadoop.fs.Path(self.path, name)

    def address_of(self, name: str) -> str:
        """Return the address of a file or a folder in this folder, for Spark and for messages."""
        return plain_path(self.child(name).toString())

    def published_runs(self) -> dict[str, str]:
        """Return the names of the run folders that the documents in this folder name, by document.

        Several commands can have the same folder.
        """
        return {name: run for name in _DOCUMENTS if (run := self._published_run(name)) is not None}

    def _published_run(self, document: str) -> str | None:
        path = self.child(document)
        if not self.system.exists(path):
            return None
        try:
            out = msgspec.json.decode(read_bytes(self.session, path.toString()), type=_PublishedRun).out
        except msgspec.DecodeError as error:
            raise OperationError(
                f"{self.address_of(document)} isn't a document of preptime ({error}).",
                "Use another folder: --out.",
            ) from error
        return out.rstrip("/").rpartition("/")[2]

    def write_document(self, content: bytes) -> None:
        """Write the document, or replace it in one step."""
        if self.is_local:
            write_bytes(Path(self.address) / self.document, content)
        elif self.path.toUri().getScheme() in _OBJECT_STORES:
            _write_file(self.system, self.child(self.document), content)
        else:
            self._rename_document(content)

    def _rename_document(self, content: bytes) -> None:
        """Replace the document in a file system with renames, such as HDFS."""
        packages = java(self.session)
        temporary, target = self.child(f".{self.document}.{secrets.token_hex(6)}"), self.child(self.document)
        _write_file(self.system, temporary, content)
        options = packages.java.lang.Class.forName("org.apache.hadoop.fs.Options$Rename")
        overwrite = packages.java.lang.reflect.Array.newInstance(options, 1)
        packages.java.lang.reflect.Array.set(overwrite, 0, packages.java.lang.Enum.valueOf(options, "OVERWRITE"))
        configuration = hadoop_configuration(self.session)
        context = packages.org.apache.hadoop.fs.FileContext.getFileContext(self.path.toUri(), configuration)
        context.rename(temporary, target, overwrite)

    def remove_old_runs(self, current: str, previous: str | None) -> None:
        """Remove the folder of the previous run, and those of killed runs that are older than a day.

        Folders that another command's document names stay.
        """
        published = {current, *self.published_runs().values()}
        newest_ms = self.system.getFileStatus(self.child(current)).getModificationTime()
        for status in self.system.listStatus(self.path):
            name = status.getPath().getName()
            if name in published or not _RUN_NAME.fullmatch(name):
                continue
            if name == previous or newest_ms - status.getModificationTime() > ABANDONED_SECONDS * 1000:
                self.system.delete(status.getPath(), True)


@dataclass(frozen=True)
class StagedRun:
    """The files of a run, which nothing names until `publish`."""

    output: OutputFolder
    name: str
    previous: str | None

    @property
    def address(self) -> str:
        """The address of the run's folder, for `DataFrame.write` and for the field `out` of the document."""
        return self.output.address_of(self.name)

    def write_parquet(self, frame: Any, *, subject: str = "") -> None:
        """Write a DataFrame as Parquet files to the run's folder.

        `subject` says what is computed, for the message of an error.
        """
        with spark_errors(subject or f"Writing {self.address}"):
            frame.write.mode("errorifexists").parquet(self.address)

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write a file to the run's folder."""
        _write_file(self.output.system, self.output.child(f"{self.name}/{name}"), content)

    def publish(self, document: msgspec.Struct) -> None:
        """Write the document, whose field `out` must be `address`, and then remove the previous run.

        Raises `OperationError` if it can't be written.
        """
        with _write_errors(self.output):
            self.output.write_document(msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")
            self.output.remove_old_runs(self.name, self.previous)


def open_output(session: Any, out: str, document: str, inputs: tuple[Address, ...] = ()) -> OutputFolder:
    """Return the folder at `out`, which is created by the first run.

    Raises `UsageError` if it isn't a folder, or if it's one of the inputs or contains one.
    """
    address = parse_address(out)
    if address.kind != "parquet":
        raise UsageError(f"--out {out} is a table.", "Use a folder, and load its files into the table (docs/scale.md).")
    with spark_errors(f"Opening {out}"):
        system, path = file_system(session, address.location)
        output = OutputFolder(session, plain_path(path.toString()), document, system, path)
        if system.exists(path) and not system.getFileStatus(path).isDirectory():
            raise UsageError(f"--out {out} is a file.", "Use a folder: --out.")
        for source in inputs:
            _check_is_not_input(output, source)
    return output


@contextmanager
def staged_run(output: OutputFolder) -> Iterator[StagedRun]:
    """Yield a new run to write to. If the block fails, the files of the run are removed.

    Example:
        with staged_run(open_output(session, "gs://bucket/scored", "score.json")) as run:
            run.write_parquet(frame)
            run.publish(Document(out=run.address))
    """
    with spark_errors(f"Reading {output.address}"):
        run = StagedRun(output, f"run-{secrets.token_hex(6)}", output.published_runs().get(output.document))
    try:
        yield run
    except BaseException:
        _remove_quietly(output, run.name)
        raise


def read_bytes(session: Any, location: str) -> bytes:
    """Return the content of a small file at a path or a URL that Spark's driver can read."""
    system, path = file_system(session, location)
    stream = system.open(path)
    try:
        content: bytes = java(session).org.apache.commons.io.IOUtils.toByteArray(stream)
        return bytes(content)
    finally:
        stream.close()


def _write_file(system: Any, path: Any, content: bytes) -> None:
    stream = system.create(path, True)
    try:
        stream.write(bytearray(content))
    finally:
        stream.close()


def _remove_quietly(output: OutputFolder, name: str) -> None:
    """Remove the files of a failed run. If that fails too, for example without a driver, they stay for a day."""
    from py4j.protocol import Py4JError  # type: ignore[import-not-found]

    try:
        output.system.delete(output.child(name), True)
    except (Py4JError, OSError):
        return


def _check_is_not_input(output: OutputFolder, source: Address) -> None:
    if source.kind != "parquet":
        return
    folder = str(output.path.toString()).rstrip("/") + "/"
    location = str(file_system(output.session, source.location)[1].toString()).rstrip("/") + "/"
    if folder.startswith(location) or location.startswith(folder):
        raise UsageError(
            f"The output {output.address} would be one of the inputs of {source.text}.",
            "Write to another folder: --out.",
        )


@contextmanager
def _write_errors(output: OutputFolder) -> Iterator[None]:
    try:
        with spark_errors(f"Writing {output.address_of(output.document)}"):
            yield
    except OSError as error:
        raise OperationError(f"{output.address} couldn't be written: {error.strerror}.", _WRITE_HINT) from error
