"""HTTP connections of the client: URLs of servers and proxies, connection pools, and early responses."""

from __future__ import annotations

import socket
from ssl import SSLEOFError
from urllib.parse import unquote
from urllib.request import getproxies, proxy_bypass

from urllib3 import HTTPConnectionPool, HTTPResponse, HTTPSConnectionPool, PoolManager, ProxyManager, make_headers
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import LocationParseError
from urllib3.util import Url, parse_url
from urllib3.util.wait import wait_for_read, wait_for_socket

from preptime.errors import UsageError
from preptime.network import is_loopback
from preptime.redaction import redact_address

MAX_IDLE_CONNECTIONS = 64
"""Connections that stay open between requests. More threads can share a client; their connections are then closed."""

SEND_CHUNK_BYTES = 65_536
"""Before each part of this size of a larger body, a connection checks whether the server has already responded."""


def parse_server_url(url: str) -> Url:
    """Return the parts of a server's URL. Raises `UsageError` if it isn't one."""
    try:
        server = parse_url(url)
    except LocationParseError:
        server = Url()
    if server.scheme not in {"http", "https"} or not server.host:
        raise UsageError(
            f"{redact_address(url)!r} isn't the URL of a server.", "Use a URL such as http://127.0.0.1:8000."
        )
    return server


def proxy_of_environment(server: Url) -> str:
    """Return the URL of the proxy that the environment names for a server, or an empty text."""
    host = (server.host or "").strip("[]")
    if is_loopback(host) or proxy_bypass(server.netloc or host):  # a proxy can't reach this machine's loopback
        return ""
    proxies = getproxies()
    return proxies.get(server.scheme or "") or proxies.get("all") or ""


def parse_proxy_url(url: str) -> Url | None:
    """Return the parts of a proxy's URL, or None if it's empty. Raises `UsageError` without the URL's credentials."""
    if not url:
        return None
    try:
        proxy = parse_url(url if "://" in url else f"http://{url}")
    except LocationParseError:
        proxy = Url()
    if proxy.scheme in {"http", "https"} and proxy.host:
        return proxy
    kind = f"is a {proxy.scheme} proxy" if proxy.scheme and proxy.host else "isn't a URL"
    raise UsageError(
        f"The proxy {redact_address(url)!r} {kind}; expected an HTTP proxy, such as http://proxy.example:3128.",
        "Set another proxy, or add the server to NO_PROXY.",
    )


def open_pools(proxy: Url | None) -> PoolManager:
    """Return the connections to a server, through the proxy if there is one."""
    if proxy is None:
        pools = PoolManager(maxsize=MAX_IDLE_CONNECTIONS)
    else:
        # The URL without credentials, because urllib3's errors contain it.
        address, headers = proxy._replace(auth=None).url, proxy_headers(proxy)
        pools = ProxyManager(address, maxsize=MAX_IDLE_CONNECTIONS, proxy_headers=headers)
    pools.pool_classes_by_scheme = {"http": _ConnectionPool, "https": _TlsConnectionPool}
    return pools


def proxy_headers(proxy: Url) -> dict[str, str]:
    """Return the headers with the credentials in the URL of a proxy, in UTF-8 as browsers send them."""
    credentials = unquote(proxy.auth or "").encode().decode("latin-1")
    return dict(make_headers(proxy_basic_auth=credentials)) if credentials else {}


class _Connection(HTTPConnection):
    """A connection that stops sending a body when the response arrives.

    A server can reject a request without reading the body (401, 413, 503). It then closes the connection, or leaves the
    rest of the body unread. If the client went on sending, it would lose the response or wait until the timeout.
    """

    _has_stopped = False

    def send(self, data: object) -> None:
        if self.sock is None or not isinstance(data, bytes) or len(data) <= SEND_CHUNK_BYTES:
            super().send(data)  # type: ignore[arg-type]  # the base class accepts files too
            return
        unsent = memoryview(data)
        try:
            while unsent and not self._has_response(self.sock):
                unsent = unsent[self.sock.send(unsent[:SEND_CHUNK_BYTES]) :]
        except TimeoutError:
            if not wait_for_read(self.sock, timeout=0.0):
                raise
        except SSLEOFError:  # the server has closed a TLS connection, maybe after a response
            pass
        if unsent:
            self._has_stopped = True
            raise BrokenPipeError  # urllib3 reads the response then

    @staticmethod
    def _has_response(connected: socket.socket) -> bool:
        """Wait until data can be read or sent, and return whether a response has arrived."""
        if type(connected) is not socket.socket:  # TLS has messages of its own, which aren't a response
            return False
        if not wait_for_socket(connected, read=True, write=True, timeout=connected.gettimeout()):
            raise TimeoutError("The server doesn't read the request.")
        return wait_for_read(connected, timeout=0.0)

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # urllib3 has its own response
        response = super().getresponse()
        if self._has_stopped:  # the rest of the body is missing, so no other request can follow
            self.close()
        return response


class _TlsConnection(_Connection, HTTPSConnection):
    """The same for HTTPS, as far as possible: only the end of a connection or a timeout interrupts sending."""


class _ConnectionPool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsConnectionPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection
