"""One HTTP address and the partial file it continues; :mod:`gcm.storage.download` is built on it.

While a file is on its way it lies beside its destination as ``<name>.part``, with ``<name>.part.json``
saying which version of which address it is a part of, so that an interrupted download goes on where it
stopped and two versions are never glued together.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gcm
from gcm.errors import DownloadError
from gcm.storage.atomic import sha256_of, whole_file
from gcm.storage.disk import disk_shortage, is_disk_full, megabytes

__all__ = ["ExpectedFile", "PermanentError", "Progress", "Transfer", "is_web_address"]

_TIMEOUT_SECONDS = 30.0
"""Seconds a server may stay silent."""
_MAX_ATTEMPTS = 5
"""Tries of one address in a row that bring nothing new."""
_FIRST_PAUSE = 0.5
"""Seconds before the second try; doubled each time."""
_MAX_PAUSE = 8.0
_BLOCK = 1 << 16
_TRANSIENT_STATUSES = {408, 425, 429, 500, 502, 503, 504}
"""Status codes worth asking again for."""

Progress = Callable[[int, int | None], None]


class PermanentError(Exception):
    """An address that will not serve the file however often it is asked."""


class TransientError(Exception):
    """An address that failed for now and may be asked again.

    Args:
        wait: seconds the server asked for, if it did.
    """

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


@dataclass(frozen=True)
class _PartialRecord:
    """What a partial file is a part of; lies beside it as ``<name>.part.json``."""

    url: str
    validator: str | None = None
    """Strong ETag or Last-Modified date, to send as ``If-Range``."""
    total: int | None = None


@dataclass(frozen=True)
class ExpectedFile:
    """What is known of a file before it is fetched."""

    sha256: str | None
    """Its SHA-256 in lower-case hex, or the first digits of that."""
    size: int | None
    """In bytes."""

    def mismatch(self, path: Path) -> str | None:
        """Why a complete file is not the expected one ("has ..."); None when it is."""
        size = path.stat().st_size
        if self.size is not None and size != self.size:
            return f"has {size} bytes where {self.size} were expected"
        if self.sha256 is not None:
            digest = sha256_of(path)
            if not digest.startswith(self.sha256):
                return f"has sha256 {digest[:16]}... where {self.sha256[:16]}... was expected"
        return None


def is_web_address(url: str) -> bool:
    """Whether a text is an http or https address with a host."""
    try:
        parts = urllib.parse.urlsplit(url)
        return parts.scheme.lower() in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets that match nothing, a port that is no number
        return False


class Transfer:
    """One address and the partial file it continues."""

    def __init__(self, url: str, destination: Path, expected: ExpectedFile, on_progress: Progress) -> None:
        self.url = url
        self.destination = destination
        self.expected = expected
        self.on_progress = on_progress
        self.partial_file = destination.with_name(destination.name + ".part")
        self.record_file = destination.with_name(destination.name + ".part.json")

    def run(self) -> None:
        """Complete the partial file and check it.

        Raises:
            PermanentError: the address cannot be had, or serves another file; what it served is removed.
        """
        if not is_web_address(self.url):
            raise PermanentError("not an http or https address")
        if self._looks_complete() and self.expected.mismatch(self.partial_file) is None:
            return
        resumed = self._request_until_complete()
        mismatch = self.expected.mismatch(self.partial_file)
        if mismatch is not None and resumed:
            # The part may have come from elsewhere: what this address serves itself deserves a fair look.
            self._remove_partial()
            self._request_until_complete()
            mismatch = self.expected.mismatch(self.partial_file)
        if mismatch is not None:
            self._remove_partial()
            raise PermanentError(f"serves another file: it {mismatch}")

    def _request_until_complete(self) -> bool:
        """Ask until the file is complete; say whether bytes of an earlier run went into it."""
        resumed = self._partial_size() > 0
        largest_size, failures, pause = self._partial_size(), 0, _FIRST_PAUSE
        while True:
            try:
                self._request_once()
                return resumed
            except TransientError as error:
                size = self._partial_size()
                if size >= largest_size + _BLOCK:
                    failures, pause = 0, _FIRST_PAUSE
                largest_size = max(largest_size, size)
                failures += 1
                if failures >= _MAX_ATTEMPTS:
                    raise PermanentError(f"{error} ({failures} tries)") from error
                time.sleep(min(pause if error.wait is None else error.wait, _MAX_PAUSE))
                pause *= 2

    # -- one request ---------------------------------------------------------------------------

    def _request_once(self) -> None:
        """Ask once, from where the partial file ends; returns when it is complete."""
        offset = self._partial_size()
        record = self._read_record() if offset else None
        if offset and not self._can_resume(record):
            self._remove_partial()
            offset, record = 0, None
        try:
            response = self._open(offset, record)
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 416 and offset:
                    self._handle_range_refusal(offset, error.headers)
                    return
                if error.code in _TRANSIENT_STATUSES:
                    raise TransientError(_status(error), _retry_after(error.headers)) from error
                raise PermanentError(_status(error)) from error
        except http.client.InvalidURL as error:
            raise PermanentError(f"not an address ({error})") from error
        except (OSError, http.client.HTTPException) as error:
            if _unknown_host(error):
                raise PermanentError(_reason(error)) from error
            raise TransientError(_reason(error)) from error
        except ValueError as error:
            raise PermanentError(f"not an address ({error})") from error
        with response:
            self._receive(response, offset, record)

    def _open(self, offset: int, record: _PartialRecord | None) -> http.client.HTTPResponse:
        headers = {"User-Agent": f"gcm/{gcm.__version__}", "Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if record is not None and record.url == self.url and record.validator:
                headers["If-Range"] = record.validator
        request = urllib.request.Request(_escaped(self.url), headers=headers)
        response: http.client.HTTPResponse = _opener().open(request, timeout=_TIMEOUT_SECONDS)
        return response

    def _receive(
        self, response: http.client.HTTPResponse, offset: int, record: _PartialRecord | None
    ) -> None:
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise PermanentError("serves the file in a compressed transfer encoding")
        length = _number(response.headers.get("Content-Length"))
        if response.status == 206 and offset:
            start, total = _content_range(response.headers)
            if start != offset or (record and record.total and total and record.total != total):
                self._remove_partial()
                raise TransientError("continued at another place than asked for")
        elif response.status == 200:
            offset, total = 0, length  # no ranges here, or the file has changed: all of it comes anew
        else:
            raise PermanentError(f"answered {response.status} {response.reason}".strip())
        if self.expected.size is not None and total is not None and total != self.expected.size:
            raise PermanentError(
                f"serves another file: {total} bytes where {self.expected.size} were expected"
            )
        total = total if total is not None else self.expected.size
        if total is None and length is not None:
            total = offset + length
        shortage = disk_shortage(self.destination.parent, (total or 0) - offset)
        if shortage is not None:
            raise DownloadError(f"{self.destination}: {shortage}")
        if offset == 0:
            self._write_record(_PartialRecord(self.url, _validator(response.headers), total))
        done = self._copy(response, offset, total)
        if total is not None and done < total:
            raise TransientError(f"the connection broke off after {done} of {total} bytes")

    def _copy(self, response: http.client.HTTPResponse, offset: int, total: int | None) -> int:
        """Append what comes to the partial file; return its length."""
        done = offset
        self.on_progress(done, total)
        try:
            with self.partial_file.open("r+b" if offset else "wb") as file:
                file.seek(offset)
                file.truncate()
                for block in _blocks(response, offset):
                    file.write(block)
                    done += len(block)
                    if total is not None and done > total:
                        file.truncate(0)
                        raise PermanentError(f"serves another file: more than the {total} bytes expected")
                    self.on_progress(done, total)
        except OSError as error:
            if not is_disk_full(error):
                raise
            more = (
                "the server does not say how much more it needs"
                if total is None
                else (f"it needs {megabytes(total - done)} more")
            )
            raise DownloadError(
                f"{self.destination}: the disk is full after {megabytes(done)} of the file, {more}; "
                "free some space or choose another folder"
            ) from error
        return done

    def _handle_range_refusal(self, offset: int, headers: Any) -> None:
        """The server has nothing behind the partial file: it is complete, or belongs to another file."""
        match = re.fullmatch(r"bytes \*/(\d+)", headers.get("Content-Range") or "")
        if match and int(match[1]) == offset and self.expected.size in (None, offset):
            self.on_progress(offset, offset)
            return
        self._remove_partial()
        raise TransientError("has another length than the part fetched before")

    # -- the partial file ----------------------------------------------------------------------

    def _partial_size(self) -> int:
        return self.partial_file.stat().st_size if self.partial_file.is_file() else 0

    def _looks_complete(self) -> bool:
        record = self._read_record()
        total = self.expected.size or (record.total if record and record.url == self.url else None)
        return total is not None and self._partial_size() == total

    def _can_resume(self, record: _PartialRecord | None) -> bool:
        """Whether this address can continue the partial file without a risk of mixing two files."""
        if self.expected.size is not None and self._partial_size() > self.expected.size:
            return False
        if self.expected.sha256 is not None:
            return True  # whatever gets mixed will show
        return (
            record is not None and record.url == self.url and (record.validator or record.total) is not None
        )

    def _read_record(self) -> _PartialRecord | None:
        try:
            return _PartialRecord(**json.loads(self.record_file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def _write_record(self, record: _PartialRecord) -> None:
        # The part must not outlive the note's change: a kill between the two leaves neither mixed.
        self.partial_file.unlink(missing_ok=True)
        with whole_file(self.record_file) as temporary:
            temporary.write_text(json.dumps(asdict(record)) + "\n", encoding="utf-8", newline="\n")

    def _remove_partial(self) -> None:
        self.partial_file.unlink(missing_ok=True)
        self.record_file.unlink(missing_ok=True)


# -- HTTP details ------------------------------------------------------------------------------


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never from an encrypted address to an open one."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        if req.type == "https" and urllib.parse.urlsplit(newurl).scheme != "https":
            raise PermanentError(f"redirects from https to {newurl}")
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


def _blocks(response: http.client.HTTPResponse, offset: int) -> Iterator[bytes]:
    """What a server sends, as it comes; `offset` bytes came before.

    Raises:
        TransientError: the connection broke.
    """
    done = offset
    while True:
        try:
            block = response.read1(_BLOCK)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise TransientError(f"{_reason(error)} after {done} bytes") from error
        if not block:
            return
        done += len(block)
        yield block


def _escaped(url: str) -> str:
    """An address as it is sent: spaces and letters outside ASCII as per cent and hex, the rest unchanged."""
    parts = urllib.parse.urlsplit(url)
    path, query = (urllib.parse.quote(text, safe="/%:@!$&'()*+,;=~?") for text in (parts.path, parts.query))
    return urllib.parse.urlunsplit((parts.scheme, parts.netloc, path, query, ""))


def _validator(headers: Any) -> str | None:
    etag: str | None = headers.get("ETag")
    if etag and not etag.startswith("W/"):  # a weak tag says nothing of single bytes
        return etag
    date: str | None = headers.get("Last-Modified")
    return date


def _content_range(headers: Any) -> tuple[int | None, int | None]:
    """First byte and total length of a 206 answer; None for what it does not say."""
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range") or "")
    return (None, None) if not match else (int(match[1]), _number(match[2]))


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
        return f"no answer within {_TIMEOUT_SECONDS:g} s"
    text = getattr(error, "strerror", None) or str(error)
    return text or type(error).__name__
