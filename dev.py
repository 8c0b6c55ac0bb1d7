"""Run the project's tasks: `python dev.py TASK [ARGUMENTS]`, or `make TASK`. Standard library only.

You need Python 3.11 or newer and a package index that pip can reach. The tasks create `.venv` and install the packages
of `locks/` into it, each checked against its hash. `python dev.py help` lists the tasks.
"""

import hashlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType

MIN_PYTHON_VERSION = (3, 11)

# Before any code that an older Python can't parse, so that it prints this message.
if sys.version_info[:2] < MIN_PYTHON_VERSION:
    sys.exit(
        f"preptime needs Python 3.11 or newer; {sys.executable} is {sys.version_info[0]}.{sys.version_info[1]}. "
        "Use a newer one, for example: python3.12 dev.py setup, or: make setup PYTHON=python3.12"
    )

ROOT = Path(__file__).resolve().parent
LOCKS = ROOT / "locks"
VENV = ROOT / ".venv"
VENV_BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = VENV_BIN / ("python.exe" if os.name == "nt" else "python")
TOOL_ENVIRONMENTS = ("airflow", "dvc", "deploy", "mlflow-server", "spark")
"""Groups of pyproject.toml with their own lock and environment, `.venv-NAME`."""
TEST_ENVIRONMENTS = ("dev", *(name for name in TOOL_ENVIRONMENTS if os.name != "nt" or name != "airflow"))
"""The environments that the tests use. Airflow doesn't run on Windows."""

PARALLEL_TESTS = (f"--numprocesses={min(os.cpu_count() or 1, 4)}", "--dist=loadscope")
"""Options of pytest. Many tests wait for servers, so two processes finish in much less time than one."""

CODE_PATHS = ("src", "tests", "dags", "dev.py", "scripts", "benchmarks", "deploy", "examples")

GENERATED_PATHS = (
    *("build", "dist", "demo", "demo-own", "predictions", "catboost_info"),
    *(".hypothesis", ".import_linter_cache", ".mypy_cache", ".pytest_cache", ".ruff_cache"),
)

RUNNING: set[subprocess.Popen[bytes]] = set()
"""The commands that run now."""


class TaskError(Exception):
    """A task failed. The message is for the user."""


def help_(*_: str) -> None:
    """List the tasks."""
    for name, task in TASKS.items():
        print(f"{name:<13}{(task.__doc__ or '').splitlines()[0]}")


def setup(environment: str = "dev", *_: str) -> None:
    """Create an environment from its lock: dev (default) or run in .venv, and the others in .venv-NAME."""
    lock_file = LOCKS / f"{environment}.lock"
    if not lock_file.is_file():
        known = ", ".join(sorted(path.stem for path in LOCKS.glob("*.lock")))
        raise TaskError(f"Unknown environment {environment!r}. Use one of: {known}.")
    venv_path = ROOT / f".venv-{environment}" if environment in TOOL_ENVIRONMENTS else VENV
    stamp_file = venv_path / "preptime-setup.txt"
    # The lock `dev` contains the lock `run`.
    sufficient = (environment,) if environment in TOOL_ENVIRONMENTS else (environment, "dev")
    stamp = stamp_file.read_text(encoding="utf-8") if stamp_file.is_file() else ""
    if _venv_python(venv_path).exists() and stamp in {_setup_stamp(name) for name in sufficient}:
        return
    _make_venv(venv_path)
    stamp_file.unlink(missing_ok=True)  # Until the end, the environment is incomplete.
    print(
        f"Installing locks/{environment}.lock into {venv_path.name}. The first time takes a minute or two.", flush=True
    )
    _install(venv_path, lock_file)
    stamp_file.write_text(_setup_stamp(environment), encoding="utf-8")


def demo(*arguments: str) -> None:
    """Synthesize a month of orders, train, backtest, promote, and score. Or use ORDERS= and RESTAURANTS=."""
    setup("run")
    _run_or_fail(VENV_BIN / "preptime", "demo", *arguments)


def test(*arguments: str) -> None:
    """Run every check, then pytest with the arguments. Creates every environment that the tests need."""
    _setup_environments(*TEST_ENVIRONMENTS)
    failed = _failed_checks()
    if not _run(PYTHON, "-m", "pytest", *PARALLEL_TESTS, *arguments):
        failed.append("pytest")
    _raise_if_failed(failed)


def lint(*_: str) -> None:
    """Run Ruff, mypy, import-linter, and deptry, and check that the generated docs are current."""
    setup()
    _raise_if_failed(_failed_checks())


def format_(*_: str) -> None:
    """Format the code, and apply Ruff's fixes."""
    setup()
    _run_or_fail(PYTHON, "-m", "ruff", "check", "--fix", *_code_paths())
    _run_or_fail(PYTHON, "-m", "ruff", "format", *_code_paths())


def types(*_: str) -> None:
    """Run mypy in strict mode."""
    setup()
    _run_or_fail(PYTHON, "-m", "mypy", *_code_paths())


def docs(*arguments: str) -> None:
    """Generate the generated parts of the docs. With --check, only check that they are current."""
    setup()
    _run_or_fail(PYTHON, "-m", "scripts.generate_docs", *arguments)


def docs_site(*arguments: str) -> None:
    """Build the documentation site in build/docs-site. --serve: also serve it on this machine."""
    setup()
    _run_or_fail(PYTHON, "-m", "scripts.docs_site", *arguments)


def bench(*arguments: str) -> None:
    """Run all benchmarks, and write the table."""
    setup()
    _run_or_fail(PYTHON, "-m", "benchmarks", *arguments)


def bench_api(*arguments: str) -> None:
    """Benchmark the online API and other servers (Linux, needs wrk)."""
    setup()
    _run_or_fail(PYTHON, "-m", "benchmarks.api", *arguments)


def airflow(*arguments: str) -> None:
    """Run Airflow with the daily DAGs, without Docker. Settings are in .env. --demo: with synthetic orders."""
    _setup_environments("run", "airflow")
    _replace_process(PYTHON, "-m", "scripts.airflow_local", *arguments)


def serve(*arguments: str) -> None:
    """Serve the models of `demo`. AIKEY and FLASK_PORT are in .env; generates a key if there is none."""
    setup("run")
    _replace_process(PYTHON, ROOT / "scripts" / "flask_demo.py", *arguments)


def clean_docker(*arguments: str) -> None:
    """Remove this project's containers, networks, and images from Docker. --volumes: the data too."""
    setup("run")
    _run_or_fail(PYTHON, ROOT / "scripts" / "clean_docker.py", *arguments)


def images(*arguments: str) -> None:
    """Build the container images, and print their sizes (needs Docker)."""
    setup()
    _run_or_fail(PYTHON, "-m", "scripts.images", *arguments)


def up(*arguments: str) -> None:
    """Start the API, dashboard, Airflow, and PostgreSQL with Docker Compose; or one of api, ui, airflow.

    `--monitoring` adds Prometheus and Grafana.
    """
    setup()
    _run_or_fail(PYTHON, "-m", "scripts.compose", "up", *arguments)


def down(*arguments: str) -> None:
    """Remove the services that `up` started. --volumes: the data too."""
    setup()
    _run_or_fail(PYTHON, "-m", "scripts.compose", "down", *arguments)


def screenshots(*arguments: str) -> None:
    """Take screenshots of the dashboard into build/screenshots (needs Chromium and `make demo`)."""
    setup()
    _run_or_fail(PYTHON, "-m", "scripts.screenshots", *arguments)


def lock(*arguments: str) -> None:
    """Resolve locks/ from pyproject.toml (needs uv). --upgrade: newer versions."""
    _run_or_fail(sys.executable, ROOT / "scripts" / "make_locks.py", *arguments)


def clean(*_: str) -> None:
    """Remove generated files and predictions/, the prediction log. Keeps environments, .env, models/, and results/."""
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
    "docs-site": docs_site,
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
    """Run every check of `lint`, and return the names of those that failed."""
    checks: dict[str, tuple[str | Path, ...]] = {
        "ruff check": (PYTHON, "-m", "ruff", "check", *_code_paths()),
        "ruff format": (PYTHON, "-m", "ruff", "format", "--check", *_code_paths()),
        "mypy": (PYTHON, "-m", "mypy", *_code_paths()),
        "lint-imports": (VENV_BIN / "lint-imports",),
        "deptry": (PYTHON, "-m", "deptry", "src"),
        "generated docs": (PYTHON, "-m", "scripts.generate_docs", "--check"),
    }
    return [name for name, command in checks.items() if not _run(*command)]


def _code_paths() -> list[str]:
    return [name for name in CODE_PATHS if (ROOT / name).exists()]


def _setup_environments(*environments: str) -> None:
    """Create environments in parallel: most of the time, pip waits for downloads and for the disk."""
    with ThreadPoolExecutor(len(environments)) as pool:
        for finished in [pool.submit(setup, environment) for environment in environments]:
            finished.result()


def _venv_python(venv_path: Path) -> Path:
    """Return the Python of an environment."""
    return venv_path / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _make_venv(venv_path: Path) -> None:
    """Create an environment, unless it exists with pip and a recent Python. Raises `TaskError`."""
    version_check = "import pip, sys; sys.exit(sys.version_info < (3, 11))"
    if _venv_python(venv_path).exists() and _run(_venv_python(venv_path), "-c", version_check, echo=False):
        return
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        raise TaskError(
            f"{sys.executable} lacks the modules venv or ensurepip. "
            f"On Debian and Ubuntu, run: apt-get install python{sys.version_info[0]}.{sys.version_info[1]}-venv"
        )
    print(f"Creating {venv_path.name} with {sys.executable}", flush=True)
    _run_or_fail(sys.executable, "-m", "venv", "--clear", venv_path)


def _install(venv_path: Path, lock_file: Path) -> None:
    """Install a lock, and in .venv also the project. Raises `TaskError`."""
    python = _venv_python(venv_path)
    pip = (python, "-m", "pip", "--disable-pip-version-check", "--quiet", "install", "--no-deps", "--no-compile")
    wheels = (*pip, "--require-hashes", "--only-binary", ":all:")
    build_lock = LOCKS / "build" / lock_file.name
    if build_lock.is_file():
        # A package of the lock has no wheel. pip builds it with these tools, and keeps the wheel in its cache.
        _run_or_fail(*wheels, "-r", build_lock)
        _run_or_fail(*pip, "--require-hashes", "--no-build-isolation", "-r", lock_file)
    else:
        _run_or_fail(*wheels, "-r", lock_file)
    if venv_path == VENV:
        # The project itself, built by the hatchling of the lock, so that pip downloads nothing without a hash.
        _run_or_fail(*pip, "--no-index", "--no-build-isolation", "--editable", ROOT)
    # pip compiles one file at a time, including the libraries' tests: 22 s, compared with 10 s here.
    compile_arguments = ("-m", "compileall", "-q", "-q", "-j", "0", "-x", r"[/\\]tests?[/\\]")
    _run(python, *compile_arguments, *(path for path in venv_path.rglob("site-packages") if path.is_dir()), echo=False)


def _setup_stamp(environment: str) -> str:
    """Return the stamp of a finished `setup`. It depends on the lock, pyproject.toml, and the project's path."""
    content = (LOCKS / f"{environment}.lock").read_bytes() + (ROOT / "pyproject.toml").read_bytes() + str(ROOT).encode()
    return f"{environment} {hashlib.sha256(content).hexdigest()}\n"


def _run(*command: str | Path, echo: bool = True) -> bool:
    """Run a command in the project's root, and return whether it succeeded."""
    arguments = [str(argument) for argument in command]
    if echo:
        print("$", *(argument.removeprefix(f"{ROOT}{os.sep}") for argument in arguments), flush=True)
    with subprocess.Popen(arguments, cwd=ROOT) as process:
        RUNNING.add(process)
        try:
            return process.wait() == 0
        finally:
            RUNNING.discard(process)


def _terminate(signal_number: int, _: FrameType | None) -> None:
    """Forward SIGTERM to all commands, and end after them."""
    for process in tuple(RUNNING):
        process.terminate()
    raise SystemExit(128 + signal_number)


def _run_or_fail(*command: str | Path) -> None:
    if not _run(*command, echo=False):
        raise TaskError(f"Failed: {' '.join(Path(argument).name for argument in command[:5])} ...")


def _replace_process(*command: str | Path) -> None:
    """Replace this process with a command, so that it receives the signals. Windows has no equivalent."""
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
    """Run one task, and return 0 on success, 1 on failure, or 2 for an unknown task."""
    name, *task_arguments = arguments or ["help"]
    if name not in TASKS:
        print(f"Unknown task {name!r}. The tasks are:", file=sys.stderr)
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
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(main(sys.argv[1:]))
