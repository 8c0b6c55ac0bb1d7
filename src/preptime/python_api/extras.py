"""The extras that install optional packages, and the error for a missing one."""

from __future__ import annotations

from preptime.errors import UsageError, install_hint

EXTRA_BY_PACKAGE = {
    "polars": "batch",
    "altair": "batch",
    "catboost": "train",
    "onnx": "train",
    "onnxmltools": "train",
    "skl2onnx": "train",
    "sklearn": "train",
    "streamlit": "ui",
    "vl_convert": "batch",
    "xgboost": "train",
    "psycopg": "postgres",
    "google": "gcp",
    "optuna": "tune",
    "tomlkit": "tune",
    "aiohttp": "notebook",
    "pandas": "notebook",
    "pyarrow": "notebook",
    "tqdm": "notebook",
}
"""The extra that installs a package that the core doesn't need."""


def missing_extra_error(error: ModuleNotFoundError, subject: str, at_least: str | None = None) -> UsageError:
    """Return the error for an optional package that isn't installed. Any other missing module is raised again.

    Args:
        error: The error of the import.
        subject: What needs the package, such as `This command`.
        at_least: An extra that the subject needs in any case, and that includes `batch` and `train`.
    """
    package = (error.name or "").partition(".")[0]
    extra = EXTRA_BY_PACKAGE.get(package)
    if extra is None:
        raise error
    if extra in {"batch", "train"} and at_least is not None:
        extra = at_least
    return UsageError(
        f"{subject} needs the package {package}, which isn't installed.",
        install_hint(extra),
    )
