"""A Sentry server of our own: accepts envelopes on 127.0.0.1 and keeps their items."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class SentryServer:
    """What arrived: (item type, payload), in order."""

    def __init__(self, port: int) -> None:
        self.dsn = f"http://public@127.0.0.1:{port}/1"
        self.items: list[tuple[str, dict[str, Any]]] = []
        self.bodies: list[bytes] = []

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [payload for item, payload in self.items if item == kind]

    def take(self, body: bytes) -> None:
        self.bodies.append(body)
        lines = body.split(b"\n")
        at = 1
        while at + 1 < len(lines) and lines[at]:
            self.items.append((json.loads(lines[at])["type"], json.loads(lines[at + 1])))
            at += 2


@contextmanager
def sentry_server() -> Iterator[SentryServer]:
    """Serve until the block ends."""
    received: list[SentryServer] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            received[0].take(body)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"id":"x"}')

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parent's name
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    received.append(SentryServer(server.server_port))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield received[0]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
