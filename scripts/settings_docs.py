"""Generate `.env.example` and docs/settings.md from the declaration of the settings."""

from __future__ import annotations

import textwrap

from preptime.env_file import EXTERNAL_SECTIONS
from preptime.settings import iter_settings

GENERATED_NOTICE = "Generated from src/preptime/settings.py. Run `make docs` after changing it."


def env_example() -> str:
    """Return the text of `.env.example`: every setting with its default, commented out."""
    lines = [
        "# Settings of preptime. Copy this file to .env and uncomment the lines that you change.",
        f"# {GENERATED_NOTICE}",
        "# Put a value with $ in single quotes. Otherwise, a shell and Compose expand it.",
    ]
    for spec in iter_settings():
        text = f"{spec.description} Expected: {spec.expected}."
        lines += ["", *textwrap.wrap(text, 116, initial_indent="# ", subsequent_indent="# ")]
        lines.append(f"#{spec.names[0]}={spec.default}")
    for title, entries in EXTERNAL_SECTIONS.items():
        lines += ["", f"# {title}"]
        for name, (description, default) in entries.items():
            lines += ["", *textwrap.wrap(description, 116, initial_indent="# ", subsequent_indent="# ")]
            lines.append(f"#{name}={default}")
    return "\n".join(lines) + "\n"


def _secret_names() -> str:
    *names, last = (f"`{spec.names[0]}`" for spec in iter_settings() if spec.secret)
    return f"{', '.join(names)}, and {last}"


def markdown() -> str:
    """Return the text of docs/settings.md."""
    lines = [
        "# Settings",
        "",
        f"<!-- {GENERATED_NOTICE} -->",
        "",
        "The commands, the API (`preptime.api.wsgi:app`), and the dashboard read settings from the environment and",
        "from `.env` in the working directory. The order of precedence is:",
        "",
        "1. A command-line option, such as `--store`. `--help` shows the variable of each option.",
        "2. The environment. A variable that is set there, even to an empty text, isn't read from `.env`.",
        "3. `.env`. The commands `serve`, `ui`, and `doctor` have an option `--env-file` for another file.",
        "4. The default.",
        "",
        "An empty value means the default. An unknown name that starts with `PREPTIME_` is an error. In `.env`, write",
        "`NAME=value` lines. Quotes around a value are removed, variables aren't expanded, and ` #` starts a comment.",
        "Put a value with `$` in single quotes. Otherwise, shells and Compose, which read this file too, expand it.",
        "The DAGs read the same file: see [Daily run](daily-run.md).",
        "",
        "Secrets are never shown or logged. A setting that is a secret is shown as `set`, and an address without its",
        "password and without unknown parameters ([Secrets](operations.md#secrets)). The secrets are",
        f"{_secret_names()}.",
        "",
        "| setting | description | expected | default |",
        "|---|---|---|---|",
    ]
    for spec in iter_settings():
        names = ", then ".join(f"`{name}`" for name in spec.names)
        default = f"`{spec.default}`" if spec.default else "none"
        lines.append(f"| {names} | {spec.description} | {spec.expected} | {default} |")
    for title, entries in EXTERNAL_SECTIONS.items():
        lines += ["", f"## {title}", "", "| setting | description | default |", "|---|---|---|"]
        for name, (description, default) in entries.items():
            lines.append(f"| `{name}` | {description} | {f'`{default}`' if default else 'none'} |")
    return "\n".join(lines) + "\n"
