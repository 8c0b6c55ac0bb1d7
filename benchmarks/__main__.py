"""Run all benchmarks: `python -m benchmarks`, or `make bench`.

    python -m benchmarks                    run all except `peers` and `spark_large`, and update the tables in the docs
    python -m benchmarks accuracy score     run only these
    python -m benchmarks --print            print the tables without writing them
    python -m benchmarks --json             print one JSON document, by benchmark
    python -m benchmarks peers -- --rounds 3     pass options to one benchmark

Benchmarks run one after the other, each in a new process. Two run only by name: `peers`, which installs 2 GB of other
model servers and takes 12 minutes, and `spark_large`, which takes 45 minutes and needs 12 GB of disk.

In a page, a table is between `<!-- NAME -->` and `<!-- /NAME -->`. Its first paragraph is also between
`<!-- NAME-sentence -->` and `<!-- /NAME-sentence -->`. A part of an output with its own markers is also in every page
that has them. If a benchmark can't run, for example without the real data, its table is unchanged, the other tables are
written, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = (
    "docs/benchmarks.md",
    "docs/benchmarks-api.md",
    "docs/databases.md",
    "docs/dispatch.md",
    "docs/models.md",
    "docs/monitoring.md",
    "docs/dashboard.md",
    "docs/schema.md",
    "docs/python.md",
    "docs/tuning.md",
    "docs/explanations.md",
    "docs/opentelemetry.md",
    "docs/scale.md",
    "README.md",
)
NAMES = (
    "accuracy",
    "custom_features",
    "quantile_models",
    "live_model",
    "dispatch_waits",
    "training_time",
    "forest_caps",
    "score",
    "history",
    "restaurant_ids",
    "ingest",
    "alerts",
    "dashboard",
    "schema_inference",
    "tuning",
    "explanations",
    "telemetry",
    "import_time",
    "spark",
    "spark_history",
    "spark_sampling",
)
BY_NAME_ONLY = ("peers", "spark_large")
"""Benchmarks that run only if they're named."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmarks, and write their tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = (*NAMES, *BY_NAME_ONLY)
    help_ = f"benchmarks to run: {', '.join(BY_NAME_ONLY)}, or (default) {', '.join(NAMES)}"
    parser.add_argument("names", nargs="*", metavar="NAME", help=help_)
    parser.add_argument("--print", dest="only_print", action="store_true", help="print the tables without writing them")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    own, options = _split(sys.argv[1:] if argv is None else argv)
    arguments = parser.parse_args(own)
    unknown = sorted(set(arguments.names) - set(known))
    if unknown:
        parser.error(f"unknown benchmark {', '.join(unknown)}; expected {', '.join(known)}")
    if options and len(arguments.names) != 1:
        parser.error(f"the options after -- ({' '.join(options)}) need exactly one NAME")
    names = arguments.names or list(NAMES)
    outputs: dict[str, str] = {}
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        output = _run(name, options, as_json=arguments.json)
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


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the arguments before and after `--`."""
    end = list(arguments).index("--") if "--" in arguments else len(arguments)
    return list(arguments[:end]), list(arguments[end + 1 :])


def _run(name: str, options: Sequence[str], *, as_json: bool) -> str | None:
    """Return the output of a benchmark, or None if it failed. Then, its output is on standard error."""
    command = [sys.executable, "-m", f"benchmarks.{name}", *(["--json"] if as_json else []), *options]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, encoding="utf-8", check=False)
    if done.returncode:
        print(done.stdout, end="", file=sys.stderr)
        return None
    return done.stdout.strip()


def _write(outputs: dict[str, str]) -> None:
    sentences = {f"{name}-sentence": output.partition("\n\n")[0] for name, output in outputs.items()}
    parts = {name: part for output in outputs.values() for name, part in marked_parts(output)}
    for name in PAGES:
        page = ROOT / name
        before = page.read_text(encoding="utf-8")
        after = with_tables(before, outputs | sentences | parts)
        if after != before:
            page.write_text(after, encoding="utf-8", newline="\n")
            print(f"Wrote {name}", file=sys.stderr)


def marked_parts(output: str) -> list[tuple[str, str]]:
    """Return the name and the text of each part of an output that is between its own markers."""
    parts = re.findall(r"^<!-- (\w+) -->\n(.*?)\n<!-- /\1 -->", output, re.DOTALL | re.MULTILINE)
    return [(str(name), str(text)) for name, text in parts]


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
