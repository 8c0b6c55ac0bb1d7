"""The versions of the published site: a folder for each, and `switcher.json` for the menu.

`python -m scripts.docs_site.versions build/docs-site URL --ref v0.2.1 --base /preptime/` adds the built version to the
branch gh-pages of the repository URL. The workflow `docs` calls it.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

LATEST = "latest"
BRANCH = "gh-pages"
PUSH_ATTEMPTS = 3
_AUTHOR = ("github-actions[bot]", "41898282+github-actions[bot]@users.noreply.github.com")
_RELEASE = re.compile(r"v(\d+)\.(\d+)")
_REDIRECT = '<!doctype html><title>preptime</title><meta http-equiv="refresh" content="0; url={version}/index.html">\n'


def version_of_ref(ref: str) -> str:
    """Return the version of a branch or tag: `latest`, or `v1.2` for all patch releases of 1.2.

    Example:
        >>> version_of_ref("main"), version_of_ref("v1.2.3")
        ('latest', 'v1.2')
    """
    tag = re.fullmatch(r"(v\d+\.\d+)\.\d+", ref)
    return tag[1] if tag else LATEST


def add_version(pages: Path, site: Path, version: str, base: str) -> None:
    """Replace one version of the site, and update the menu.

    Args:
        pages: Folder with the pages of the version.
        site: Folder with all versions.
        version: `latest` or `vX.Y`.
        base: Path of the site on its server, with slashes at both ends.
    """
    shutil.rmtree(site / version, ignore_errors=True)
    shutil.copytree(pages, site / version)
    write_menu(site, base)


def write_menu(site: Path, base: str) -> None:
    """Write `switcher.json` for the versions in a folder, and the page that leads to the newest release."""
    releases = [path.name for path in site.iterdir() if _RELEASE.fullmatch(path.name)]
    releases.sort(key=_release_number, reverse=True)
    versions = [name for name in (LATEST, *releases) if (site / name).is_dir()]
    preferred = releases[0] if releases else LATEST
    entries = [
        {"name": name, "version": name, "url": f"{base}{name}/", "preferred": name == preferred} for name in versions
    ]
    (site / "switcher.json").write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
    (site / "index.html").write_text(_REDIRECT.format(version=preferred), encoding="utf-8")
    # GitHub Pages omits folders that start with an underscore, such as _static, unless this file exists.
    (site / ".nojekyll").touch()


def _release_number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.removeprefix("v").split("."))


def push_version(built: Path, url: str, ref: str, base: str) -> None:
    """Add a built version to the branch of the site, which is created if it doesn't exist.

    If another version is pushed at the same time, tries again with it.

    Args:
        built: Output folder of the build.
        url: Address of the repository, for which git has credentials.
        ref: Branch or tag that was built.
        base: Path of the site on its server, with slashes at both ends.

    Raises:
        subprocess.CalledProcessError: git failed.
    """
    for attempt in range(1, PUSH_ATTEMPTS + 1):
        with tempfile.TemporaryDirectory(prefix="preptime-docs-") as folder:
            site = Path(folder) / "site"
            _clone_branch(url, site)
            add_version(built / version_of_ref(ref), site, version_of_ref(ref), base)
            _git(site, "add", "--all")
            if not _git(site, "status", "--porcelain"):
                return
            name, address = _AUTHOR
            identity = ("-c", f"user.name={name}", "-c", f"user.email={address}")
            _git(site, *identity, "commit", "--quiet", "--message", f"Publish the site of {ref}")
            try:
                _git(site, "push", "--quiet", "origin", BRANCH)
            except subprocess.CalledProcessError:
                if attempt == PUSH_ATTEMPTS:
                    raise
            else:
                return


def _clone_branch(url: str, site: Path) -> None:
    """Clone the branch of the site, or create it."""
    if _git(Path(), "ls-remote", url, f"refs/heads/{BRANCH}"):
        _git(Path(), "clone", "--quiet", "--depth", "1", "--branch", BRANCH, url, str(site))
    else:
        _git(Path(), "init", "--quiet", "--initial-branch", BRANCH, str(site))
        _git(site, "remote", "add", "origin", url)


def _git(folder: Path, *arguments: str) -> str:
    """Run git in a folder, and return its output. Raises `subprocess.CalledProcessError`."""
    return subprocess.run(["git", *arguments], cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout


def main(arguments: Sequence[str] | None = None) -> int:
    """Add a built version to the branch of the site."""
    parser = argparse.ArgumentParser(prog="docs_site.versions", description=main.__doc__)
    parser.add_argument("built", type=Path, help="output folder of the build")
    parser.add_argument("url", help="address of the repository")
    parser.add_argument("--ref", required=True, help="branch or tag, such as main or v0.2.1")
    parser.add_argument("--base", default="/", help="path of the site on its server")
    options = parser.parse_args(arguments)
    push_version(options.built.resolve(), options.url, options.ref, options.base)
    return 0


if __name__ == "__main__":
    sys.exit(main())
