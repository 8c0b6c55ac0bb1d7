"""Progress bars of the Python API: a widget in a notebook, and a line in a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from preptime.progress import ProgressCallback, no_progress
from preptime.python_api.extras import missing_extra_error

Progress = bool | ProgressCallback | None
_BAR_FORMAT = "{desc}{percentage:3.0f}%|{bar}| {elapsed}"


@contextmanager
def progress_bars(progress: Progress) -> Iterator[ProgressCallback]:
    """Yield the callback that long steps call.

    Args:
        progress: True shows one bar for each stage. None shows them in a notebook and in a terminal, if tqdm is
            installed. False shows nothing. A function is called itself, with the stage and its fraction, from 0 to 1.

    Raises:
        UsageError: `progress` is True, and tqdm isn't installed.
    """
    if callable(progress):
        yield progress
        return
    if progress is False or (progress is None and not _is_interactive()):
        yield no_progress
        return
    try:
        from tqdm.auto import tqdm  # type: ignore[import-untyped]
    except ModuleNotFoundError as error:
        if progress is None:
            yield no_progress
            return
        raise missing_extra_error(error, "A progress bar") from error
    bars = _Bars(tqdm)
    try:
        yield bars.report
    finally:
        bars.close()


class _Bars:
    """One bar for each stage. Stages with a common name before a colon, such as models, share a bar."""

    def __init__(self, bar_type: Any) -> None:
        self._bar_type = bar_type
        self._bars: dict[str, Any] = {}

    def report(self, stage: str, fraction: float) -> None:
        group = stage.partition(":")[0]
        bar = self._bars.get(group)
        if bar is None:
            bar = self._bars[group] = self._bar_type(total=1.0, bar_format=_BAR_FORMAT)
        bar.set_description(stage, refresh=False)
        bar.update(min(fraction, 1.0) - bar.n)

    def close(self) -> None:
        for bar in self._bars.values():
            bar.close()


def _is_interactive() -> bool:
    """Return whether a person sees the output: in a notebook, or in a terminal."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return type(shell).__name__ == "ZMQInteractiveShell" or sys.stderr.isatty()
