"""Tests of the names that `preptime` exports, and of what their import loads."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from types import FunctionType

import pytest

import preptime
from preptime.client import Client
from preptime.client.asynchronous import AsyncClient
from preptime.errors import UsageError
from preptime.python_api.bundles import LoadedBundle
from preptime.python_api.extras import EXTRA_BY_PACKAGE
from preptime.python_api.stores import BundleStore

HEAVY = {"numpy", "polars", "pandas", "altair", "onnxruntime", "sklearn", "catboost", "xgboost", "aiohttp", "msgspec"}


def run(program: str) -> str:
    """Return the output of a program in a new process, in which warnings are errors."""
    command = [sys.executable, "-W", "error", "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_import_loads_no_library() -> None:
    loaded = run("import sys\nbefore = {*sys.modules}\nimport preptime\nprint(*{*sys.modules} - before)").split()
    assert HEAVY.isdisjoint(loaded)
    assert {name for name in loaded if name.startswith("preptime")} == {"preptime"}


def test_training_function_loads_no_learning_library() -> None:
    loaded = run("import sys, preptime\npreptime.train\nprint(*sys.modules)").split()
    assert "polars" in loaded
    assert {"pandas", "sklearn", "catboost", "xgboost", "mlflow", "optuna", "tqdm"}.isdisjoint(loaded)
    light = run("import sys, preptime\npreptime.open_store\npreptime.load_bundle\nprint(*sys.modules)").split()
    assert {"pandas", "altair", "scipy", "onnx"}.isdisjoint(light)


def test_every_public_name_is_loaded_lazily_and_listed() -> None:
    assert [*preptime.__all__] == sorted(preptime.__all__)
    assert set(preptime.__all__) == set(preptime._MODULES)
    assert set(preptime.__all__) <= set(dir(preptime))
    for name in preptime.__all__:
        assert getattr(preptime, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Server'"):
        preptime.__getattr__("Server")


def test_function_features_stays_after_import_of_its_package() -> None:
    program = (
        "import preptime.features.spec, preptime, sys\n"
        "assert callable(preptime.features), preptime.features\n"
        "from preptime import features\n"
        "from preptime.features.spec import Feature\n"
        "print(features.__module__, sys.modules['preptime.features'].__name__)"
    )
    assert run(program).split() == ["preptime.python_api.training", "preptime.features"]


def documented() -> list[tuple[str, FunctionType]]:
    """Return the public functions, and the public methods with arguments of the public objects."""
    functions = [(name, getattr(preptime, name)) for name in preptime.__all__]
    members = [
        (f"{owner.__name__}.{name}", member)
        for owner in (Client, AsyncClient, LoadedBundle, BundleStore)
        for name, member in vars(owner).items()
        if not name.startswith("_") and inspect.isfunction(member) and len(inspect.signature(member).parameters) > 1
    ]
    return [(name, value) for name, value in functions if inspect.isfunction(value)] + members


@pytest.mark.parametrize(("name", "function"), documented())
def test_docstring_names_every_argument_and_error(name: str, function: FunctionType) -> None:
    text = inspect.getdoc(function) or ""
    sections = {
        title for title in ("Args", "Returns", "Raises", "Example") if re.search(rf"^{title}:$", text, re.MULTILINE)
    }
    parameters = [*inspect.signature(function).parameters]
    arguments = [argument for argument in parameters if argument != "self"]
    assert not [argument for argument in arguments if not re.search(rf"^    {argument}: ", text, re.MULTILINE)], name
    assert sections >= ({"Args", "Returns", "Raises"} if arguments else {"Returns", "Raises"}), name


@pytest.mark.parametrize(("package", "name"), [("polars", "train"), ("aiohttp", "AsyncClient")])
def test_missing_package_names_its_extra(package: str, name: str) -> None:
    program = (
        f"import sys\nsys.modules[{package!r}] = None\nimport preptime\n"
        f"try:\n    preptime.{name}\nexcept preptime.PreptimeError as error:\n    print(error)"
    )
    extra = "train" if package == "polars" else EXTRA_BY_PACKAGE[package]
    assert run(program).strip() == (
        f"preptime.{name} needs the package {package}, which isn't installed. To install it, run in a checkout of "
        f"preptime: pip install '.[{extra}]'."
    )


def test_missing_pandas_support_names_its_extra() -> None:
    program = (
        "import sys\nsys.modules['pyarrow'] = None\nimport preptime\npreptime.open_store('models', frame='pandas')"
    )
    with pytest.raises(subprocess.CalledProcessError) as failed:
        run(program)
    assert "A pandas frame needs the package pyarrow" in failed.value.stderr
    assert issubclass(UsageError, preptime.PreptimeError)
