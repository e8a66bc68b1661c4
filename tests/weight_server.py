"""A fixture: a server on this machine that hands out a file, and drops connections when told to."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@dataclass
class WeightServer:
    """What the server hands out, and what it was asked."""

    url: str = ""
    content: bytes = b""
    drops: list[int] = field(default_factory=list)
    """After how many bytes of the body to close the connection, for the next requests."""
    delay: float = 0.0
    ranges: list[str | None] = field(default_factory=list)
    """Range header of every request."""


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        state: WeightServer = self.server.state  # type: ignore[attr-defined]
        wanted = self.headers.get("Range")
        state.ranges.append(wanted)
        time.sleep(state.delay)
        found = re.fullmatch(r"bytes=(\d+)-", wanted or "")
        start = int(found[1]) if found else 0
        body = state.content[start:]
        self.send_response(206 if found else 200)
        if found:
            self.send_header("Content-Range", f"bytes {start}-{len(state.content) - 1}/{len(state.content)}")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"one"')
        self.end_headers()
        self.wfile.write(body[: state.drops.pop(0)] if state.drops else body)
        self.close_connection = True


@pytest.fixture
def weight_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WeightServer]:
    monkeypatch.delenv("GCM_OFFLINE")
    monkeypatch.setenv("no_proxy", "*")
    state = WeightServer()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.state = state  # type: ignore[attr-defined]
    state.url = f"http://127.0.0.1:{server.server_port}/weights.pth"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    server.shutdown()
    thread.join()
    server.server_close()
