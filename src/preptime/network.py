"""Network facts: URLs, addresses that only this machine can reach, free ports, and texts of headers."""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from preptime.errors import StoreError, UsageError
from preptime.redaction import redact_address

HEADER_VALUE_PATTERN = re.compile("[!-~]([ -~]*[!-~])?")
"""Text that an HTTP header transports unchanged: visible ASCII, with spaces inside."""

_SERVICE_LINK_NAME = re.compile(
    r"PREPTIME_([A-Z0-9_]+_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_SERVICE_LINK_VALUE = re.compile(r"(tcp|udp|sctp)://\S+")
SERVICE_LINKS_HINT = (
    "Kubernetes sets them because the name of a Service starts with preptime. To avoid them, set enableServiceLinks: "
    "false in the spec of the pod, or rename the Service."
)
"""What ignored service links mean, and how to avoid them."""


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a server that listens on `host`."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def local_store_folder(url: str) -> Path | None:
    """Return the folder of a store's path or `file://` URL, or None for another URL.

    Raises `StoreError` for a `file://` URL with two slashes, after which a host would follow.
    """
    scheme, separator, _ = url.partition("://")
    if not separator:
        return Path(url)
    if scheme not in {"file", "local"}:
        return None
    from urllib.request import url2pathname  # imported here, because it takes 20 ms

    parts = urlsplit(url)
    if parts.path and parts.netloc in {"", "localhost"}:
        return Path(url2pathname(parts.path))
    meant = Path(parts.netloc + url2pathname(parts.path))
    raise StoreError(f"{url} names no absolute folder.", f"Use the path {meant}, or {meant.absolute().as_uri()}.")


def split_url(url: str) -> SplitResult:
    """Return the parts of a URL. Raises `UsageError` for one that isn't valid, and doesn't repeat its secrets."""
    try:
        return urlsplit(url)
    except ValueError:
        raise UsageError(f"{redact_address(url)} isn't a valid URL.", "Check the brackets and the port.") from None


def resolve_free_address(host: str, port: int, port_setting: str, host_setting: str = "PREPTIME_HOST") -> str:
    """Return the numeric address of `host` if a server can listen on `port` there.

    Call this before a server starts: its workers share the port, and would also share it with another program.

    Raises:
        UsageError: The host name doesn't resolve, or the port isn't available. The error names the setting to change.
    """
    try:
        family, socket_type, protocol, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise UsageError(
            f"{host_setting} {host!r} isn't an address: {error.strerror}.", "Use an address such as 127.0.0.1."
        ) from error
    with socket.socket(family, socket_type, protocol) as probe:
        if os.name == "posix":  # ignores past connections of a server that has just stopped, but not a listening one
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            problem = (
                "is in use by another program"
                if error.errno == errno.EADDRINUSE
                else f"isn't available: {error.strerror}"
            )
            raise UsageError(
                f"Port {port} of {host} {problem}.", f"Stop the other program, or set another {port_setting}."
            ) from error
    return str(address[0])


def find_service_links(environ: Mapping[str, str]) -> list[str]:
    """Return the names of variables that Kubernetes sets for a Service whose name starts with `preptime`, sorted.

    Example:
        >>> find_service_links({"PREPTIME_PORT": "tcp://10.0.0.1:8000", "PREPTIME_SERVICE_HOST": "10.0.0.1"})
        ['PREPTIME_PORT', 'PREPTIME_SERVICE_HOST']
        >>> find_service_links({"PREPTIME_PORT": "8000"})
        []
    """
    return sorted(name for name, value in environ.items() if is_service_link(name, value))


def is_service_link(name: str, value: str) -> bool:
    """Return whether Kubernetes set a variable for a Service whose name starts with `preptime`."""
    if name.startswith("PREPTIME_") and name.endswith("_PORT") and _SERVICE_LINK_VALUE.fullmatch(value):
        return True
    return _SERVICE_LINK_NAME.fullmatch(name) is not None
