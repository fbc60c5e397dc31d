"""First in PYTHONPATH, this takes from a process and its children what only Linux has, where the project asks
for it. Libraries keep it, and the kernel is Linux all the same; so this is no macOS."""

import ctypes
import errno
import fcntl
import os
import resource
import socket
import sys
from pathlib import Path
from typing import Any

import a3c.system

ROOT = str(Path(__file__).parents[2])
OURS = tuple(f"{ROOT}/{name}/" for name in ("a3c", "evaluators"))

a3c.system.LINUX = False
del fcntl.F_SETPIPE_SZ, os.memfd_create, os.sched_getaffinity, resource.prlimit, socket.SOCK_NONBLOCK


class OtherLibrary(ctypes.CDLL):
    """A C library without these functions."""

    def __getattr__(self, name: str) -> Any:
        if name in ("prctl", "mallopt"):
            raise AttributeError(name)
        return super().__getattr__(name)


def other_limit(kind: int, *args: Any, real: Any = resource.getrlimit) -> Any:
    if kind == 10:
        raise ValueError("invalid resource specified")
    return real(kind, *args)


def no_proc(event: str, args: tuple[Any, ...]) -> None:
    if event in ("open", "os.listdir") and str(args[0]).startswith(("/proc/", "/sys/")) and asked_by_us():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), args[0])


def asked_by_us() -> bool:
    frame = sys._getframe(2)
    while frame and frame.f_code.co_filename.endswith(("pathlib.py", "os.py")):
        frame = frame.f_back
    return frame is not None and frame.f_code.co_filename.startswith(OURS)


ctypes.CDLL = OtherLibrary
resource.getrlimit = other_limit
sys.addaudithook(no_proc)
