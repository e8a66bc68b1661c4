"""A fixture: a server on this machine that hands out one file, and behaves as badly as it is told to."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from gcm.storage import http

_PIECE = 1 << 14


@dataclass
class FileServer:
    """What the server is to do, and what it was asked."""

    url: str = ""
    content: bytes = b""
    etag: str | None = '"one"'
    statuses: list[int] = field(default_factory=list)
    """Status codes for the next requests, before it serves."""
    drops: list[int] = field(default_factory=list)
    """After how many body bytes to close the connection, for the next requests."""
    supports_ranges: bool = True
    shift: int = 0
    """206 answers start that many bytes away from where they should."""
    claimed: int | None = None
    """Length claimed in place of the true one."""
    no_length: bool = False
    silent: bool = False
    delay: float = 0.0
    """Seconds before every answer."""
    pause: float = 0.0
    """Seconds after every 16 kB of an answer that starts at the beginning."""
    location: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str | None, str | None]] = field(default_factory=list)
    """Path, Range and If-Range of every request."""

    @property
    def ranges(self) -> list[str | None]:
        """Range header of every request."""
        return [wanted for _, wanted, _ in self.asked]


class _Handler(BaseHTTPRequestHandler):
    server: ThreadingHTTPServer

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        state: FileServer = self.server.state  # type: ignore[attr-defined]
        wanted, condition = self.headers.get("Range"), self.headers.get("If-Range")
        state.asked.append((self.path, wanted, condition))
        time.sleep(state.delay)
        if state.silent:
            self.server.released.wait(10)  # type: ignore[attr-defined]
            return
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", state.location or "/file")
            self.end_headers()
            return
        if self.path == "/missing":
            self.send_error(404)
            return
        if state.statuses:
            self.send_response(state.statuses.pop(0))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.serve(state, wanted, condition)

    def serve(self, state: FileServer, wanted: str | None, condition: str | None) -> None:
        start, body = 0, state.content
        if wanted and state.supports_ranges and condition in (None, state.etag):
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])  # type: ignore[index]
            if start >= len(body):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(body)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            start = max(0, start + state.shift)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        body = body[start:]
        if not state.no_length:
            self.send_header(
                "Content-Length", str(len(body) if state.claimed is None else state.claimed - start)
            )
        if state.etag:
            self.send_header("ETag", state.etag)
        for name, value in state.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if state.drops:
            body = body[: state.drops.pop(0)]
        self.close_connection = True
        with suppress(ConnectionError):  # the reader may have been killed
            for place in range(0, len(body), _PIECE):
                self.wfile.write(body[place : place + _PIECE])
                if not start:
                    time.sleep(state.pause)


@pytest.fixture
def file_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.delenv("GCM_OFFLINE")
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(http, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(http, "_MAX_PAUSE", 0.02)
    state = FileServer()
    real = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    real.state = state  # type: ignore[attr-defined]
    real.released = threading.Event()  # type: ignore[attr-defined]
    state.url = f"http://127.0.0.1:{real.server_port}"
    thread = threading.Thread(target=real.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    real.released.set()  # type: ignore[attr-defined]
    real.shutdown()
    thread.join()
    real.server_close()


@pytest.fixture
def weight_server(file_server: FileServer) -> FileServer:
    """The same, its `url` that of a file of weights."""
    file_server.url += "/weights.pth"
    return file_server
