"""What the declaration looks like to people: `.env.example` and docs/settings.md."""

from __future__ import annotations

import textwrap

from preptime.settings import EXTERNAL_SECTIONS, iter_settings

GENERATED_NOTICE = "Generated from src/preptime/settings.py: run `make docs` after a change there."


def env_example() -> str:
    """The text of `.env.example`: every setting with its default, commented out."""
    lines = ["# Settings of preptime. Copy this file to .env and uncomment what you change.", f"# {GENERATED_NOTICE}"]
    for spec in iter_settings():
        text = f"{spec.description} Expected: {spec.expected}."
        lines += ["", *textwrap.wrap(text, 116, initial_indent="# ", subsequent_indent="# ")]
        lines.append(f"#{spec.names[0]}={spec.default}")
    for title, entries in EXTERNAL_SECTIONS.items():
        lines += ["", f"# {title}"]
        for name, (meaning, default) in entries.items():
            lines += ["", *textwrap.wrap(meaning, 116, initial_indent="# ", subsequent_indent="# ")]
            lines.append(f"#{name}={default}")
    return "\n".join(lines) + "\n"


def markdown() -> str:
    """docs/settings.md."""
    lines = [
        "# Settings",
        "",
        f"<!-- {GENERATED_NOTICE} -->",
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
    for spec in iter_settings():
        names = ", else ".join(f"`{name}`" for name in spec.names)
        default = f"`{spec.default}`" if spec.default else "none"
        lines.append(f"| {names} | {spec.description} | {spec.expected} | {default} |")
    for title, entries in EXTERNAL_SECTIONS.items():
        lines += ["", f"## {title}", "", "| setting | meaning | default |", "|---|---|---|"]
        for name, (meaning, default) in entries.items():
            lines.append(f"| `{name}` | {meaning} | {f'`{default}`' if default else 'none'} |")
    return "\n".join(lines) + "\n"
