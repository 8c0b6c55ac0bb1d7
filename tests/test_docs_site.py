"""The documentation site: one build without internet access, and what a reader finds in it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import click
import pytest
from playwright.sync_api import expect

import preptime
from preptime.cli.app import app
from scripts.docs_site.diagrams import DIAGRAM_FOLDER, diagram_file, diagram_texts
from scripts.docs_site.pages import PageError, Repository, notebook_page, section_pages, site_files
from scripts.docs_site.versions import BRANCH, version_of_ref, write_menu
from scripts.docs_site.versions import main as push_version
from tests.requirements import ROOT, requires
from tests.ui.browser import CHROMIUM_PATH, launch_chromium, open_page

OFFLINE = """\
import socket, sys
def refuse(*_):
    raise OSError("The build used the network.")
socket.socket.connect = socket.getaddrinfo = refuse
"""
BUILD = f"{OFFLINE}from scripts.docs_site.__main__ import main\nsys.exit(main(['--output', sys.argv[1]]))"
LOADING = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href", "object": "data"}
"""Elements that load a file, and the attribute with its address."""
NOT_IN_NAVIGATION = {"search.html"}


def run_python(code: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def docs_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with all versions of the site, which has one."""
    folder = tmp_path_factory.mktemp("docs-site")
    completed = run_python(BUILD, folder)
    assert completed.returncode == 0, completed.stdout + completed.stderr
    assert completed.stderr == ""
    return folder


class Elements(HTMLParser):
    """The elements of a page, and the links of its navigation."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.navigation: list[str] = []
        self._open_navigations = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.found.append((tag, attributes))
        self._open_navigations += tag == "nav"
        if tag == "a" and self._open_navigations:
            self.navigation.append(attributes.get("href", ""))

    def handle_endtag(self, tag: str) -> None:
        self._open_navigations -= tag == "nav"

    def ids(self) -> set[str]:
        return {attributes["id"] for _, attributes in self.found if "id" in attributes}


@cache
def elements(page: Path) -> Elements:
    return Elements(page.read_text(encoding="utf-8"))


def html_pages(docs_site: Path) -> list[Path]:
    pages = (docs_site / "latest").rglob("*.html")
    return sorted(path for path in pages if "_static" not in path.parts)


def test_every_page_of_the_repository_is_in_the_site(docs_site: Path) -> None:
    names = {path.relative_to(docs_site / "latest").with_suffix("").as_posix() for path in html_pages(docs_site)}
    pages = {name.rpartition(".")[0] for name in Repository().pages().values()} - {"reading-paths"}
    assert len(pages) > 50
    assert pages - names == set()


def test_site_loads_only_its_own_files(docs_site: Path) -> None:
    external, missing = [], []
    for page in html_pages(docs_site):
        for tag, attributes in elements(page).found:
            address = re.split("[?#]", attributes.get(LOADING.get(tag, ""), ""))[0]
            if "://" in address or address.startswith("//"):
                external.append((page.name, address))
            elif address and not address.startswith("data:") and not (page.parent / address).exists():
                missing.append((page.name, address))
    for sheet in (docs_site / "latest").rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        external += [
            (sheet.name, address) for address in re.findall(r"(?:url\(|@import )['\"]?((?:https?:)?//[^)]+)", text)
        ]
    assert external == []
    assert missing == []


def test_links_between_pages_of_the_site_resolve(docs_site: Path) -> None:
    broken = []
    for page in html_pages(docs_site):
        for tag, attributes in elements(page).found:
            path, _, anchor = attributes.get("href", "").partition("#")
            if tag != "a" or "://" in path or path.startswith("mailto:"):
                continue
            linked = (page.parent / path).resolve() if path else page
            if not linked.is_file() or (anchor and linked.suffix == ".html" and anchor not in elements(linked).ids()):
                broken.append((page.name, attributes["href"]))
    assert broken == []


def test_links_to_source_files_lead_to_the_repository(docs_site: Path) -> None:
    text = (docs_site / "latest" / "contributing.html").read_text(encoding="utf-8")
    linked = re.findall(r"https://github\.com/preptime/preptime/blob/main/([^\"#]+)", text)
    assert "src/preptime/models/catalogue.py" in linked
    assert [name for name in linked if not (ROOT / name).is_file()] == []


def test_every_page_is_reached_by_the_navigation(docs_site: Path) -> None:
    start = docs_site / "latest" / "index.html"
    reached, waiting = set(), [start]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".html":
            continue
        reached.add(page)
        links = (link.partition("#")[0] for link in elements(page).navigation)
        waiting += [(page.parent / link).resolve() for link in links if link and "://" not in link]
    assert {page.name for page in html_pages(docs_site) if page.resolve() not in reached} == NOT_IN_NAVIGATION


def test_every_public_name_is_in_the_python_reference(docs_site: Path) -> None:
    ids = elements(docs_site / "latest" / "reference" / "python.html").ids()
    assert [name for name in preptime.__all__ if f"preptime.{name}" not in ids] == []


def command_paths(group: click.Group, path: str = "preptime") -> Iterator[str]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from command_paths(command, f"{path} {name}")
        else:
            yield f"{path} {name}"


def test_every_command_is_in_the_command_line_reference(docs_site: Path) -> None:
    ids = elements(docs_site / "latest" / "cli.html").ids()
    commands = list(command_paths(app))
    assert "preptime bundles promote" in commands
    assert [command for command in commands if command.replace(" ", "-") not in ids] == []


def test_every_endpoint_is_in_the_http_reference(docs_site: Path) -> None:
    ids = elements(docs_site / "latest" / "reference" / "http.html").ids()
    assert {"post-v1-predictions", "post-v1-dispatch", "get-readyz", "prediction"} <= ids


def test_search_index_contains_terms(docs_site: Path) -> None:
    index = (docs_site / "latest" / "searchindex.js").read_text(encoding="utf-8")
    for stem in ("conform", "courier", "newsvendor"):
        assert re.search(rf'"?{stem}"?:', index), stem


def test_every_diagram_has_its_picture() -> None:
    """To fix a failure, run `python -m scripts.docs_site.diagrams`."""
    texts = diagram_texts(Repository())
    assert texts
    assert {diagram_file(text) for text in texts} == set(DIAGRAM_FOLDER.glob("*.svg"))


def test_mistakes_in_pages_fail_the_build(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    directives = ["autofunction:: preptime.missing_name", "autofunction:: json.detect_encoding"]
    blocks = [f"```{{eval-rst}}\n.. {directive}\n```\n" for directive in directives]
    page = "# Page\n\n[link](missing.md)\n\n[anchor](#missing)\n\n```mermaid\nflowchart LR\n  a --> b\n```\n\n"
    (source / "index.md").write_text(page + "\n".join(blocks), encoding="utf-8")
    (source / "lonely.md").write_text("# Lonely\n", encoding="utf-8")
    code = "import sys\nfrom pathlib import Path\nfrom scripts.docs_site.__main__ import run_sphinx\n"
    completed = run_python(f"{code}sys.exit(run_sphinx(*map(Path, sys.argv[1:])))", source, tmp_path / "html")
    assert completed.returncode == 1
    expected = [
        "cross-reference target not found: 'missing.md'",
        "cross-reference target not found: 'missing'",
        ".svg is missing: this diagram is new or has changed. Run: python -m scripts.docs_site.diagrams",
        "missing_name",
        "function json.detect_encoding has no docstring.",
        "lonely.md: WARNING: document isn't included in any toctree",
    ]
    assert [text for text in expected if text not in completed.stderr] == [], completed.stderr


def test_broken_link_is_reported_with_its_page(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "README.md").write_text("# Docs\n\n[page](../gone.md)\n", encoding="utf-8")
    with pytest.raises(PageError, match=r"docs/README\.md: the link \.\./gone\.md leads to gone\.md"):
        site_files(Repository(tmp_path))


def test_links_are_converted_outside_of_code(tmp_path: Path) -> None:
    for name, text in {
        "README.md": "# preptime\n\n[a](docs/a.md#x) [file](dev.py) [web](https://example.com)\n\n```\n[a](docs/a.md)\n```\n",
        "docs/README.md": "# Docs\n\n## For you\n\n[a](a.md) [folder](../docs)\n",
        "docs/a.md": "# A\n\n[section](README.md#for-you) [top](README.md) [start](../README.md#b)\n",
        "dev.py": "",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    files = site_files(Repository(tmp_path, ref="v0.2.0"))
    assert "[a](a.md#x) [file](https://github.com/preptime/preptime/blob/v0.2.0/dev.py)" in files["get-started.md"]
    assert "```\n[a](docs/a.md)\n```" in files["get-started.md"]
    assert "[section](for/for-you.md) [top](index.md) [start](get-started.md#b)" in files["a.md"]
    assert "[a](../a.md) [folder](https://github.com/preptime/preptime/tree/v0.2.0/docs)" in files["for/for-you.md"]


def test_notebook_has_converted_links() -> None:
    notebook = {"cells": [{"cell_type": "markdown", "source": ["[a](x.md)\n", "[b](x.md)"]}, {"cell_type": "code"}]}
    converted = notebook_page("a.ipynb", json.dumps(notebook), lambda text: text.replace("x.md", "y.md"))
    assert json.loads(converted)["cells"][0]["source"] == "[a](y.md)\n[b](y.md)"


def test_notebook_with_external_script_is_refused() -> None:
    output = {"data": {"text/html": ["<script>\n", "load('https://cdn.example.com/vega.js')</script>"]}}
    notebook = {"cells": [{"cell_type": "code", "source": "chart", "outputs": [output]}]}
    with pytest.raises(PageError, match=r"a\.ipynb: the output of cell 1 loads a script.*renderers\.enable"):
        notebook_page("a.ipynb", json.dumps(notebook), str)


def test_notebook_is_in_the_navigation_of_data_science() -> None:
    pages = dict(section_pages("## Data science\n\n[a](a.md)\n", ["a.md", "examples/train.ipynb"]))
    assert "\n/a\n/examples/train\n" in pages["for/data-science.md"]
    assert "[](/examples/train.ipynb)" in pages["for/data-science.md"]


def run_git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def test_published_branch_has_every_version(tmp_path: Path) -> None:
    run_git(tmp_path, "init", "--quiet", "--bare", "remote")
    built = tmp_path / "built"
    for ref, text in (("main", "old"), ("v0.9.1", "9"), ("v0.10.0", "10"), ("main", "new")):
        folder = built / version_of_ref(ref)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "index.html").write_text(text, encoding="utf-8")
        assert push_version([str(built), str(tmp_path / "remote"), "--ref", ref, "--base", "/preptime/"]) == 0
    run_git(tmp_path, "clone", "--quiet", "--branch", BRANCH, "remote", "site")
    site = tmp_path / "site"
    versions = json.loads((site / "switcher.json").read_text(encoding="utf-8"))
    assert [entry["url"] for entry in versions] == ["/preptime/latest/", "/preptime/v0.10/", "/preptime/v0.9/"]
    assert [entry["version"] for entry in versions if entry["preferred"]] == ["v0.10"]
    assert "url=v0.10/index.html" in (site / "index.html").read_text(encoding="utf-8")
    texts = {path.parent.name: path.read_text(encoding="utf-8") for path in site.glob("*/index.html")}
    assert texts == {"latest": "new", "v0.9": "9", "v0.10": "10"}
    assert (site / ".nojekyll").is_file()


def test_rejected_push_is_repeated(tmp_path: Path) -> None:
    """As if another version had been pushed since the clone."""
    run_git(tmp_path, "init", "--quiet", "--bare", "remote")
    hook = tmp_path / "remote" / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\n[ -e accept ] || { touch accept; exit 1; }\n", encoding="utf-8")
    hook.chmod(0o755)
    (tmp_path / "built" / "latest").mkdir(parents=True)
    (tmp_path / "built" / "latest" / "index.html").write_text("new", encoding="utf-8")
    assert push_version([str(tmp_path / "built"), str(tmp_path / "remote"), "--ref", "main"]) == 0
    assert (tmp_path / "remote" / "accept").is_file()
    assert run_git(tmp_path / "remote", "show", f"{BRANCH}:latest/index.html") == "new"


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves files without a log."""

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder, and yield its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_reader_searches_and_changes_version(docs_site: Path, tmp_path: Path) -> None:
    """`open_page` fails if a page requests another host, or if the browser reports an error."""
    requires(CHROMIUM_PATH, "Chromium isn't installed (Debian packages: chromium, fonts-dejavu-core)")
    shutil.copytree(docs_site, tmp_path, dirs_exist_ok=True)
    (tmp_path / "v0.1").mkdir()
    old_page = '<link rel="icon" href="data:,"><h1>The search of version 0.1</h1>'
    (tmp_path / "v0.1" / "search.html").write_text(old_page, encoding="utf-8")
    write_menu(tmp_path, "/")
    with served(tmp_path) as url, launch_chromium() as browser:
        with open_page(browser, f"{url}/latest/search.html?q=newsvendor") as page:
            expect(page.locator("#search-results li a", has_text="Dispatch").first).to_be_visible()
            expect(page.locator("#bd-header-version-warning")).to_contain_text("version latest")
            page.locator(".version-switcher__button").first.click()
            page.locator("a[data-version='v0.1']").first.click()
            expect(page.locator("h1")).to_have_text("The search of version 0.1")
        with open_page(browser, f"{url}/latest/index.html", width=420, dark=True) as page:
            assert page.evaluate("document.documentElement.scrollWidth") <= 420
            expect(page.locator(".diagram svg")).to_be_visible()
