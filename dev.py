"""The project's tasks: `python dev.py TASK [its arguments]`, or `make TASK`. Standard library only.

Python 3.11 or newer and a package index, configured the ordinary way for pip, are all it needs: `.venv` is made here
and gets what `locks/` names, each file checked against its hash. `python dev.py help` lists the tasks.
"""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

MIN_PYTHON_VERSION = (3, 11)

# Before anything that an older Python cannot read, so that it gets as far as this sentence.
if sys.version_info[:2] < MIN_PYTHON_VERSION:
    sys.exit(
        f"preptime needs Python 3.11 or newer; {sys.executable} is {sys.version_info[0]}.{sys.version_info[1]}. "
        "Name a newer one, for example: python3.12 dev.py setup, or: make setup PYTHON=python3.12"
    )

ROOT = Path(__file__).resolve().parent
LOCKS = ROOT / "locks"
VENV = ROOT / ".venv"
VENV_BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = VENV_BIN / ("python.exe" if os.name == "nt" else "python")
TOOL_ENVIRONMENTS = ("airflow", "dvc", "deploy")
"""Groups of pyproject.toml with a lock and an environment of their own, `.venv-NAME`."""

CODE_PATHS = ("src", "tests", "dags", "dev.py", "scripts", "benchmarks", "deploy")

GENERATED_PATHS = (
    *("build", "dist", "demo", "catboost_info"),
    *(".hypothesis", ".import_linter_cache", ".mypy_cache", ".pytest_cache", ".ruff_cache"),
)


class TaskError(Exception):
    """A task cannot go on; the message is for the person who called it."""


def help_(*_: str) -> None:
    """List the tasks."""
    for name, task in TASKS.items():
        print(f"{name:<13}{(task.__doc__ or '').splitlines()[0]}")


def setup(environment: str = "dev", *_: str) -> None:
    """Make an environment from its lock: dev (the default) or run, both .venv; airflow, dvc, deploy: their own."""
    lock_file = LOCKS / f"{environment}.lock"
    if not lock_file.is_file():
        raise TaskError(
            f"There is no {lock_file}. Known are: {', '.join(sorted(p.stem for p in LOCKS.glob('*.lock')))}."
        )
    venv_path = ROOT / f".venv-{environment}" if environment in TOOL_ENVIRONMENTS else VENV
    stamp_file = venv_path / "preptime-setup.txt"
    python = _venv_python(venv_path)
    accepted_stamps = (
        {_setup_stamp(environment)}
        if environment in TOOL_ENVIRONMENTS
        else {_setup_stamp(environment), _setup_stamp("dev")}
    )
    if python.exists() and stamp_file.is_file() and stamp_file.read_text(encoding="utf-8") in accepted_stamps:
        return
    _make_venv(venv_path)
    stamp_file.unlink(missing_ok=True)  # from here until the end what is installed is unknown
    print(
        f"Installing what locks/{environment}.lock names into {venv_path.name}: a minute or two the first time.",
        flush=True,
    )
    pip = (python, "-m", "pip", "--disable-pip-version-check", "--quiet", "install", "--no-deps", "--no-compile")
    _run_or_fail(*pip, "--require-hashes", "--only-binary", ":all:", "-r", lock_file)
    if venv_path == VENV:
        # The project itself, built by the hatchling of the lock: nothing is fetched that no hash vouches for.
        _run_or_fail(*pip, "--no-index", "--no-build-isolation", "--editable", ROOT)
    # pip would compile one file after the other, the libraries' own tests included: 22 s here against 10 s.
    compile_arguments = ("-m", "compileall", "-q", "-q", "-j", "0", "-x", r"[/\\]tests?[/\\]")
    _run(python, *compile_arguments, *(path for path in venv_path.rglob("site-packages") if path.is_dir()), echo=False)
    stamp_file.write_text(_setup_stamp(environment), encoding="utf-8")


def demo(*arguments: str) -> None:
    """Synthesize a month of orders, train, backtest, promote, score; or on ORDERS= and RESTAURANTS=."""
    setup("run")
    _run_or_fail(VENV_BIN / "preptime", "demo", *arguments)


def test(*arguments: str) -> None:
    """Everything this repository promises: lint, types, layers, then pytest (which gets the arguments)."""
    setup()
    failed = _failed_checks()
    if not _run(PYTHON, "-m", "pytest", *arguments):
        failed.append("pytest")
    _raise_if_failed(failed)


def lint(*_: str) -> None:
    """Ruff, mypy, the layers, the dependencies, and whether the generated docs are current."""
    setup()
    _raise_if_failed(_failed_checks())


def format_(*_: str) -> None:
    """Format the code, and mend what ruff can mend."""
    setup()
    _run_or_fail(PYTHON, "-m", "ruff", "check", "--fix", *_code_paths())
    _run_or_fail(PYTHON, "-m", "ruff", "format", *_code_paths())


def types(*_: str) -> None:
    """Mypy, strictly."""
    setup()
    _run_or_fail(PYTHON, "-m", "mypy", *_code_paths())


def docs(*arguments: str) -> None:
    """Write the generated parts of the docs anew; with --check only say whether they are current."""
    setup()
    _run_or_fail(PYTHON, ROOT / "scripts" / "generate_docs.py", *arguments)


def bench(*arguments: str) -> None:
    """Measure everything that is claimed, in one run, and write the table."""
    setup()
    _run_or_fail(PYTHON, "-m", "benchmarks", *arguments)


def bench_api(*arguments: str) -> None:
    """Measure the online API beside servers that are built otherwise (Linux, needs wrk)."""
    setup()
    _run_or_fail(PYTHON, "-m", "benchmarks.api", *arguments)


def airflow(*_: str) -> None:
    """Airflow on this machine without Docker, with the daily DAGs; user, password and port from .env."""
    setup("run")
    setup("airflow")
    _run_or_fail(PYTHON, ROOT / "scripts" / "airflow_local.py")


def serve(*arguments: str) -> None:
    """The Flask API on what `demo` trained; AIKEY and FLASK_PORT from .env, a key made where there is none."""
    setup("run")
    _replace_process(PYTHON, ROOT / "scripts" / "flask_demo.py", *arguments)


def clean_docker(*arguments: str) -> None:
    """Remove this project's containers, networks and images from Docker; --volumes: its data too."""
    setup("run")
    _run_or_fail(PYTHON, ROOT / "scripts" / "clean_docker.py", *arguments)


def images(*arguments: str) -> None:
    """Build the container images and say how large they are (needs Docker)."""
    setup()
    _run_or_fail(PYTHON, "-m", "scripts.images", *arguments)


def up(*arguments: str) -> None:
    """Start API, page, Airflow and PostgreSQL by Docker Compose; or one of api, ui, airflow."""
    setup()
    _run_or_fail(PYTHON, "-m", "scripts.compose", "up", *arguments)


def down(*arguments: str) -> None:
    """Remove what `up` started; --volumes removes its data too."""
    setup()
    _run_or_fail(PYTHON, "-m", "scripts.compose", "down", *arguments)


def screenshots(*arguments: str) -> None:
    """Look at the page: pictures of it in a real browser, into build/screenshots (needs chromium and `make demo`)."""
    setup()
    _run_or_fail(PYTHON, "-m", "scripts.screenshots", *arguments)


def lock(*arguments: str) -> None:
    """Write locks/ anew from pyproject.toml (needs uv; --upgrade for newer versions)."""
    _run_or_fail(sys.executable, ROOT / "scripts" / "make_locks.py", *arguments)


def clean(*_: str) -> None:
    """Remove what the tasks left behind, except .venv, models/ and results/."""
    for name in GENERATED_PATHS:
        shutil.rmtree(ROOT / name, ignore_errors=True)
    for source_folder in ("src", "tests", "benchmarks", "scripts"):
        for cache_folder in sorted((ROOT / source_folder).rglob("__pycache__")):
            shutil.rmtree(cache_folder, ignore_errors=True)


TASKS: dict[str, Callable[..., None]] = {
    "help": help_,
    "setup": setup,
    "demo": demo,
    "test": test,
    "lint": lint,
    "format": format_,
    "types": types,
    "docs": docs,
    "bench": bench,
    "bench-api": bench_api,
    "airflow": airflow,
    "serve": serve,
    "clean-docker": clean_docker,
    "images": images,
    "up": up,
    "down": down,
    "screenshots": screenshots,
    "lock": lock,
    "clean": clean,
}


def _failed_checks() -> list[str]:
    """Run every check of `lint`, all of them even when one fails, and name those that did."""
    checks: dict[str, tuple[str | Path, ...]] = {
        "ruff check": (PYTHON, "-m", "ruff", "check", *_code_paths()),
        "ruff format": (PYTHON, "-m", "ruff", "format", "--check", *_code_paths()),
        "mypy": (PYTHON, "-m", "mypy", *_code_paths()),
        "lint-imports": (VENV_BIN / "lint-imports",),
        "deptry": (PYTHON, "-m", "deptry", "src"),
        "generated docs": (PYTHON, ROOT / "scripts" / "generate_docs.py", "--check"),
    }
    return [name for name, command in checks.items() if not _run(*command)]


def _code_paths() -> list[str]:
    return [name for name in CODE_PATHS if (ROOT / name).exists()]


def _venv_python(venv_path: Path) -> Path:
    """An environment's Python."""
    return venv_path / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _make_venv(venv_path: Path) -> None:
    """An environment with a Python that is new enough and has pip; one that has both is kept."""
    version_check = "import pip, sys; sys.exit(sys.version_info < (3, 11))"
    if _venv_python(venv_path).exists() and _run(_venv_python(venv_path), "-c", version_check, echo=False):
        return
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        raise TaskError(
            f"{sys.executable} comes without `venv` or `ensurepip`, which make .venv. "
            f"On Debian and Ubuntu: apt-get install python{sys.version_info[0]}.{sys.version_info[1]}-venv"
        )
    print(f"Making {venv_path.name} with {sys.executable}", flush=True)
    _run_or_fail(sys.executable, "-m", "venv", "--clear", venv_path)


def _setup_stamp(environment: str) -> str:
    """What a finished `setup` of this lock leaves: changes with the lock, the project's metadata and its place."""
    content = (LOCKS / f"{environment}.lock").read_bytes() + (ROOT / "pyproject.toml").read_bytes() + str(ROOT).encode()
    return f"{environment} {hashlib.sha256(content).hexdigest()}\n"


def _run(*command: str | Path, echo: bool = True) -> bool:
    """Run a command at the project's root and say whether it went well."""
    arguments = [str(argument) for argument in command]
    if echo:
        print("$", *(argument.removeprefix(f"{ROOT}{os.sep}") for argument in arguments), flush=True)
    return subprocess.run(arguments, cwd=ROOT, check=False).returncode == 0


def _run_or_fail(*command: str | Path) -> None:
    if not _run(*command, echo=False):
        raise TaskError(f"Failed: {' '.join(Path(argument).name for argument in command[:5])} ...")


def _replace_process(*command: str | Path) -> None:
    """Run a command in this process's place, so that whoever ends this ends that; Windows has no such thing."""
    if os.name == "nt":
        _run_or_fail(*command)
    else:
        sys.stdout.flush()
        os.chdir(ROOT)
        os.execv(command[0], [str(argument) for argument in command])


def _raise_if_failed(failed: list[str]) -> None:
    if failed:
        raise TaskError(f"Failed: {', '.join(failed)}.")


def main(arguments: list[str]) -> int:
    """Run one task; 0 when it went well, 1 when not, 2 for a task that is not there."""
    name, *task_arguments = arguments or ["help"]
    if name not in TASKS:
        print(f"There is no task {name!r}. The tasks:", file=sys.stderr)
        help_()
        return 2
    try:
        TASKS[name](*task_arguments)
    except (TaskError, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
