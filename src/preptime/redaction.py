"""Keeps secrets out of messages, logs, tracebacks, and documents.

There are two layers:

1. `redact_address` parses an address and returns only the parts that can't be a secret. Use it wherever an address is
   shown. If an address is ambiguous, for example because its password contains an unescaped `/`, only the scheme
   is left.
2. `redact_text` removes secrets from text that other code wrote, such as the message of a driver. It replaces addresses
   in the text, and every secret that `remember_secrets` and `remember_secret` found in the arguments, settings, and
   environment of this process. `PreptimeError`, the server log, and the report of an unexpected error use it.

The second layer isn't applied to the results of a command: a password such as `12345` would damage their numbers.
The remembered secrets are the only global state of the package. A message can come from any place, so the place where a
secret enters the process can't pass it on.
"""

from __future__ import annotations

import logging
import re
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote, unquote

HIDDEN = "***"
"""What a secret is replaced by."""
DATABASE_SCHEMES = frozenset({"postgresql", "postgres"})
"""Schemes whose user name is shown. Elsewhere, a user name can be a token."""
_SHOWN_PARAMETER = re.compile(
    "table|day|location|host|hostaddr|port|dbname|user|service|application_name|options|connect_timeout|sslmode"
    "|sslnegotiation|sslrootcert|sslcert|sslkey|sslcrl|passfile|target_session_attrs|load_balance_hosts"
    "|client_encoding|channel_binding|gssencmode|krbsrvname|keepalives|keepalives_idle|keepalives_interval"
    "|keepalives_count|fallback_application_name|tcp_user_timeout|require_auth|requirepeer|replication"
    "|sslcompression|sslcertmode|sslsni|sslcrldir|min_protocol_version|max_protocol_version"
    "|ssl_min_protocol_version|ssl_max_protocol_version|gsslib|gssdelegation|oauth_issuer|oauth_client_id"
    "|oauth_scope"
)
"""Parameters of an address that are never a secret: preptime's own, and those of libpq. All others are hidden."""

_MIN_SECRET_LENGTH = 4
"""Shorter passwords aren't searched for in text. They would hide parts of ordinary words and numbers."""
_MIN_FRAGMENT_LENGTH = 6
_LONG_SECRET_LENGTH = 12
"""A secret from this length on is replaced also inside a longer word."""

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
_PATH_SCHEMES = frozenset({"file", "local", "memory", "gs", "gcs"})
"""Schemes of paths and buckets, in which `@` can be a part of a name."""
_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]*\]|[\w.%~-]*)(:\d{0,5})?")
_DATASET = re.compile(r"([\w-]+(\.[\w-]+)+:)?[\w-]+\.\w+")
_LOCATION = re.compile(r"(?P<authority>[^/?#]*)(?P<path>[^?#]*)(\?(?P<query>[^#]*))?(?P<fragment>#.*)?", re.DOTALL)
_SENSITIVE_NAME = (
    r"(?:[\w-]*(?:pass(?:word|wd|phrase)?|pwd|secret|token|credentials?|signature|api-?_?key|access-?_?key|account-?_?key"
    r"|private-?_?key)|sig|key|auth|aikey)"
)
_SECRET_ASSIGNMENT = re.compile(rf"(?<![\w-]){_SENSITIVE_NAME}\s*=", re.IGNORECASE)
_PATH_ASSIGNMENT = re.compile(rf"(?:(?<=[?&;\s])|^(?!(?:key|sig|auth)=)){_SENSITIVE_NAME}\s*=", re.IGNORECASE)
"""The same in a path, which can have folders such as `key=1`."""
_ASSIGNMENT_IN_TEXT = re.compile(
    r"(?<![\w-])([\w-]*(?:password|passwd|pwd|secret|token|signature|access_?key|account_?key|api_?key)\s*=\s*)"
    r"('(?:\\.|[^'\\])*'|[^\s&'\"]+)",
    re.IGNORECASE,
)
_ADDRESS_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/{1,2}[^\s'\"<>`]*[^\s'\"<>`.,:;)!?]")
_PAIR = re.compile(r"(\w+)\s*=\s*('(?:\\.|[^'\\])*'|\S*)")
_CONNECTION_STRING = re.compile(r"\s*(host|hostaddr|port|dbname|user|password|service|passfile|sslmode)\s*=")
_ROOTED_PATH = re.compile(r"(/(?!/)|\.{1,2}[/\\]|~|[A-Za-z]:[/\\])")
_RESERVED = re.compile(r"[/?#@:&%=,;'\"\\\s\[\]{}()<>]+")
_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f]")
_LONG_WORD = re.compile(r"[^\s\"'{},:\\]{12,}")
_SECRET_VARIABLE = re.compile(r"(PASS|PASSWORD|SECRET|TOKEN|API_KEY|ACCESS_KEY|PRIVATE_KEY|AIKEY)$", re.IGNORECASE)


def redact_address(address: str) -> str:
    """Return an address without its secrets. A path is returned unchanged.

    Example:
        >>> redact_address("postgresql://me:s3cret@db/food?table=orders&sslpassword=s3cret")
        'postgresql://me@db/food?table=orders&***'
        >>> redact_address("mysql://me:s3/cret@db/food")
        'mysql://***'
        >>> redact_address("data/orders.csv")
        'data/orders.csv'
    """
    if _is_content(address):
        return HIDDEN
    scheme, separator, rest = address.partition("://")
    if not separator:
        return _redact_path(address)
    return f"{scheme}://{_redact_after_scheme(scheme.lower(), rest)}" if _SCHEME.fullmatch(scheme) else HIDDEN


def has_secret(address: str) -> bool:
    """Return whether an address contains something that can't be shown."""
    return redact_address(address) != address


def _is_content(value: str) -> bool:
    """Return whether a value is the content of a file, such as a private key, rather than an address."""
    return (
        bool(_CONTROL_CHARACTER.search(value))
        or "PRIVATE KEY" in value
        or (value.lstrip().startswith("{") and '"' in value)
    )


def _redact_path(path: str) -> str:
    """Redact an address without a scheme: a path, a connection string of libpq, or a URL with a typing error."""
    if _CONNECTION_STRING.match(path):
        return _redact_connection_string(path)
    assignment = _PATH_ASSIGNMENT.search(path)
    if assignment is not None:
        path = path[: assignment.start()] + HIDDEN
    before, at, after = path.rpartition("@")
    if at and ":" in before and not _ROOTED_PATH.match(path):
        return f"{HIDDEN}@{after}"
    return path


def _redact_connection_string(text: str) -> str:
    secret = _SECRET_ASSIGNMENT.search(text)
    if secret is None:
        return text
    pairs = [
        f"{match[1]}={match[2]}"
        for match in _PAIR.finditer(text[: secret.start()])
        if is_shown_parameter(*match.groups())
    ]
    return " ".join([*pairs, HIDDEN])


def _redact_after_scheme(scheme: str, rest: str) -> str:
    credentials, at, location = _split_credentials(scheme, rest)
    parts = _LOCATION.fullmatch(location)
    if parts is None or re.search(r"[/?#]", credentials) or not _is_authority(scheme, parts["authority"]):
        return HIDDEN
    user = credentials.partition(":")[0] if scheme in DATABASE_SCHEMES else HIDDEN
    path, query = parts["path"], _redact_query(parts["query"], parts["fragment"])
    assignment = _SECRET_ASSIGNMENT.search(path)
    if assignment is not None:
        path = path[: assignment.start()] + HIDDEN
    return f"{user + at if at else ''}{parts['authority']}{path}{query}"


def _split_credentials(scheme: str, rest: str) -> tuple[str, str, str]:
    """Split at the last `@`, because a password can contain an unescaped one."""
    credentials, at, location = rest.rpartition("@")
    if scheme in _PATH_SCHEMES and "/" in credentials and ":" not in credentials:
        return "", "", rest
    return credentials, at, location


def _is_authority(scheme: str, text: str) -> bool:
    """Return whether a text is one or more hosts with optional ports, or a dataset."""
    if scheme == "bigquery" and _DATASET.fullmatch(text):
        return True
    return all(_HOST.fullmatch(host) for host in text.split(","))


def _redact_query(query: str | None, fragment: str | None) -> str:
    if query is None and not fragment:
        return ""
    pairs = query.split("&") if query else []
    shown = [pair for pair in pairs if is_shown_parameter(*pair.partition("=")[::2])]
    return "?" + "&".join([*shown, *([HIDDEN] if len(shown) < len(pairs) or fragment else [])])


def is_shown_parameter(name: str, value: str) -> bool:
    """Return whether a parameter of an address can be shown."""
    return _SHOWN_PARAMETER.fullmatch(name) is not None and not _SECRET_ASSIGNMENT.search(unquote(value))


class _KnownSecrets:
    """The secrets that this process has received, and a pattern that finds them."""

    def __init__(self) -> None:
        self._secrets: tuple[str, ...] = ()
        self._pattern = re.compile("")
        self._lock = threading.Lock()

    def add(self, secrets: set[str]) -> None:
        new = {secret for secret in secrets if len(secret) >= _MIN_SECRET_LENGTH} - set(self._secrets)
        if not new:
            return
        with self._lock:
            longest_first = tuple(sorted({*self._secrets, *new}, key=len, reverse=True))
            self._pattern = re.compile("|".join(map(_secret_pattern, longest_first)))
            self._secrets = longest_first

    def hide(self, text: str) -> str:
        # A search for each secret is ten times as fast as the pattern, and almost no text contains one.
        return self._pattern.sub(HIDDEN, text) if any(secret in text for secret in self._secrets) else text


def _secret_pattern(secret: str) -> str:
    """Return a pattern that doesn't match a short secret inside a longer word."""
    if len(secret) >= _LONG_SECRET_LENGTH:
        return re.escape(secret)
    return rf"(?<![A-Za-z0-9]){re.escape(secret)}(?![A-Za-z0-9])"


_KNOWN = _KnownSecrets()


def redact_text(text: str) -> str:
    """Return a message, a log line, or a traceback without the known secrets, and with redacted addresses.

    Example:
        >>> redact_text("Can't open postgresql://me:s3cret@db/food: timeout.")
        "Can't open postgresql://me@db/food: timeout."
    """
    hidden = _KNOWN.hide(text)
    if ":/" in hidden:
        hidden = _ADDRESS_IN_TEXT.sub(_redact_found_address, hidden)
    return _ASSIGNMENT_IN_TEXT.sub(rf"\1{HIDDEN}", hidden) if "=" in hidden else hidden


def _redact_found_address(found: re.Match[str]) -> str:
    return redact_address(found[0])


def redact_log_records() -> None:
    """Remove secrets from every log record of this process, whichever library writes it and handles it."""
    logging.setLogRecordFactory(_create_log_record)


def _create_log_record(*args: Any, **options: Any) -> logging.LogRecord:
    record = logging.LogRecord(*args, **options)
    with suppress(TypeError, ValueError, KeyError):  # arguments that don't match the message: the handler reports it
        message = record.getMessage()
        redacted = redact_text(message)
        if redacted != message:
            record.msg, record.args = redacted, None
    if record.exc_info and record.exc_info[0] is not None:
        record.exc_text = redact_text("".join(traceback.format_exception(*record.exc_info)).rstrip("\n"))
    return record


def remember_secret(value: str) -> None:
    """Let `redact_text` hide a value that is a secret as a whole, such as a key."""
    _KNOWN.add(set(_spellings(value)))


def remember_secrets(address: str) -> None:
    """Let `redact_text` hide the secrets in an address. Other text, such as a path, has none."""
    secrets = {secret for secret in _secrets_in(address) if secret}
    fragments = {part for secret in secrets for form in (secret, unquote(secret)) for part in _RESERVED.split(form)}
    long_fragments = {part for part in fragments if len(part) >= _MIN_FRAGMENT_LENGTH}
    _KNOWN.add(long_fragments | {spelling for secret in secrets for spelling in _spellings(secret)})


def remember_environment(variables: Mapping[str, str]) -> None:
    """Let `redact_text` hide the secrets in environment variables: addresses, and values such as `PGPASSWORD`."""
    for name, value in variables.items():
        if _SECRET_VARIABLE.search(name):
            remember_secret(value)
        elif not _CONTROL_CHARACTER.search(value) or "PRIVATE KEY" in value:  # a shell exports functions with lines
            remember_secrets(value)


def _secrets_in(address: str) -> Iterator[str]:
    if not has_secret(address):
        return
    if _is_content(address):
        yield from (address, *_LONG_WORD.findall(address), *_LONG_WORD.findall(address.replace("\\n", "\n")))
        return
    scheme, separator, rest = address.partition("://")
    if not separator:
        yield from _secrets_in_path(address)
        return
    credentials, at, location = _split_credentials(scheme.lower(), rest)
    _, colon, password = credentials.partition(":")
    if at:
        yield password if colon else credentials
        yield credentials if re.search(r"[/?#]", credentials) or scheme.lower() not in DATABASE_SCHEMES else ""
    elif not _is_authority(scheme.lower(), re.split(r"[/?#]", location)[0]):
        yield location.partition(":")[2] or location
    yield from _secrets_in_query(location.partition("?")[2])
    path = location.partition("?")[0]
    assignment = _SECRET_ASSIGNMENT.search(path)
    yield path[assignment.end() :] if assignment else ""
    yield location.partition("#")[2]


def _secrets_in_path(path: str) -> Iterator[str]:
    for match in _PAIR.finditer(path):
        if _SECRET_ASSIGNMENT.match(match[0]):
            yield re.sub(r"\\(.)", r"\1", match[2].removeprefix("'").removesuffix("'"))
            yield match[2].strip("'")
    assignment = _SECRET_ASSIGNMENT.search(path)
    if assignment is not None:
        yield "" if _CONNECTION_STRING.match(path) else path[assignment.end() :]
        return
    credentials = path.rpartition("@")[0]
    yield credentials.rpartition("/")[2].partition(":")[2]
    yield credentials.partition(":")[2]


def _secrets_in_query(query: str) -> Iterator[str]:
    """Yield the values of secret parameters, and parts without a name, because a secret can contain an unescaped &."""
    for pair in query.split("&"):
        if "=" not in pair or _SECRET_ASSIGNMENT.search(unquote(pair)):
            yield pair.partition("=")[2] or pair


def _spellings(secret: str) -> Iterator[str]:
    """Yield the forms in which a secret can appear in text: as given, decoded, encoded, and in Python literals."""
    decoded = unquote(secret)
    for form in (secret, decoded):
        yield from (form, repr(form)[1:-1], form.replace("\\", "\\\\").replace('"', '\\"'))
    yield quote(decoded, safe="")
    yield quote(decoded)
