"""What the declaration looks like to people: `.env.example` and docs/settings.md."""

from __future__ import annotations

import textwrap

from preptime.settings.declared import declared
from preptime.settings.elsewhere import SECTIONS

GENERATED = "Generated from src/preptime/settings/declared.py: run `make docs` after a change there."


def env_example() -> str:
    """The text of `.env.example`: every setting with its default, commented out."""
    lines = ["# Settings of preptime. Copy this file to .env and uncomment what you change.", f"# {GENERATED}"]
    for setting in declared():
        words = f"{setting.description} Expected: {setting.expected}."
        lines += ["", *textwrap.wrap(words, 116, initial_indent="# ", subsequent_indent="# ")]
        lines.append(f"#{setting.names[0]}={setting.default}")
    for title, told in SECTIONS.items():
        lines += ["", f"# {title}"]
        for name, (meaning, default) in told.items():
            lines += ["", *textwrap.wrap(meaning, 116, initial_indent="# ", subsequent_indent="# ")]
            lines.append(f"#{name}={default}")
    return "\n".join(lines) + "\n"


def markdown() -> str:
    """docs/settings.md."""
    lines = [
        "# Settings",
        "",
        f"<!-- {GENERATED} -->",
        "",
        "`preptime serve`, `preptime ui` and `preptime.api.wsgi:app` read the environment, then `.env` in the working",
        "folder; the environment wins. An empty value is none. An unknown name that begins with `PREPTIME_` is",
        "refused.",
        "Secrets are never shown or logged. The verbs take `--orders`, `--restaurants`, `--store` and `--results` from",
        "here where they are not given. What the DAGs read from the same file: [the daily run](daily-run.md).",
        "",
        "| setting | meaning | expected | default |",
        "|---|---|---|---|",
    ]
    for setting in declared():
        names = ", else ".join(f"`{name}`" for name in setting.names)
        default = f"`{setting.default}`" if setting.default else "none"
        lines.append(f"| {names} | {setting.description} | {setting.expected} | {default} |")
    for title, told in SECTIONS.items():
        lines += ["", f"## {title}", "", "| setting | meaning | default |", "|---|---|---|"]
        for name, (meaning, default) in told.items():
            lines.append(f"| `{name}` | {meaning} | {f'`{default}`' if default else 'none'} |")
    return "\n".join(lines) + "\n"
