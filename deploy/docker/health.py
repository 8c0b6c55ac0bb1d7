"""The images' health check: `health.py PATH PORT [SETTING...]` ends with 0 when PATH answers 200 on this machine.

The port is the first of the settings that is set, else PORT. Sockets alone, since an HTTP library takes longer to
import than the answer takes to come.
"""

import os
import socket
import sys


def main(path: str, port: str, *port_settings: str) -> int:
    """0 for an answer of 200, 1 for another, or for none in two seconds."""
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
