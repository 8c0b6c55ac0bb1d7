"""Addresses to listen on: whether only this machine reaches them, and whether they are free."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket

from preptime.errors import UsageError


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def resolve_free_address(host: str, port: int, port_setting: str, host_setting: str = "PREPTIME_HOST") -> str:
    """The numeric address of `host`, when `port` can be listened on there. Raises `UsageError`.

    Asked before the server starts, because its workers share a port and would share it with a stranger as well.
    """
    try:
        family, socket_type, protocol, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise UsageError(f"{host_setting} {host!r} is no address: {error.strerror}.", "127.0.0.1 is one.") from error
    with socket.socket(family, socket_type, protocol) as probe:
        if os.name == "posix":  # past connections of a server that has just ended, not past one that listens
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            problem = "is in use by another program" if error.errno == errno.EADDRINUSE else f"fails: {error.strerror}"
            raise UsageError(
                f"Port {port} of {host} {problem}.", f"Stop what listens there, or set another {port_setting}."
            ) from error
    return str(address[0])
