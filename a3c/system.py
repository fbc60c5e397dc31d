"""On which systems this runs, and what is done without on others than Linux.

What only Linux has is asked for where it is needed, and its absence is an answer there; nothing but this
looks at the system's name. It imports only what every system has.
"""

from __future__ import annotations

import platform
import sys
from contextlib import suppress
from pathlib import Path

LINUX = sys.platform == "linux"

ELSEWHERE = (
    "not tested on this system: what environments start may outlive the run, and output that nobody reads is "
    "waited for"
)
"""What to know where LINUX is false."""


def processor() -> str:
    """The processor's name, as in "AMD EPYC"."""
    name = ""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line for line in lines if line.startswith("model name")), "").partition(":")[2].strip()
    return name or platform.processor() or platform.machine()


def refusal() -> str:
    """Why nothing can run here, for the user; empty where it can."""
    if sys.platform == "win32":
        return "a3c needs Linux: locks, signals and shared memory of POSIX; on Windows install it in WSL 2"
    return ""


def is_wsl_1() -> bool:
    """Whether Windows imitates Linux without its kernel; that of WSL 2 is named ...-microsoft-standard."""
    return LINUX and platform.release().endswith("-Microsoft")
