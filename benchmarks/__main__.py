"""Run all benchmarks: `python -m benchmarks`, or `make bench`.

    python -m benchmarks                    run all, and update the tables in the docs
    python -m benchmarks accuracy score     run only these
    python -m benchmarks --print            print the tables without writing them
    python -m benchmarks --json             print one JSON document, by benchmark

Benchmarks run one after the other, each in a new process. In a page, a table is between `<!-- NAME -->` and
`<!-- /NAME -->`. If a benchmark can't run, for example without the real data, its table is unchanged, the other tables
are written, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = (
    "docs/benchmarks.md",
    "docs/databases.md",
    "docs/models.md",
    "docs/monitoring.md",
    "docs/dashboard.md",
    "docs/schema.md",
    "README.md",
)
NAMES = (
    "accuracy",
    "custom_features",
    "training_time",
    "forest_caps",
    "score",
    "history",
    "restaurant_ids",
    "ingest",
    "alerts",
    "dashboard",
    "schema_inference",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmarks, and write their tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"benchmarks to run (default: {', '.join(NAMES)})")
    parser.add_argument("--print", dest="only_print", action="store_true", help="print the tables without writing them")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args(argv)
    unknown = sorted(set(arguments.names) - set(NAMES))
    if unknown:
        parser.error(f"unknown benchmark {', '.join(unknown)}; expected {', '.join(NAMES)}")
    names = arguments.names or list(NAMES)
    outputs: dict[str, str] = {}
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        output = _run(name, as_json=arguments.json)
        if output is None:
            continue
        outputs[name] = output
        if not arguments.json:
            print(f"## {name}\n\n{output}\n", flush=True)
    if arguments.json:
        print(json.dumps({name: json.loads(output) for name, output in outputs.items()}))
    elif not arguments.only_print:
        _write(outputs)
    return 0 if len(outputs) == len(names) else 1


def _run(name: str, *, as_json: bool) -> str | None:
    """Return the output of a benchmark, or None if it failed. The error is on standard error."""
    command = [sys.executable, "-m", f"benchmarks.{name}", *(["--json"] if as_json else [])]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, encoding="utf-8", check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def _write(outputs: dict[str, str]) -> None:
    for name in PAGES:
        page = ROOT / name
        before = page.read_text(encoding="utf-8")
        after = with_tables(before, outputs)
        if after != before:
            page.write_text(after, encoding="utf-8", newline="\n")
            print(f"Wrote {name}", file=sys.stderr)


def with_tables(page: str, tables: dict[str, str]) -> str:
    """Return a page with the text between the markers of each table replaced. Missing markers are ignored."""
    for name, table in tables.items():
        start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, start_marker, rest = page.partition(start)
        _, end_marker, after = rest.partition(end)
        if start_marker and end_marker:
            page = f"{before}{start}{table}\n{end}{after}"
    return page


if __name__ == "__main__":
    sys.exit(main())
