"""``gcm demo``: a page in the browser on which two photos are matched."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from gcm_cli.console import INTERRUPTED, Console, command
from gcm_cli.options import ConfigOption, DeviceOption, QuietOption

__all__ = ["demo"]

KEEP = 30 * 60.0
"""Seconds that uploads and answers are kept."""

WAITING = 10
"""Requests that may wait."""

_Host = Annotated[
    str, typer.Option(metavar="ADDRESS", help="Where to be reached; 0.0.0.0: from everywhere, by everybody.")
]
_Port = Annotated[int, typer.Option(min=0, max=65535, help="0 takes any that is free.")]
_MaxUpload = Annotated[
    float, typer.Option(metavar="MIB", min=0.1, max=1000, help="How large a photo's file may be.")
]
_Open = Annotated[bool, typer.Option("--open", help="Open the page in the browser.")]


@command
def demo(
    host: _Host = "127.0.0.1",
    port: _Port = 7860,
    config: ConfigOption = None,
    device: DeviceOption = None,
    max_upload: _MaxUpload = 50,
    open_page: _Open = False,
    quiet: QuietOption = False,
) -> None:
    """Show a page in the browser: two photos in, their matches out. Ctrl-C ends it.

    The page works without a network, can be reached from this machine alone unless --host
    says otherwise, and deletes photos after half an hour and when it ends.
    """
    from gcm_cli.demo_answers import Answers, example_photos, offered_presets

    console = Console(quiet=quiet)
    presets = offered_presets(config, device=device)
    try:
        with _bound(host, port) as listener, _private_folder() as folder:
            with console.waiting("loading Gradio and the networks"):
                _import_gradio()
                from gcm_cli.demo_page import make_page
                from gcm_cli.demo_server import serve

                answers = Answers(presets, folder)
                answers.load(answers.presets[0])
                page = make_page(
                    answers,
                    examples=example_photos(folder),
                    waiting=WAITING,
                    minutes=max(1, round(KEEP / 60)),
                    report=console.error,
                )
            address, local = _address(listener), _is_local(listener)
            if not local:
                console.warn(f"--host {host}: everybody who reaches this machine can use the page, unasked")

            def started() -> None:
                console.note(f"the page is at {address} (Ctrl-C ends it)")
                if open_page:
                    webbrowser.open(address)

            serve(
                page,
                listener,
                folder,
                max_upload=round(max_upload * 2**20),
                keep=KEEP,
                hosts=["localhost", "127.0.0.1", "::1", "[::1]", host] if local else ["*"],
                started=started,
            )
    except (KeyboardInterrupt, SystemExit) as ended:
        _leave_pair(console, ended)
        raise


def _leave_pair(console: Console, ended: BaseException) -> None:
    """End at once where a pair is in hand: Python would wait for its thread, which nobody can stop."""
    others = [t for t in threading.enumerate() if t is not threading.main_thread() and not t.daemon]
    if not others:
        return
    code = ended.code if isinstance(ended, SystemExit) and isinstance(ended.code, int) else INTERRUPTED
    if code == INTERRUPTED:
        console.note("gcm: interrupted")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _import_gradio() -> None:
    """Import it, and see to it that it calls nobody.

    Raises:
        DependencyError: it is not installed.
    """
    from gcm.errors import DependencyError, to_install

    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise DependencyError(f"gcm demo needs Gradio ({error}); {to_install('demo')}") from error


@contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
    """A socket of that address; nobody is let in yet.

    Raises:
        GCMError: no such address here, or it is taken.
    """
    from gcm.errors import GCMError

    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise GCMError(f"--host {host}: no such address ({_reason(error)})") from error
    with listener:
        if os.name == "posix":  # elsewhere this would let two servers share an address
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise GCMError(
                    f"port {port} is in use, perhaps by another gcm demo; "
                    "give another with --port, or --port 0 for any that is free"
                ) from error
            raise GCMError(f"--host {host} --port {port}: cannot be used ({_reason(error)})") from error
        yield listener


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _is_local(listener: socket.socket) -> bool:
    return ipaddress.ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback


def _address(listener: socket.socket) -> str:
    """What to type into a browser on this machine."""
    host, port = listener.getsockname()[:2]
    if ipaddress.ip_address(host.partition("%")[0]).is_unspecified:
        host = "localhost"
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


@contextmanager
def _private_folder() -> Iterator[Path]:
    """A folder for uploads and answers that nobody else may read, and that is gone in the end.

    While it is there, Gradio keeps its files in it, and calls nobody.
    """
    with tempfile.TemporaryDirectory(prefix="gcm-demo-", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        settings = {
            "GRADIO_TEMP_DIR": str(folder),
            "GRADIO_EXAMPLES_CACHE": str(folder / "examples"),
            "GRADIO_ANALYTICS_ENABLED": "False",
            "HF_HUB_OFFLINE": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        before = {key: os.environ.get(key) for key in settings}
        os.environ.update(settings)
        try:
            yield folder
        finally:
            for key, value in before.items():
                if value is None:
                    os.environ.pop(key, None)
                else:
                    os.environ[key] = value
