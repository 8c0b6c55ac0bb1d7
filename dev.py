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

OLDEST_PYTHON = (3, 11)

# Before anything that an older Python cannot read, so that it gets as far as this sentence.
if sys.version_info[:2] < OLDEST_PYTHON:
    sys.exit(
        f"preptime needs Python 3.11 or newer; {sys.executable} is {sys.version_info[0]}.{sys.version_info[1]}. "
        "Name a newer one, for example: python3.12 dev.py setup, or: make setup PYTHON=python3.12"
    )

ROOT = Path(__file__).resolve().parent
LOCKS = ROOT / "locks"
VENV = ROOT / ".venv"
SCRIPTS = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = SCRIPTS / ("python.exe" if os.name == "nt" else "python")
TOOLS = ("airflow", "dvc", "deploy")
"""Groups of pyproject.toml with a lock and an environment of their own, `.venv-NAME`."""

CODE = ("src", "tests", "dags", "dev.py", "scripts", "benchmarks", "deploy")

RUBBISH = (
    *("build", "dist", "demo", "catboost_info"),
    *(".hypothesis", ".import_linter_cache", ".mypy_cache", ".pytest_cache", ".ruff_cache"),
)


class TaskError(Exception):
    """A task cannot go on; the message is for the person who called it."""


def help_(*_: str) -> None:
    """List the tasks."""
    for name, task in TASKS.items():
        print(f"{name:<13}{(task.__doc__ or '').splitlines()[0]}")


def setup(which: str = "dev", *_: str) -> None:
    """Make an environment from its lock: dev (the default) or run, both .venv; airflow, dvc, deploy: their own."""
    lock = LOCKS / f"{which}.lock"
    if not lock.is_file():
        raise TaskError(f"There is no {lock}. Known are: {', '.join(sorted(p.stem for p in LOCKS.glob('*.lock')))}.")
    place = ROOT / f".venv-{which}" if which in TOOLS else VENV
    stamp = place / "preptime-setup.txt"
    python = _python_of(place)
    enough = {_stamp(which)} if which in TOOLS else {_stamp(which), _stamp("dev")}
    if python.exists() and stamp.is_file() and stamp.read_text(encoding="utf-8") in enough:
        return
    _make_venv(place)
    stamp.unlink(missing_ok=True)  # from here until the end what is installed is unknown
    print(f"Installing what locks/{which}.lock names into {place.name}: a minute or two the first time.", flush=True)
    pip = (python, "-m", "pip", "--disable-pip-version-check", "--quiet", "install", "--no-deps", "--no-compile")
    _must(*pip, "--require-hashes", "--only-binary", ":all:", "-r", lock)
    if place == VENV:
        # The project itself, built by the hatchling of the lock: nothing is fetched that no hash vouches for.
        _must(*pip, "--no-index", "--no-build-isolation", "--editable", ROOT)
    # pip would compile one file after the other, the libraries' own tests included: 22 s here against 10 s.
    compiled = ("-m", "compileall", "-q", "-q", "-j", "0", "-x", r"[/\\]tests?[/\\]")
    _run(python, *compiled, *(path for path in place.rglob("site-packages") if path.is_dir()), said=False)
    stamp.write_text(_stamp(which), encoding="utf-8")


def demo(*arguments: str) -> None:
    """Synthesize a month of orders, train, backtest, promote, score; or on ORDERS= and RESTAURANTS=."""
    setup("run")
    _must(SCRIPTS / "preptime", "demo", *arguments)


def test(*arguments: str) -> None:
    """Everything this repository promises: lint, types, layers, then pytest (which gets the arguments)."""
    setup()
    failed = _failed_checks()
    if not _run(PYTHON, "-m", "pytest", *arguments):
        failed.append("pytest")
    _none(failed)


def lint(*_: str) -> None:
    """Ruff, mypy, the layers, the dependencies, and whether the generated docs are current."""
    setup()
    _none(_failed_checks())


def format_(*_: str) -> None:
    """Format the code, and mend what ruff can mend."""
    setup()
    _must(PYTHON, "-m", "ruff", "check", "--fix", *_code())
    _must(PYTHON, "-m", "ruff", "format", *_code())


def types(*_: str) -> None:
    """Mypy, strictly."""
    setup()
    _must(PYTHON, "-m", "mypy", *_code())


def docs(*arguments: str) -> None:
    """Write the generated parts of the docs anew; with --check only say whether they are current."""
    setup()
    _must(PYTHON, ROOT / "scripts" / "generate_docs.py", *arguments)


def bench(*arguments: str) -> None:
    """Measure everything that is claimed, in one run, and write the table."""
    setup()
    _must(PYTHON, "-m", "benchmarks", *arguments)


def bench_api(*arguments: str) -> None:
    """Measure the online API beside servers that are built otherwise (Linux, needs wrk)."""
    setup()
    _must(PYTHON, "-m", "benchmarks.api", *arguments)


def airflow(*_: str) -> None:
    """Airflow on this machine without Docker, with the daily DAGs; user, password and port from .env."""
    setup("run")
    setup("airflow")
    _must(PYTHON, ROOT / "scripts" / "airflow_local.py")


def serve(*arguments: str) -> None:
    """The Flask API on what `demo` trained; AIKEY and FLASK_PORT from .env, a key made where there is none."""
    setup("run")
    _become(PYTHON, ROOT / "scripts" / "flask_demo.py", *arguments)


def clean_docker(*arguments: str) -> None:
    """Remove this project's containers, networks and images from Docker; --volumes: its data too."""
    setup("run")
    _must(PYTHON, ROOT / "scripts" / "clean_docker.py", *arguments)


def images(*arguments: str) -> None:
    """Build the container images and say how large they are (needs Docker)."""
    setup()
    _must(PYTHON, "-m", "scripts.images", *arguments)


def up(*arguments: str) -> None:
    """Start API, page, Airflow and PostgreSQL by Docker Compose; or one of api, ui, airflow."""
    setup()
    _must(PYTHON, "-m", "scripts.compose", "up", *arguments)


def down(*arguments: str) -> None:
    """Remove what `up` started; --volumes removes its data too."""
    setup()
    _must(PYTHON, "-m", "scripts.compose", "down", *arguments)


def screenshots(*arguments: str) -> None:
    """Look at the page: pictures of it in a real browser, into build/screenshots (needs chromium and `make demo`)."""
    setup()
    _must(PYTHON, "-m", "scripts.screenshots", *arguments)


def lock(*arguments: str) -> None:
    """Write locks/ anew from pyproject.toml (needs uv; --upgrade for newer versions)."""
    _must(sys.executable, ROOT / "scripts" / "make_locks.py", *arguments)


def clean(*_: str) -> None:
    """Remove what the tasks left behind, except .venv, models/ and results/."""
    for name in RUBBISH:
        shutil.rmtree(ROOT / name, ignore_errors=True)
    for folder in ("src", "tests", "benchmarks", "scripts"):
        for cache in sorted((ROOT / folder).rglob("__pycache__")):
            shutil.rmtree(cache, ignore_errors=True)


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
        "ruff check": (PYTHON, "-m", "ruff", "check", *_code()),
        "ruff format": (PYTHON, "-m", "ruff", "format", "--check", *_code()),
        "mypy": (PYTHON, "-m", "mypy", *_code()),
        "lint-imports": (SCRIPTS / "lint-imports",),
        "deptry": (PYTHON, "-m", "deptry", "src"),
        "generated docs": (PYTHON, ROOT / "scripts" / "generate_docs.py", "--check"),
    }
    return [name for name, command in checks.items() if not _run(*command)]


def _code() -> list[str]:
    return [name for name in CODE if (ROOT / name).exists()]


def _python_of(place: Path) -> Path:
    """An environment's Python."""
    return place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _make_venv(place: Path) -> None:
    """An environment with a Python that is new enough and has pip; one that has both is kept."""
    usable = "import pip, sys; sys.exit(sys.version_info < (3, 11))"
    if _python_of(place).exists() and _run(_python_of(place), "-c", usable, said=False):
        return
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        raise TaskError(
            f"{sys.executable} comes without `venv` or `ensurepip`, which make .venv. "
            f"On Debian and Ubuntu: apt-get install python{sys.version_info[0]}.{sys.version_info[1]}-venv"
        )
    print(f"Making {place.name} with {sys.executable}", flush=True)
    _must(sys.executable, "-m", "venv", "--clear", place)


def _stamp(which: str) -> str:
    """What a finished `setup` of this lock leaves: changes with the lock, the project's metadata and its place."""
    content = (LOCKS / f"{which}.lock").read_bytes() + (ROOT / "pyproject.toml").read_bytes() + str(ROOT).encode()
    return f"{which} {hashlib.sha256(content).hexdigest()}\n"


def _run(*command: str | Path, said: bool = True) -> bool:
    """Run a command at the project's root and say whether it went well."""
    words = [str(word) for word in command]
    if said:
        print("$", *(word.removeprefix(f"{ROOT}{os.sep}") for word in words), flush=True)
    return subprocess.run(words, cwd=ROOT, check=False).returncode == 0


def _must(*command: str | Path) -> None:
    if not _run(*command, said=False):
        raise TaskError(f"Failed: {' '.join(Path(word).name for word in command[:5])} ...")


def _become(*command: str | Path) -> None:
    """Run a command in this process's place, so that whoever ends this ends that; Windows has no such thing."""
    if os.name == "nt":
        _must(*command)
    else:
        sys.stdout.flush()
        os.chdir(ROOT)
        os.execv(command[0], [str(word) for word in command])


def _none(failed: list[str]) -> None:
    if failed:
        raise TaskError(f"Failed: {', '.join(failed)}.")


def main(arguments: list[str]) -> int:
    """Run one task; 0 when it went well, 1 when not, 2 for a task that is not there."""
    name, *rest = arguments or ["help"]
    if name not in TASKS:
        print(f"There is no task {name!r}. The tasks:", file=sys.stderr)
        help_()
        return 2
    try:
        TASKS[name](*rest)
    except (TaskError, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
