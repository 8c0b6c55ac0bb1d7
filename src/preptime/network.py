"""Network facts: which addresses only this machine can reach, whether a port is free, and the text of a header."""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket

from preptime.errors import UsageError

HEADER_VALUE_PATTERN = re.compile("[!-~]([ -~]*[!-~])?")
"""Text that an HTTP header transports unchanged: visible ASCII, with spaces inside."""


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a server that listens on `host`."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


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
