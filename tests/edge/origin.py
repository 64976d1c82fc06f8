"""An origin on loopback that speaks TLS with a certificate for any name."""

from __future__ import annotations

import socket
import ssl
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import trustme


@contextmanager
def origin(name: str) -> Iterator[tuple[str, Path]]:
    """Serve handshakes as `name`; yield the URL and the authority to trust."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as listener:
        authority = trustme.CA()
        ca_file = Path(folder) / "ca.pem"
        authority.cert_pem.write_to_path(ca_file)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(context)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        thread = threading.Thread(target=_accept, args=(listener, context), daemon=True)
        thread.start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}", ca_file
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def _accept(listener: socket.socket, context: ssl.SSLContext) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with suppress(OSError), connection:
            context.wrap_socket(connection, server_side=True).close()
