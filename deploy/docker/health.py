"""The health check of the images: `health.py PATH PORT [SETTING...]` exits with 0 if PATH returns 200 on loopback.

The port is the first SETTING in the environment, otherwise PORT. The check uses a socket, because importing an HTTP
library takes longer than the request.
"""

import os
import socket
import sys


def main(path: str, port: str, *port_settings: str) -> int:
    """Return 0 for a response with status 200, or 1 for another one or none within two seconds."""
    listening_port = next((os.environ[name] for name in port_settings if os.environ.get(name)), port)
    try:
        with socket.create_connection(("127.0.0.1", int(listening_port)), timeout=2) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            status = connection.recv(64).split(b" ")[1:2]
    except OSError as error:
        sys.stderr.write(f"{path} on port {listening_port}: {error}\n")
        return 1
    return 0 if status == [b"200"] else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
