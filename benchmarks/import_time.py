"""Time of `import preptime`, and of the first use of names of the Python API, each in a new process.

    python -m benchmarks.import_time                one table
    python -m benchmarks.import_time --repeats 20   more repetitions (default: 10)
    python -m benchmarks.import_time --json         one JSON document instead of the table

Times are processor times, without the start of Python itself. The first run of each statement isn't counted, because
it reads the files from the disk.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys

STATEMENTS = {
    "import": "import preptime",
    "client": "import preptime; preptime.Client",
    "store": "import preptime; preptime.open_store",
    "train": "import preptime; preptime.train",
}


def main() -> None:
    """Measure every statement, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=10, help="runs of each statement (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    arguments = parser.parse_args()
    results = {name: _median_seconds(code, arguments.repeats) for name, code in STATEMENTS.items()}
    print(json.dumps(results) if arguments.json else _markdown(results, arguments.repeats))


def _median_seconds(code: str, repeats: int) -> float:
    """Return the median processor time of the code in a new process, in seconds."""
    return statistics.median([_seconds(code) for _ in range(repeats + 1)][1:])


def _seconds(code: str) -> float:
    program = f"import time; started = time.process_time(); {code}; print(time.process_time() - started)"
    return float(subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.PIPE).stdout)


def _markdown(results: dict[str, float], repeats: int) -> str:
    rows = [f"| `{STATEMENTS[name]}` | {seconds:.3f} s |" for name, seconds in results.items()]
    sentence = f"`import preptime` takes {results['import']:.3f} s (median of {repeats} processes)."
    return "\n".join([sentence, "", "| statement | time |", "|---|---|", *rows])


if __name__ == "__main__":
    main()
