"""One HTTP address and the partial file it continues; :mod:`gcm.storage.download` is built on it.

While a file is on its way it lies beside its destination as ``<name>.part``, with ``<name>.part.json``
saying which version of which address it is a part of, so that an interrupted download goes on where it
stopped and two versions are never glued together.
"""

from __future__ import annotations

import http.client
import json
import re
import shutil
import socket
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gcm
from gcm.errors import DownloadError
from gcm.storage.atomic import sha256_of, whole_file

__all__ = ["GiveUpError", "Progress", "Promise", "Transfer"]

_TIMEOUT = 30.0
"""Seconds a server may stay silent."""
_ATTEMPTS = 5
"""Tries of one address in a row that bring nothing new."""
_PAUSE = 0.5
"""Seconds before the second try; doubled each time."""
_LONGEST_PAUSE = 8.0
_BLOCK = 1 << 16
_HEADROOM = 16 << 20
"""Bytes of disk to leave free."""
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
"""Status codes worth asking again for."""

Progress = Callable[[int, int | None], None]


class GiveUpError(Exception):
    """This address will not do; try the next."""


class TryAgainError(Exception):
    """This address failed for now.

    Args:
        wait: seconds the server asked for, if it did.
    """

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


@dataclass(frozen=True)
class _Origin:
    """What a partial file is a part of."""

    url: str
    validator: str | None = None
    """Strong ETag or Last-Modified date, to send as ``If-Range``."""
    total: int | None = None


@dataclass(frozen=True)
class Promise:
    """What is known of the file beforehand."""

    sha256: str | None
    size: int | None

    def fault(self, path: Path) -> str | None:
        """Why a complete file is not the promised one; None when it is."""
        found = path.stat().st_size
        if self.size is not None and found != self.size:
            return f"has {found} bytes where {self.size} were expected"
        if self.sha256 is not None:
            digest = sha256_of(path)
            if not digest.startswith(self.sha256):
                return f"has sha256 {digest[:16]}... where {self.sha256[:16]}... was expected"
        return None


class Transfer:
    """One address and the partial file it continues."""

    def __init__(self, url: str, destination: Path, promise: Promise, on_progress: Progress) -> None:
        self.url = url
        self.destination = destination
        self.promise = promise
        self.on_progress = on_progress
        self.part = destination.with_name(destination.name + ".part")
        self.note = destination.with_name(destination.name + ".part.json")

    def run(self) -> None:
        """Complete the partial file and check it.

        Raises:
            GiveUpError: the address cannot be had, or serves another file; what it served is removed.
        """
        if self.url.partition(":")[0].lower() not in {"http", "https"}:
            raise GiveUpError("only http and https addresses can be used")
        if self._looks_complete() and self.promise.fault(self.part) is None:
            return
        resumed = self._persist()
        fault = self.promise.fault(self.part)
        if fault is not None and resumed:
            # The part may have come from elsewhere: what this address serves itself deserves a fair look.
            self._discard()
            self._persist()
            fault = self.promise.fault(self.part)
        if fault is not None:
            self._discard()
            raise GiveUpError(f"serves another file: it {fault}")

    def _persist(self) -> bool:
        """Ask until the file is complete; say whether bytes of an earlier run went into it."""
        resumed = self._held() > 0
        furthest, failures, pause = self._held(), 0, _PAUSE
        while True:
            try:
                self._attempt()
                return resumed
            except TryAgainError as error:
                held = self._held()
                if held >= furthest + _BLOCK:
                    failures, pause = 0, _PAUSE
                furthest = max(furthest, held)
                failures += 1
                if failures >= _ATTEMPTS:
                    raise GiveUpError(f"{error} ({failures} tries)") from error
                time.sleep(min(pause if error.wait is None else error.wait, _LONGEST_PAUSE))
                pause *= 2

    # -- one request ---------------------------------------------------------------------------

    def _attempt(self) -> None:
        """Ask once, from where the partial file ends; returns when it is complete."""
        offset = self._held()
        origin = self._origin() if offset else None
        if offset and not self._continues(origin):
            self._discard()
            offset, origin = 0, None
        try:
            response = self._open(offset, origin)
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 416 and offset:
                    self._out_of_range(offset, error.headers)
                    return
                if error.code in _TRANSIENT:
                    raise TryAgainError(_status(error), _retry_after(error.headers)) from error
                raise GiveUpError(_status(error)) from error
        except (OSError, http.client.HTTPException) as error:
            if _unknown_host(error):
                raise GiveUpError(_reason(error)) from error
            raise TryAgainError(_reason(error)) from error
        except ValueError as error:
            raise GiveUpError(f"not an address ({error})") from error
        with response:
            self._receive(response, offset, origin)

    def _open(self, offset: int, origin: _Origin | None) -> http.client.HTTPResponse:
        headers = {"User-Agent": f"gcm/{gcm.__version__}", "Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if origin is not None and origin.url == self.url and origin.validator:
                headers["If-Range"] = origin.validator
        request = urllib.request.Request(self.url, headers=headers)
        response: http.client.HTTPResponse = _opener().open(request, timeout=_TIMEOUT)
        return response

    def _receive(self, response: http.client.HTTPResponse, offset: int, origin: _Origin | None) -> None:
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise GiveUpError("serves the file in a compressed transfer encoding")
        length = _number(response.headers.get("Content-Length"))
        if response.status == 206 and offset:
            start, total = _content_range(response.headers)
            if start != offset or (origin and origin.total and total and origin.total != total):
                self._discard()
                raise TryAgainError("continued at another place than asked for")
        elif response.status == 200:
            offset, total = 0, length  # no ranges here, or the file has changed: all of it comes anew
        else:
            raise GiveUpError(f"answered {response.status} {response.reason}".strip())
        if self.promise.size is not None and total is not None and total != self.promise.size:
            raise GiveUpError(f"serves another file: {total} bytes where {self.promise.size} were expected")
        total = total if total is not None else self.promise.size
        if total is None and length is not None:
            total = offset + length
        self._check_space((total or 0) - offset)
        if offset == 0:
            self._remember(_Origin(self.url, _validator(response.headers), total))
        done = self._copy(response, offset, total)
        if total is not None and done < total:
            raise TryAgainError(f"the connection broke off after {done} of {total} bytes")

    def _copy(self, response: http.client.HTTPResponse, offset: int, total: int | None) -> int:
        """Append what comes to the partial file; return its length."""
        done = offset
        self.on_progress(done, total)
        with self.part.open("r+b" if offset else "wb") as file:
            file.seek(offset)
            file.truncate()
            while True:
                try:
                    block = response.read1(_BLOCK)
                except (OSError, http.client.HTTPException, ValueError) as error:
                    raise TryAgainError(f"{_reason(error)} after {done} bytes") from error
                if not block:
                    return done
                file.write(block)
                done += len(block)
                if total is not None and done > total:
                    file.truncate(0)
                    raise GiveUpError(f"serves another file: more than the {total} bytes expected")
                self.on_progress(done, total)

    def _out_of_range(self, offset: int, headers: Any) -> None:
        """The server has nothing behind the partial file: it is complete, or belongs to another file."""
        found = re.fullmatch(r"bytes \*/(\d+)", headers.get("Content-Range") or "")
        if found and int(found[1]) == offset and self.promise.size in (None, offset):
            self.on_progress(offset, offset)
            return
        self._discard()
        raise TryAgainError("has another length than the part fetched before")

    # -- the partial file ----------------------------------------------------------------------

    def _held(self) -> int:
        return self.part.stat().st_size if self.part.is_file() else 0

    def _looks_complete(self) -> bool:
        origin = self._origin()
        total = self.promise.size or (origin.total if origin and origin.url == self.url else None)
        return total is not None and self._held() == total

    def _continues(self, origin: _Origin | None) -> bool:
        """Whether this address can continue the partial file without a risk of mixing two files."""
        if self.promise.size is not None and self._held() > self.promise.size:
            return False
        if self.promise.sha256 is not None:
            return True  # whatever gets mixed will show
        return (
            origin is not None and origin.url == self.url and (origin.validator or origin.total) is not None
        )

    def _origin(self) -> _Origin | None:
        try:
            return _Origin(**json.loads(self.note.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def _remember(self, origin: _Origin) -> None:
        # The part must not outlive the note's change: a kill between the two leaves neither mixed.
        self.part.unlink(missing_ok=True)
        with whole_file(self.note) as temporary:
            temporary.write_text(json.dumps(asdict(origin)) + "\n", encoding="utf-8")

    def _discard(self) -> None:
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def _check_space(self, needed: int) -> None:
        free = shutil.disk_usage(self.destination.parent).free
        if needed > 0 and free < needed + _HEADROOM:
            raise DownloadError(
                f"{self.destination}: needs {needed / 1e6:.0f} MB of disk, {free / 1e6:.0f} MB are free; "
                "free some space or choose another folder"
            )


# -- HTTP odds and ends ------------------------------------------------------------------------


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never from an encrypted address to an open one."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        if req.type == "https" and urllib.parse.urlsplit(newurl).scheme != "https":
            raise GiveUpError(f"redirects from https to {newurl}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """An opener for http and https alone: urllib's own would read file: and ftp: addresses too."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    return opener


def _validator(headers: Any) -> str | None:
    etag: str | None = headers.get("ETag")
    if etag and not etag.startswith("W/"):  # a weak tag says nothing of single bytes
        return etag
    date: str | None = headers.get("Last-Modified")
    return date


def _content_range(headers: Any) -> tuple[int | None, int | None]:
    """First byte and total length of a 206 answer; None for what it does not say."""
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range") or "")
    return (None, None) if not found else (int(found[1]), _number(found[2]))


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None


def _retry_after(headers: Any) -> float | None:
    seconds = _number(headers.get("Retry-After"))
    return None if seconds is None else float(seconds)


def _status(error: urllib.error.HTTPError) -> str:
    return f"answered {error.code} {error.reason}".strip()


def _unknown_host(error: BaseException) -> bool:
    """Whether a name server says for good that there is no such host (or there is no network at all)."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    return isinstance(cause, socket.gaierror) and cause.errno != socket.EAI_AGAIN


def _reason(error: BaseException) -> str:
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, BaseException):
        return _reason(error.reason)
    if isinstance(error, TimeoutError):
        return f"no answer within {_TIMEOUT:g} s"
    text = getattr(error, "strerror", None) or str(error)
    return text or type(error).__name__
