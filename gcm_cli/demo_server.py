"""The server of ``gcm demo``: what it lets in, where that lies, and how it goes again."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
import uvicorn
from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

from gcm_cli.demo_page import CSS, make_theme

__all__ = ["serve"]

_SWEEP = 30.0
"""Seconds between two looks for files that are old."""

_GRACE = 3.0
"""Seconds that answers on their way get when the demo ends."""

_MOST_KEPT = 2 * 2**30
"""Bytes of uploads and answers at a time."""

_OVERHEAD = 100 * 2**10
"""Bytes of a request around a file, and of one without."""

_DRAINED = 2**30
"""Bytes of a refused upload that are read, and thrown away, so that its sender gets to read the answer."""

_UNUSED = ("/deep_link", "/file=http", "/process_recording", "/proxy=", "/stream/")
"""What Gradio's server could do besides, as fetch addresses for others, and this page never asks for."""


class _Gate:
    """Lets requests in that are not too large and ask for what the page needs."""

    def __init__(self, app: ASGIApp, *, most: int, folder: Path, strangers: bool) -> None:
        self.app, self.most, self.folder, self.strangers = app, most, folder, strangers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is None:
            await self.app(scope, receive, send)
            return
        drained, more = 0, True
        while more and drained < _DRAINED:
            message = await receive()
            drained += len(message.get("body", b""))
            more = message.get("more_body", False)
        await refusal(scope, receive, send)

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        path, headers = scope["path"], dict(scope["headers"])
        origin, length = headers.get(b"origin"), headers.get(b"content-length", b"")
        upload = path.endswith("/upload")
        told: tuple[str, int] | None = None
        if any(unused in path for unused in _UNUSED):
            told = "not part of this page", 404
        elif scope["method"] not in ("POST", "PUT", "PATCH"):
            pass  # without a body
        elif origin and not self.strangers and origin.split(b"//")[-1] != headers.get(b"host"):
            told = "asked by a page of somebody else's", 403
        elif not length.isdigit():
            told = "the request does not say how large it is (Content-Length)", 411
        elif int(length) > (self.most if upload else 0) + _OVERHEAD:
            told = f"too large: a photo's file may have up to {self.most / 2**20:g} MiB", 413
        elif upload and _size(self.folder) > _MOST_KEPT:
            told = "the demo holds too many photos just now; try again later", 507
        return None if told is None else PlainTextResponse(*told)


class _Server(uvicorn.Server):
    """Says when it is there."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._tell = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._tell()


def serve(
    page: gr.Blocks,
    listener: socket.socket,
    folder: Path,
    *,
    max_upload: int,
    keep: float,
    hosts: list[str],
    started: Callable[[], None],
) -> None:
    """Serve the page until a signal ends it.

    Args:
        page: of :func:`gcm_cli.demo_page.make_page`.
        listener: bound to an address.
        folder: of uploads and answers.
        max_upload: bytes of a photo.
        keep: seconds after which a file of the folder is deleted; those of the page itself stay.
        hosts: names under which the page may be asked for, ``*`` for all.
        started: called once the page can be opened.

    Raises:
        KeyboardInterrupt: Ctrl-C.
        SystemExit: SIGTERM, with 143.
    """
    app = _application(page, folder, max_upload, keep, hosts)
    config = uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1)
    server = _Server(config, started)
    ended = threading.Event()  # in place of joining: a thread whose join is interrupted counts as dead

    def run() -> None:
        try:
            server.run([listener])
        finally:
            ended.set()

    before = signal.getsignal(signal.SIGTERM)
    # In a thread, since a loop that is to end would wait for the pair in hand, however long that takes.
    threading.Thread(target=run, daemon=True).start()
    try:
        while not ended.is_set():
            # Each time, since PyCOLMAP, which LightGlue's package brings when it is loaded, sets its own.
            signal.signal(signal.SIGTERM, _leave)
            ended.wait(0.5)
    finally:
        signal.signal(signal.SIGTERM, before)
        server.should_exit = True
        ended.wait(_GRACE)
    if not server.started:
        raise RuntimeError("the server did not start")


def _application(page: gr.Blocks, folder: Path, max_upload: int, keep: float, hosts: list[str]) -> FastAPI:
    """The page behind its gate; see :func:`serve`."""
    needed = frozenset(folder.rglob("*"))  # the examples

    @asynccontextmanager
    async def sweeping(_: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(_sweep(folder, keep, needed))
        yield
        task.cancel()

    # A site of somebody else's could have a browser on this machine ask, or have its own name lead here.
    gate = Middleware(_Gate, most=max_upload, folder=folder, strangers="*" in hosts)
    names = Middleware(TrustedHostMiddleware, allowed_hosts=hosts)
    app = FastAPI(lifespan=sweeping, middleware=[names, gate], openapi_url=None)
    gr.mount_gradio_app(
        app,
        page,
        path="/",
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=max_upload,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=make_theme(),
        css=CSS,
    )
    return app


async def _sweep(folder: Path, keep: float, needed: frozenset[Path]) -> None:
    """Delete what is old, also what Gradio forgot, as of an upload that broke off."""
    while True:
        await asyncio.sleep(min(_SWEEP, keep))
        await asyncio.to_thread(_delete_old, folder, time.time() - keep, needed)


def _delete_old(folder: Path, before: float, needed: frozenset[Path]) -> None:
    for path in list(folder.rglob("*")):
        with suppress(OSError):  # gone already, or a folder with something in it
            if path not in needed and path.stat().st_mtime < before:
                path.rmdir() if path.is_dir() else path.unlink()


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            total += path.stat().st_size
    return total


def _leave(number: int, frame: Any) -> None:
    """SIGTERM ends the command as Ctrl-C does, so that nothing is left behind."""
    raise SystemExit(128 + number)
