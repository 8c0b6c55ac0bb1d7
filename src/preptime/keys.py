"""Keys by name, known by their hash alone.

A key has 256 random bits, so plain SHA-256 cannot be searched backwards; a slow password hash would only cost every
request its time.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

from preptime.errors import UsageError

UNNAMED_KEY_NAME = "aikey"
"""What logs and metrics call the demo's plain key."""
EXAMPLE_KEY = "change-me"
"""The key that examples show. Everybody knows it."""

_KEY_NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_SHA256_PATTERN = re.compile(r"[0-9a-f]{64}")
_HEADER_VALUE_PATTERN = re.compile("[!-~]([ -~]*[!-~])?")
"""What a header carries unchanged."""
_CREATE_KEY_HINT = (
    "Make one with `preptime keys new NAME` and put the line that it prints into the environment or .env."
)


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys that may ask, each as (name, SHA-256). One name may have two keys while it changes them."""

    entries: tuple[tuple[str, bytes], ...]

    @classmethod
    def from_setting(cls, setting: str, setting_name: str = "PREPTIME_API_KEYS") -> Keys:
        """Keys from `name:hash,name:hash`. Raises `UsageError`, which repeats no hash: it may be a key put there."""
        entries = tuple(_parse_entry(part.strip(), setting_name) for part in setting.split(",") if part.strip())
        if len({digest for _, digest in entries}) < len(entries):
            raise UsageError(
                f"{setting_name}: one key is there under two names.", "Remove one: logs could not tell them."
            )
        return cls(entries)

    def __len__(self) -> int:
        return len(self.entries)

    def name_of(self, key: str) -> str | None:
        """The name of the key that a request shows, or None. The time taken says nothing about the keys."""
        digest = _hash_key(key)
        matched_name = None
        for name, key_digest in self.entries:
            if hmac.compare_digest(key_digest, digest):
                matched_name = name
        return matched_name


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made. Nobody keeps `key` but the one who asked for it."""

    name: str
    key: str
    sha256: str

    @property
    def setting(self) -> str:
        """What goes into `PREPTIME_API_KEYS` or `PREPTIME_OPERATOR_KEYS`."""
        return f"{self.name}:{self.sha256}"


def new_key(name: str) -> NewKey:
    """A random key of that name. Raises `UsageError` for a name that logs and metrics could not carry."""
    if not _KEY_NAME_PATTERN.fullmatch(name):
        raise UsageError(f"{name!r} is no name for a key.", "Use up to 63 letters, digits, dots, dashes, underscores.")
    key = secrets.token_urlsafe(32)
    return NewKey(name, key, _hash_key(key).hex())


def load_api_keys(api_keys: str, aikey: str, *, loopback: bool, required: bool = True) -> Keys:
    """The keys that may ask for predictions.

    `aikey` is the demo's plain key: it, and a named key that is the examples', are refused unless the server listens
    on loopback. Raises `UsageError`; also where a key is `required` and there is none.
    """
    named_keys = Keys.from_setting(api_keys)
    if not loopback and aikey:
        raise UsageError(
            "AIKEY is a plain key, for a server on loopback, and this one listens beyond it.", _CREATE_KEY_HINT
        )
    if not loopback and named_keys.name_of(EXAMPLE_KEY):
        raise UsageError(f"PREPTIME_API_KEYS holds {EXAMPLE_KEY!r}, the key of the examples.", _CREATE_KEY_HINT)
    if aikey and not _HEADER_VALUE_PATTERN.fullmatch(aikey):
        raise UsageError(
            "AIKEY is not visible ASCII, or begins or ends with a space: no client could send it.", _CREATE_KEY_HINT
        )
    keys = Keys((*named_keys.entries, (UNNAMED_KEY_NAME, _hash_key(aikey)))) if aikey else named_keys
    if required and not keys:
        raise UsageError("No key is configured, so nobody could ask for a prediction.", _CREATE_KEY_HINT)
    return keys


def _parse_entry(entry: str, setting_name: str) -> tuple[str, bytes]:
    name, separator, digest = entry.partition(":")
    if not separator or not _KEY_NAME_PATTERN.fullmatch(name) or not _SHA256_PATTERN.fullmatch(digest.lower()):
        name_text = f"of {name!r} " if separator and _KEY_NAME_PATTERN.fullmatch(name) else ""
        raise UsageError(
            f"{setting_name}: an entry {name_text}is not NAME:SHA256 (64 hexadecimal digits).", _CREATE_KEY_HINT
        )
    return name, bytes.fromhex(digest)


def _hash_key(key: str) -> bytes:
    """A header's text as WSGI gives it: one character a byte. What is none of a header's is no key either."""
    return hashlib.sha256(key.encode("latin-1", "replace")).digest()
