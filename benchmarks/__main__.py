"""Everything that is claimed, measured in one run: `python -m benchmarks`, or `make bench`.

    python -m benchmarks                    all of them, and the tables in the docs written anew
    python -m benchmarks accuracy score     only these
    python -m benchmarks --print            printed, nothing written
    python -m benchmarks --json             one JSON document, by benchmark; nothing written

Each runs in a process of its own, one after the other. A table stands in a page between `<!-- NAME -->` and
`<!-- /NAME -->`. Where one cannot be measured (the real data is not here) its table stays as it is, the others are
written, and the exit status is 1.
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
    "README.md",
)
NAMES = ("accuracy", "training_time", "forest_caps", "score", "history", "ingest", "alerts", "page")


def main(argv: Sequence[str] | None = None) -> int:
    """Run them and write what they print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which (default: {', '.join(NAMES)})")
    parser.add_argument("--print", dest="only_print", action="store_true", help="print the tables, write nothing")
    parser.add_argument("--json", action="store_true", help="print one JSON document, write nothing")
    arguments = parser.parse_args(argv)
    unknown = sorted(set(arguments.names) - set(NAMES))
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}")
    chosen = arguments.names or list(NAMES)
    measured: dict[str, str] = {}
    for name in chosen:
        print(f"{name} ...", file=sys.stderr, flush=True)
        said = _run(name, as_json=arguments.json)
        if said is None:
            continue
        measured[name] = said
        if not arguments.json:
            print(f"## {name}\n\n{said}\n", flush=True)
    if arguments.json:
        print(json.dumps({name: json.loads(said) for name, said in measured.items()}))
    elif not arguments.only_print:
        _write(measured)
    return 0 if len(measured) == len(chosen) else 1


def _run(name: str, *, as_json: bool) -> str | None:
    """What one of them prints; None where it failed, having said why on standard error."""
    command = [sys.executable, "-m", f"benchmarks.{name}", *(["--json"] if as_json else [])]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, encoding="utf-8", check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def _write(measured: dict[str, str]) -> None:
    for name in PAGES:
        page = ROOT / name
        before = page.read_text(encoding="utf-8")
        after = with_tables(before, measured)
        if after != before:
            page.write_text(after, encoding="utf-8", newline="\n")
            print(f"{name} written", file=sys.stderr)


def with_tables(page: str, tables: dict[str, str]) -> str:
    """A page with what stands between the markers of each table replaced; pages have the markers they want."""
    for name, table in tables.items():
        start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, opened, rest = page.partition(start)
        _, closed, after = rest.partition(end)
        if opened and closed:
            page = f"{before}{start}{table}\n{end}{after}"
    return page


if __name__ == "__main__":
    sys.exit(main())
