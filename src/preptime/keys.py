"""API keys by name, stored as hashes.

A key has 256 random bits, so plain SHA-256 can't be reversed by search. A slow password hash would only slow down every
request.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

from preptime.errors import UsageError
from preptime.network import HEADER_VALUE_PATTERN

UNNAMED_KEY_NAME = "aikey"
"""Name of the plain key of the take-home API contract, in logs and metrics."""
EXAMPLE_KEY = "change-me"
"""The key in the examples. It isn't secret."""

_KEY_NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_SHA256_PATTERN = re.compile(r"[0-9a-f]{64}")
_CREATE_KEY_HINT = (
    "Create a key with `preptime keys new NAME`, and add the line that it prints to .env or the environment."
)


@dataclass(frozen=True, slots=True)
class Keys:
    """The accepted keys, each as (name, SHA-256). A name can have two keys while they are being replaced."""

    entries: tuple[tuple[str, bytes], ...]

    @classmethod
    def from_setting(cls, setting: str, setting_name: str = "PREPTIME_API_KEYS") -> Keys:
        """Return the keys of `name:hash,name:hash`. Raises `UsageError`, but never repeats a hash: it may be a key."""
        entries = tuple(_parse_entry(part.strip(), setting_name) for part in setting.split(",") if part.strip())
        if len({digest for _, digest in entries}) < len(entries):
            raise UsageError(
                f"{setting_name}: one key has two names.", "Remove one of them, because logs couldn't distinguish them."
            )
        return cls(entries)

    def __len__(self) -> int:
        return len(self.entries)

    def name_of(self, key: str) -> str | None:
        """Return the name of a request's key, or None. The time taken doesn't depend on the keys."""
        digest = _hash_key(key)
        matched_name = None
        for name, key_digest in self.entries:
            if hmac.compare_digest(key_digest, digest):
                matched_name = name
        return matched_name


@dataclass(frozen=True, slots=True)
class NewKey:
    """A new key. Only its hash is stored."""

    name: str
    key: str
    sha256: str

    @property
    def setting(self) -> str:
        """The entry for `PREPTIME_API_KEYS` or `PREPTIME_OPERATOR_KEYS`."""
        return f"{self.name}:{self.sha256}"


def new_key(name: str) -> NewKey:
    """Return a new random key. Raises `UsageError` for a name that isn't suitable for logs and metrics."""
    if not _KEY_NAME_PATTERN.fullmatch(name):
        raise UsageError(
            f"{name!r} isn't a valid key name.", "Use up to 63 letters, digits, dots, hyphens, and underscores."
        )
    key = secrets.token_urlsafe(32)
    return NewKey(name, key, _hash_key(key).hex())


def load_api_keys(api_keys: str, aikey: str, *, loopback: bool, required: bool = True) -> Keys:
    """Return the keys that can request predictions.

    Args:
        api_keys: Named keys, as in `PREPTIME_API_KEYS`.
        aikey: The plain key of the take-home API contract, or an empty text.
        loopback: Whether the server listens only on a loopback address. Otherwise, `aikey` and the example key are
            rejected.
        required: Whether there must be a key.

    Raises:
        UsageError: An entry is invalid, a key isn't allowed, or a required key is missing.
    """
    named_keys = Keys.from_setting(api_keys)
    if not loopback and aikey:
        raise UsageError(
            "AIKEY is only for servers on a loopback address, but this server listens on another address.",
            _CREATE_KEY_HINT,
        )
    if not loopback and named_keys.name_of(EXAMPLE_KEY):
        raise UsageError(f"PREPTIME_API_KEYS contains {EXAMPLE_KEY!r}, the key of the examples.", _CREATE_KEY_HINT)
    if aikey and not HEADER_VALUE_PATTERN.fullmatch(aikey):
        raise UsageError(
            "AIKEY contains a character that isn't visible ASCII, or starts or ends with a space. It can't be sent.",
            _CREATE_KEY_HINT,
        )
    keys = Keys((*named_keys.entries, (UNNAMED_KEY_NAME, _hash_key(aikey)))) if aikey else named_keys
    if required and not keys:
        raise UsageError("No key is configured, so no client could request a prediction.", _CREATE_KEY_HINT)
    return keys


def _parse_entry(entry: str, setting_name: str) -> tuple[str, bytes]:
    name, separator, digest = entry.partition(":")
    if not separator or not _KEY_NAME_PATTERN.fullmatch(name) or not _SHA256_PATTERN.fullmatch(digest.lower()):
        name_text = f"of {name!r} " if separator and _KEY_NAME_PATTERN.fullmatch(name) else ""
        raise UsageError(
            f"{setting_name}: an entry {name_text}isn't NAME:SHA256 (64 hexadecimal digits).", _CREATE_KEY_HINT
        )
    return name, bytes.fromhex(digest)


def _hash_key(key: str) -> bytes:
    """Return the hash of a header as WSGI passes it: one character per byte. Other characters never match a key."""
    return hashlib.sha256(key.encode("latin-1", "replace")).digest()
