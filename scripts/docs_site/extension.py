"""Sphinx extension of the site: diagrams, types that link to the public API, and a check of docstrings."""

from __future__ import annotations

import builtins
import pkgutil
import re
import textwrap
from typing import TYPE_CHECKING, ClassVar

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.util import logging
from sphinx.util.nodes import make_refnode

import preptime
from scripts.docs_site.diagrams import DIAGRAM_FOLDER, diagram_file, first_diagram, width_of
from scripts.docs_site.reference import is_own_class

if TYPE_CHECKING:
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.config import Config
    from sphinx.environment import BuildEnvironment

LOGGER = logging.getLogger(__name__)
_PAGE = re.compile(r"(?<![`\w/])docs/([\w/-]+)\.md")
_SECTION = re.compile(r"(Args|Attributes|Example|Examples|Note|Raises|Returns|Yields):")
_HIDDEN_COLON = "\ue000"
_DOCUMENTED = {"class", "exception", "function", "method", "property"}
_LINKED = {"class", "exception", "function"}
_EXAMPLE = re.compile(r"^Example:\n(?P<code>(?: +.*(?:\n|\Z)|\n)+)", flags=re.MULTILINE)
_NAME = re.compile(r"(?<![`:\w])`([^`\n]+)`(?![`_])(?=(\w?))")


class Mermaid(Directive):
    """A Mermaid diagram: the picture that is stored for its text. Needs no script and no internet access.

    With an argument, it's the first diagram of that page of the repository.
    """

    has_content: ClassVar[bool] = True
    optional_arguments: ClassVar[int] = 1

    def run(self) -> list[nodes.Node]:
        """Return the picture, or a warning that names the command that draws it."""
        text = first_diagram(self.arguments[0]) if self.arguments else "\n".join(self.content)
        file = diagram_file(text)
        if not file.is_file():
            return [
                self.state.document.reporter.warning(
                    f"{DIAGRAM_FOLDER.name}/{file.name} is missing: this diagram is new or has changed. "
                    "Run: python -m scripts.docs_site.diagrams",
                    line=self.lineno,
                )
            ]
        svg = file.read_text(encoding="utf-8")
        style = f"--diagram-width: {width_of(svg)}px"
        return [nodes.raw("", f'<div class="diagram" style="{style}">{svg}</div>', format="html")]


def link_type(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement) -> nodes.Node | None:
    """Link a type or an error to its section in the reference. A type of a library stays text.

    Returns None for a name that doesn't exist or that the reference lacks, which Sphinx then reports.
    """
    if node.get("refdomain") != "py":
        return None
    target = str(node["reftarget"])
    last_name = target.rpartition(".")[2]
    for name, entry in env.domains.python_domain.objects.items():
        if name.rpartition(".")[2] == last_name and entry.objtype in _LINKED and _is_same(target, name):
            return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, content, name)
    if target.startswith("preptime."):
        return content if _exists(target) and not is_own_class(pkgutil.resolve_name(target)) else None
    return None if node["reftype"] == "exc" and not hasattr(builtins, target) else content


def _is_same(target: str, name: str) -> bool:
    """Return whether a target names a documented object. A target without a module does, if the last part is equal."""
    return "." not in target or (_exists(target) and pkgutil.resolve_name(target) is pkgutil.resolve_name(name))


def _exists(name: str) -> bool:
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError):
        return False
    return True


def improve_docstring(_app: Sphinx, kind: str, name: str, _value: object, _options: object, lines: list[str]) -> None:
    """Show examples as code, and link public names and pages. Warn about a public name without a docstring."""
    if not any(line.strip() for line in lines) and kind in _DOCUMENTED:
        LOGGER.warning("%s %s has no docstring.", kind, name, type="preptime", subtype="docstring")
    text = _EXAMPLE.sub(_as_code_block, "\n".join(lines))
    text = _PAGE.sub(r":doc:`/\1`", _NAME.sub(_as_link, text))
    lines[:] = _hide_colons(text.splitlines())


def _hide_colons(lines: list[str]) -> list[str]:
    """Replace colons where napoleon reads the text before one as a type: outside of sections and in `Returns`."""
    section, hidden = "", []
    for line in lines:
        heading = _SECTION.fullmatch(line)
        section = heading[1] if heading else section
        hides = not heading and section in {"", "Returns"}
        hidden.append(line.replace(":", _HIDDEN_COLON) if hides else line)
    return hidden


def restore_colons(_app: Sphinx, _kind: str, _name: str, _value: object, _options: object, lines: list[str]) -> None:
    """Restore the colons that napoleon must not read."""
    lines[:] = [line.replace(_HIDDEN_COLON, ":") for line in lines]


def hide_signature(
    _app: Sphinx, kind: str, name: str, _value: object, _options: object, _signature: str, _returns: str
) -> tuple[str, str] | None:
    """Hide how an object is created that only the functions of preptime create."""
    is_public = name.removeprefix("preptime.") in preptime.__all__
    return None if kind != "class" or is_public else ("", "")


def _as_code_block(example: re.Match[str]) -> str:
    """Mark an example without prompts as code."""
    if ">>>" in example["code"]:
        return example[0]
    code = textwrap.indent(textwrap.dedent(example["code"]), " " * 8)
    return f"Example:\n    .. code-block:: python\n\n{code}\n"


def _as_link(name: re.Match[str]) -> str:
    """Return the reference to a public name, or any other text in backticks as code."""
    public = name[1].removeprefix("preptime.").removesuffix("()")
    reference = f":py:obj:`~preptime.{public}`" if public in preptime.__all__ else f"``{name[1].strip()}``"
    return f"{reference}\\ " if name[2] else reference


def set_version(_app: Sphinx, config: Config) -> None:
    """Select the built version in the menu. A page of another version than the newest release has a banner."""
    config.release = config.version
    config.html_theme_options["switcher"]["version_match"] = config.version


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the parts of the extension."""
    app.add_directive("mermaid", Mermaid)
    app.connect("config-inited", set_version)
    app.connect("missing-reference", link_type)
    # Napoleon has the priority 500.
    app.connect("autodoc-process-docstring", improve_docstring, priority=400)
    app.connect("autodoc-process-docstring", restore_colons, priority=600)
    app.connect("autodoc-process-signature", hide_signature)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
