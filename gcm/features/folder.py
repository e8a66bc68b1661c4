"""What was computed of images, kept in a folder for other runs and other processes, within a bound of disk.

An entry is a file, named by the hash of what it was computed of and with. Files are written beside and
renamed, so that processes share a folder without locks; one that is damaged is as good as missing.
"""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from gcm.errors import OutputError
from gcm.storage.atomic import whole_file

__all__ = ["FEATURES_SIZE", "FeatureFolder"]

FEATURES_SIZE = 10.0
"""GiB that a folder may take unless told otherwise."""

_SUFFIX = ".maps"
_CHECKSUM_BYTES = 4
_ROOM = 0.9
"""Share of the bound that is kept when files have to go."""

_SHARE_UNSEEN = 1 / 16
"""Of the bound, what this process writes before it looks at what others wrote."""

_ABANDONED = 3600.0
"""Seconds after which an unfinished file is one of a process that was killed."""


class FeatureFolder:
    """Lists of tensors by key, in files; those not used for longest go when there are too many bytes.

    Args:
        path: the folder; made where it is missing.
        max_bytes: of all files together. Processes that write at once may exceed it by a sixteenth each.

    Raises:
        OutputError: the folder cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], max_bytes: int) -> None:
        self.path = Path(path)
        self.max_bytes = max_bytes
        self.problem: str | None = None
        """Why nothing is written any more."""
        self._total: int | None = None
        """Bytes in the folder when it was last looked at."""
        self._written = 0
        """Since then, by this process."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be made ({error.strerror})") from error
        if not os.access(self.path, os.W_OK | os.X_OK):
            raise OutputError(f"{self.path}: cannot be written into; give another folder for features")

    def get(self, key: str) -> list[Tensor] | None:
        """The tensors of a key, as they were put, memory layout included; None where they are not (whole)."""
        file = self._file(key)
        try:
            with file.open("rb") as stream:
                checksum = stream.read(_CHECKSUM_BYTES)
                tensors = _unpack(stream.read(), checksum)
        except OSError:
            return None
        except Exception:  # damaged, of whatever kind: computed anew
            with suppress(OSError):
                file.unlink(missing_ok=True)
            return None
        with suppress(OSError):
            os.utime(file)  # used just now
        return tensors

    def put(self, key: str, tensors: Sequence[Tensor]) -> None:
        """Keep the tensors of a key. A disk that is full ends this, and is told in `problem`."""
        file = self._file(key)
        if self.problem is not None or file.is_file():
            return
        checksum, content = _pack(tensors)
        size = len(checksum) + len(content)
        if size > self.max_bytes:
            return
        self._make_room(size)
        try:
            with whole_file(file) as temporary, temporary.open("wb") as stream:
                stream.write(checksum)
                stream.write(content)
        except OutputError as error:
            # Windows replaces no file that is open: another process has put it there and somebody reads it.
            self.problem = None if file.is_file() else str(error)
        else:
            self._written += size

    def _file(self, key: str) -> Path:
        # In 256 folders: some file systems are slow with many files in one.
        return self.path / key[:2] / f"{key[2:]}{_SUFFIX}"

    def _make_room(self, needed: int) -> None:
        """Remove what was not used for longest where `needed` bytes more would be too many."""
        unseen = self._written + needed
        if self._total is not None and (
            unseen < self.max_bytes * _SHARE_UNSEEN and self._total + unseen <= self.max_bytes
        ):
            return
        files = sorted(self._files())
        total = sum(size for _, size, _ in files)
        if total + needed > self.max_bytes:
            for _, size, file in files:
                if total + needed <= self.max_bytes * _ROOM:
                    break
                with suppress(OSError):
                    file.unlink(missing_ok=True)
                total -= size
        self._total, self._written = total, 0

    def _files(self) -> list[tuple[float, int, Path]]:
        """When each was last used, its bytes and where it is; clears away what killed processes left."""
        files = []
        for file in self.path.glob(f"??/*{_SUFFIX}"):
            with suppress(OSError):
                status = file.stat()
                if file.name.startswith("."):
                    if time.time() - status.st_mtime > _ABANDONED:
                        file.unlink(missing_ok=True)
                    continue
                files.append((status.st_mtime, status.st_size, file))
        return files


def _pack(tensors: Sequence[Tensor]) -> tuple[bytes, bytes]:
    """A checksum, and tensors, each as it lies in memory."""
    from safetensors.torch import save

    stored, orders = {}, {}
    for number, tensor in enumerate(tensors):
        order = sorted(range(tensor.dim()), key=[-stride for stride in tensor.stride()].__getitem__)
        # Cloned, for safetensors refuses what shares memory.
        stored[str(number)] = (
            tensor.detach().permute(order).clone(memory_format=torch.contiguous_format).cpu()
        )
        orders[str(number)] = torch.tensor(order, dtype=torch.int64)
    content = save(stored | {f"order {name}": order for name, order in orders.items()})
    return _checksum(content), content


def _checksum(content: bytes) -> bytes:
    return zlib.crc32(content).to_bytes(_CHECKSUM_BYTES, "little")


def _unpack(content: bytes, checksum: bytes) -> list[Tensor]:
    """Inverse of :func:`_pack`; raises something where the content is not whole."""
    from safetensors.torch import load

    if checksum != _checksum(content):
        raise ValueError("not as it was written")
    stored = load(content)
    tensors = []
    for number in range(len(stored) // 2):
        order = stored[f"order {number}"].tolist()
        tensors.append(stored[str(number)].permute([order.index(axis) for axis in range(len(order))]))
    return tensors
