# ruff: noqa: PTH115, PTH123, PTH208
"""Loaded by Python at its start where this folder is in ``PYTHONPATH``: lacks and refuses what Windows does.

Modules and names that Windows lacks are gone; files that are open anywhere cannot be removed or replaced;
symbolic links take rights that nobody has; and text is opened by `gcm` with its encoding named, for the one
that Windows would choose is another.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Iterator
from typing import Any

for _name in ("fcntl", "grp", "pty", "pwd", "resource", "termios", "tty"):
    sys.modules[_name] = None  # type: ignore[assignment]
for _name in ("fork", "forkpty", "killpg", "setsid", "sched_getaffinity", "statvfs", "O_DIRECTORY"):
    if hasattr(os, _name):
        delattr(os, _name)
for _name in ("SIGALRM", "SIGCHLD", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGUSR1", "SIGUSR2"):
    if hasattr(signal, _name):
        delattr(signal, _name)
os.supports_dir_fd = set()  # nor does shutil.rmtree use open folders
os.supports_fd = set()

warnings.filterwarnings("ignore", message="only soft file lock is available")  # filelock, without fcntl
warnings.filterwarnings("ignore", category=EncodingWarning)
warnings.filterwarnings("error", category=EncodingWarning, module="gcm")


def _open_files() -> Iterator[str]:
    """Every file that a process has open, or mapped into its memory."""
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            for descriptor in os.listdir(f"/proc/{process}/fd"):
                yield os.readlink(f"/proc/{process}/fd/{descriptor}")
            with open(f"/proc/{process}/maps", "rb") as file:
                for line in file:
                    fields = line.split(maxsplit=5)
                    if len(fields) == 6:
                        yield os.fsdecode(fields[5].strip())
        except OSError:  # gone by now
            continue


class _Refusing:
    """A function, but for files that are open, among its first arguments.

    An object and no function, for Python 3.10 keeps it as an attribute of a class.
    """

    def __init__(self, function: Any, paths: int) -> None:
        self._function = function
        self._paths = paths

    def __call__(self, *args: Any, **options: Any) -> Any:
        named = {os.path.realpath(os.fsdecode(path)) for path in args[: self._paths]}
        if named & set(_open_files()):
            raise PermissionError(13, "it is being used by another process", os.fsdecode(args[0]))
        return self._function(*args, **options)


def _no_right(*args: Any, **options: Any) -> None:
    raise OSError(22, "a required privilege is not held by the client")


os.unlink = os.remove = _Refusing(os.unlink, 1)
os.replace, os.rename = _Refusing(os.replace, 2), _Refusing(os.rename, 2)
os.symlink = _no_right
