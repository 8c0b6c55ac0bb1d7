"""Build the documentation site: `python -m scripts.docs_site`. Needs no internet access.

The pages are in build/docs-site/latest. To read them, run `python -m http.server --directory build/docs-site 8002`, or
use `--serve`. A warning of Sphinx is an error.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from scripts.docs_site.pages import ROOT, PageError, Repository, site_files
from scripts.docs_site.reference import http_reference, openapi_document, python_reference
from scripts.docs_site.versions import LATEST, add_version, version_of_ref

OUTPUT = ROOT / "build" / "docs-site"
CONFIGURATION_FOLDER = Path(__file__).resolve().parent


def build(output: Path, ref: str = "main", repository: Repository | None = None) -> int:
    """Build the site, and return the exit status of Sphinx.

    Args:
        output: Folder for all versions. The pages are in its subfolder `latest` or `vX.Y`, which is replaced.
        ref: Branch or tag that links to source files name.
        repository: Where the pages are.

    Raises:
        PageError: A page has a broken link.
    """
    version = version_of_ref(ref)
    with tempfile.TemporaryDirectory(prefix="preptime-docs-") as folder:
        work = Path(folder)
        write_pages(repository or Repository(ref=ref), work / "source")
        status = run_sphinx(work / "source", work / "html", version)
        if status == 0:
            add_version(work / "html", output, version, "/")
    return status


def write_pages(repository: Repository, folder: Path) -> None:
    """Write the pages of the site to a new folder. Raises `PageError`."""
    document = openapi_document()
    texts = site_files(repository) | {
        "reference/python.md": python_reference(),
        "reference/http.md": http_reference(document),
        "reference/openapi.json": json.dumps(document, indent=1, ensure_ascii=False),
    }
    contents = {name: text.encode() for name, text in texts.items()}
    contents |= {site_name: (repository.root / name).read_bytes() for name, site_name in repository.images().items()}
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def run_sphinx(source: Path, output: Path, version: str = LATEST) -> int:
    """Build the pages of a folder, and return the exit status. Warnings are errors."""
    from sphinx.cmd.build import build_main

    options = ["-b", "html", "-W", "--keep-going", "-q", "-c", str(CONFIGURATION_FOLDER), "-D", f"version={version}"]
    return build_main([*options, "-d", f"{output}-doctrees", str(source), str(output)])


def serve(folder: Path, port: int) -> None:
    """Serve the site on this machine until it's interrupted."""
    print(f"http://127.0.0.1:{port}/", flush=True)
    command = [sys.executable, "-m", "http.server", "--directory", str(folder), "--bind", "127.0.0.1", str(port)]
    subprocess.run(command, check=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the site, and serve it with --serve."""
    parser = argparse.ArgumentParser(prog="docs-site", description="Build the documentation site.")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--ref", default="main", help="branch or tag of the pages")
    parser.add_argument("--serve", action="store_true", help="serve the site on this machine")
    parser.add_argument("--port", type=int, default=8002)
    options = parser.parse_args(arguments)
    try:
        status = build(options.output, options.ref)
    except PageError as error:
        print(error, file=sys.stderr)
        return 1
    if status == 0:
        print(f"{options.output / version_of_ref(options.ref) / 'index.html'}")
        if options.serve:
            serve(options.output, options.port)
    return status


if __name__ == "__main__":
    sys.exit(main())
