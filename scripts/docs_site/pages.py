"""Collects the pages of the site from the repository, with links that work in the site.

The pages keep the form that GitHub shows. A link to another page of the site leads to it. A link to any other file of
the repository leads to the repository.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REPOSITORY_URL = "https://github.com/preptime/preptime"
READING_PATHS = "docs/README.md"
"""The page whose sections become pages of the site with the navigation."""
SITE_NAMES = {
    "README.md": "get-started.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    READING_PATHS: "reading-paths.md",
}
"""Pages with another name in the site. The pages in docs/ and docs/site/ are moved to the root of the site."""

GENERATED_PAGES = ("reference/python.md", "reference/http.md")
"""Pages that exist only in the site, so that docs/README.md can't link them."""

_FENCE = re.compile(r"^ *(`{3,}|~{3,}).*?^ *\1`*[ \t]*$", flags=re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)")
_SECTION = re.compile(r"^## (?P<title>[^\n]+)\n(?P<text>.*?)(?=^## |\Z)", flags=re.DOTALL | re.MULTILINE)


class PageError(Exception):
    """A page can't become a page of the site. The message is for the author."""


@dataclass(frozen=True)
class Repository:
    """The files of the repository that the site reads, and the version that links to other files name."""

    root: Path = ROOT
    ref: str = "main"

    def pages(self) -> dict[str, str]:
        """Return the path of each page in the repository, and its path in the site."""
        found = [*self.root.glob("*.md"), *self.root.glob("docs/**/*.md"), *self.root.glob("examples/*.ipynb")]
        names = sorted(path.relative_to(self.root).as_posix() for path in found)
        return {name: SITE_NAMES.get(name) or _site_name(name) for name in names}

    def images(self) -> dict[str, str]:
        """Return the path of each image in the repository, and its path in the site."""
        names = sorted(path.relative_to(self.root).as_posix() for path in self.root.glob("docs/images/*"))
        return {name: name.removeprefix("docs/") for name in names}

    def text(self, name: str) -> str:
        """Return the text of a file."""
        return (self.root / name).read_text(encoding="utf-8")

    def url(self, name: str) -> str:
        """Return the address of a file or folder in the repository."""
        kind = "tree" if (self.root / name).is_dir() else "blob"
        return f"{REPOSITORY_URL}/{kind}/{self.ref}/{name}"


def site_files(repository: Repository) -> dict[str, str]:
    """Return the text of each page of the site by its path in the site.

    Raises:
        PageError: Links are broken, or a notebook can't be shown.
    """
    pages = repository.pages()
    links = _Links(repository, pages | repository.images())
    files = {}
    for name, site_name in pages.items():
        text = repository.text(name)
        if name == "README.md":
            text = text.replace("# preptime\n", "# Get started\n", 1)
        convert = partial(links.convert, name)
        files[site_name] = notebook_page(name, text, convert) if name.endswith(".ipynb") else convert(text)
        if posixpath.basename(name) == "README.md" and "/" in site_name:
            files[site_name] += _navigation(_linked_pages(files[site_name], site_name, pages.values()))
    if links.broken:
        raise PageError("\n".join(links.broken))
    sections = files.pop(SITE_NAMES[READING_PATHS])
    return files | dict(section_pages(sections, sorted(files)))


def notebook_page(name: str, text: str, convert: Callable[[str], str]) -> str:
    """Return a notebook with links that work in the site.

    Raises:
        PageError: An output loads a script from the internet.
    """
    notebook = json.loads(text)
    for number, cell in enumerate(notebook["cells"], 1):
        if cell["cell_type"] == "markdown":
            cell["source"] = convert("".join(cell["source"]))
        for output in cell.get("outputs", ()):
            html = "".join(output.get("data", {}).get("text/html", ""))
            if "<script" in html and "https://" in html:
                raise PageError(
                    f"{name}: the output of cell {number} loads a script from the internet, which the site doesn't. "
                    'For a chart, run alt.renderers.enable("svg") first.'
                )
    return json.dumps(notebook, ensure_ascii=False)


def section_pages(text: str, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield a page for each section of docs/README.md, with the navigation to the pages that it links.

    A page is in the navigation of one section: Reference, if that links it, or else the first.

    Args:
        text: The sections, with links as in the site.
        names: Paths of all pages in the site.
    """
    placed: set[str] = set()
    # `sorted` keeps the order of equal elements.
    for section in sorted(_SECTION.finditer(text), key=lambda section: section["title"] != "Reference"):
        title, content = section["title"], section["text"].strip()
        pages = [name for name in _linked_pages(content, "", names) if name not in placed]
        if title == "Reference":
            content = "\n".join([*(f"- [](/{name})" for name in GENERATED_PAGES), content])
            pages = [*GENERATED_PAGES, *pages]
        elif title == "Data science":
            notebooks = [name for name in names if name.endswith(".ipynb") and name not in pages]
            content += "".join(f"\n- [](/{name})" for name in notebooks)
            pages += notebooks
        placed |= set(pages)
        yield _section_page(title), f"# {title}\n\n{_one_folder_down(content)}\n{_navigation(pages)}"


def _section_page(title: str) -> str:
    return f"for/{slug(title)}.md"


def _site_name(name: str) -> str:
    return re.sub(r"^docs/(site/)?|README(?=\.md$)", lambda match: "index" if match[0] == "README" else "", name)


def slug(title: str) -> str:
    """Return the anchor of a heading, as GitHub generates it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _linked_pages(text: str, name: str, names: Iterable[str]) -> list[str]:
    """Return the pages that a page links, in the order of its links."""
    folder = posixpath.dirname(name)
    paths = [match["target"].partition("#")[0] for match in _LINK.finditer(text)]
    linked = dict.fromkeys(posixpath.normpath(posixpath.join(folder, path)) for path in paths if path)
    known = set(names)
    return [path for path in linked if path in known and path != name]


def _navigation(pages: Sequence[str]) -> str:
    """Return the directive that adds pages to the navigation below the page that contains it."""
    entries = "\n".join(f"/{posixpath.splitext(page)[0]}" for page in pages)
    return f"\n```{{toctree}}\n:hidden:\n:maxdepth: 1\n\n{entries}\n```\n"


def _one_folder_down(text: str) -> str:
    """Adapt the links of a page to a folder."""
    return _LINK.sub(lambda link: link[0] if _is_absolute(link["target"]) else f"](../{link['target']})", text)


def _is_absolute(target: str) -> bool:
    return "://" in target or target.startswith(("/", "#", "mailto:"))


@dataclass(frozen=True)
class _Links:
    """Converts links of the repository to links of the site."""

    repository: Repository
    moved: Mapping[str, str]
    """The path of each page and image in the repository, and its path in the site."""
    broken: list[str] = field(default_factory=list)

    def convert(self, name: str, text: str) -> str:
        """Convert the links of a text in the file `name`, except in code blocks."""
        parts, position = [], 0
        for fence in _FENCE.finditer(text):
            parts += [self._convert_part(name, text[position : fence.start()]), fence[0]]
            position = fence.end()
        return "".join([*parts, self._convert_part(name, text[position:])])

    def _convert_part(self, name: str, text: str) -> str:
        return _LINK.sub(lambda link: f"]({self._target(name, link['target'])})", text)

    def _target(self, name: str, target: str) -> str:
        """Return the target of a link in the site."""
        path, separator, anchor = target.partition("#")
        if not path or _is_absolute(path):
            return target
        folder = posixpath.dirname(self.moved[name]) or "."
        linked = posixpath.normpath(posixpath.join(posixpath.dirname(name), path))
        if linked == READING_PATHS:
            return posixpath.relpath(_section_page(anchor) if anchor else "index.md", folder)
        if linked in self.moved:
            return f"{posixpath.relpath(self.moved[linked], folder)}{separator}{anchor}"
        if linked.startswith("..") or not (self.repository.root / linked).exists():
            self.broken.append(f"{name}: the link {target} leads to {linked}, which doesn't exist.")
        return f"{self.repository.url(linked)}{separator}{anchor}"
