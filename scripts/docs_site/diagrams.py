"""Draws the Mermaid diagrams of the pages: `python -m scripts.docs_site.diagrams`. Needs npm and Chromium.

GitHub draws a Mermaid block itself. The site shows the picture from docs/site/diagrams, so that it needs no script of
3 MB. The name of a picture is the hash of its text.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.docs_site.pages import Repository

if TYPE_CHECKING:
    from playwright.sync_api import Page

DIAGRAM_FOLDER = Repository().root / "docs" / "site" / "diagrams"
MERMAID_VERSION = "11.17.2"
MAX_WIDTH = 1300
"""Pixels. Text of 16 pixels is still readable if the picture is as wide as the column of the site, 900 pixels."""
_BLOCK = re.compile(r"^```mermaid\n(.*?)\n```", flags=re.DOTALL | re.MULTILINE)
_COLORS = {
    "#e0e0e1": "var(--pst-color-surface)",
    "#d0d0d1": "var(--pst-color-border)",
    "#c0c0c1": "var(--pst-color-text-base)",
    "#b0b0b1": "var(--pst-color-text-muted)",
    "#a0a0a1": "var(--pst-color-background)",
}
"""Colors that Mermaid draws with, and the variables of the theme that replace them, so that dark mode works."""
_THEME = """{
  startOnLoad: false, theme: "base", htmlLabels: false, deterministicIds: true,
  flowchart: {htmlLabels: false, nodeSpacing: 25, rankSpacing: 35, padding: 10},
  fontFamily: "sans-serif",
  themeVariables: {
    primaryColor: "#e0e0e1", primaryBorderColor: "#d0d0d1", primaryTextColor: "#c0c0c1", lineColor: "#b0b0b1",
    textColor: "#c0c0c1", mainBkg: "#e0e0e1", nodeBorder: "#d0d0d1", edgeLabelBackground: "#a0a0a1",
  }
}"""


def diagram_file(text: str) -> Path:
    """Return the file with the picture of a diagram."""
    return DIAGRAM_FOLDER / f"{hashlib.sha256(text.strip().encode()).hexdigest()[:16]}.svg"


def diagram_texts(repository: Repository) -> list[str]:
    """Return the text of each Mermaid block of the pages."""
    return [text for name in repository.pages() for text in _BLOCK.findall(repository.text(name))]


def first_diagram(name: str) -> str:
    """Return the text of the first diagram of a page of the repository."""
    return str(_BLOCK.findall(Repository().text(name))[0])


def width_of(svg: str) -> int:
    """Return the width of a picture in pixels."""
    return round(float(svg.partition('viewBox="')[2].split()[2]))


def with_theme_colors(svg: str) -> str:
    """Replace the colors of a picture with the variables of the theme."""
    for color, variable in _COLORS.items():
        red, green, blue = bytes.fromhex(color[1:])
        svg = re.sub(rf"{color}|rgb\({red}, ?{green}, ?{blue}\)", variable, svg, flags=re.IGNORECASE)
    return svg


def draw(texts: Iterable[str], script: Path) -> list[str]:
    """Return the SVG picture of each text. `script` is `mermaid.min.js`."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page()
        page.add_script_tag(path=script)
        page.evaluate(f"mermaid.initialize({_THEME})")
        drawn = [_draw_one(page, f"diagram-{number}", text) for number, text in enumerate(texts, 1)]
        browser.close()
    return drawn


def _draw_one(page: Page, name: str, text: str) -> str:
    """Draw a diagram: from left to right, as its text says, or from top to bottom if that is too wide."""
    svg = ""
    for variant in (text, text.replace("flowchart LR", "flowchart TB")):
        svg = page.evaluate("async ([name, text]) => (await mermaid.render(name, text)).svg", [name, variant])
        if width_of(svg) <= MAX_WIDTH:
            break
    return with_theme_colors(svg)


def main() -> int:
    """Draw all diagrams, and delete the pictures that no page has."""
    texts = diagram_texts(Repository())
    with tempfile.TemporaryDirectory() as folder:
        # Without installation scripts: npm only downloads the archive and checks its hash.
        subprocess.run(["npm", "pack", "--silent", f"mermaid@{MERMAID_VERSION}"], cwd=folder, check=True)
        with tarfile.open(next(Path(folder).glob("*.tgz"))) as archive:
            archive.extract("package/dist/mermaid.min.js", folder, filter="data")
        drawn = draw(texts, Path(folder) / "package" / "dist" / "mermaid.min.js")
    for file in DIAGRAM_FOLDER.glob("*.svg"):
        file.unlink()
    for text, svg in zip(texts, drawn, strict=True):
        diagram_file(text).write_text(svg + "\n", encoding="utf-8", newline="\n")
    print(f"Drew {len(texts)} diagrams into {DIAGRAM_FOLDER}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
