"""An engine that answers over a UNIX socket, as tests have it."""

from __future__ import annotations

import http.server
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def answering(address: Path, body: bytes, path: str | None = None) -> Iterator[None]:
    """Answers this path with this body, and 404 elsewhere; ``path`` None: any path."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if path in (None, self.path) else 404)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    class Server(socketserver.ThreadingUnixStreamServer):
        def get_request(self) -> tuple[Any, Any]:
            return super().get_request()[0], ("local", 0)

    with Server(str(address), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()
