"""`a3c doctor`: checks a machine before a long run, and says how to mend what is wrong."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement

from a3c.errors import EXIT_OK, EXIT_USAGE
from a3c.processes.memory import WORKER_BYTES
from a3c.processes.mps import how_to_start, mps_runs, pipe_directory
from a3c.settings.config import RUNS_FOLDER, Config
from a3c.settings.cores import usable_cores
from a3c.settings.flags import Parser
from a3c.storage.records import records_in
from a3c.system import ELSEWHERE, LINUX, is_wsl_1

OK, WARN, FAIL = "ok", "warn", "FAIL"
STAND_INS = {"opencv-python": "opencv-python-headless"}
"""Packages that do as well: this one has no windows, and none of OpenCV's is opened here."""

_GIB = 2**30
_OPEN_FILES = 1024
_SHARED_MEMORY = _GIB // 4


class Finding(NamedTuple):
    """What a check found."""

    level: str
    text: str
    fix: str = ""


Check = Callable[[], Iterator[Finding]]


def doctor(argv: Sequence[str]) -> int:
    """`a3c doctor`: one line per finding; exit code 2 when something would keep a run from working."""
    parser = Parser("a3c doctor", "Checks this machine. Lines with FAIL keep runs from working.")
    parser.add_argument(
        "--cluster",
        metavar="HOST:PORT",
        nargs="?",
        const="auto",
        help="check the nodes of a Ray cluster as well; without an address, of the one this machine is in",
    )
    address = parser.parse(argv).cluster
    failed = False
    checks = CHECKS if address is None else {**CHECKS, "cluster": lambda: cluster(address)}
    for name, check in checks.items():
        for finding in _findings(check):
            failed |= finding.level == FAIL
            fix = f"; {finding.fix}" if finding.fix else ""
            print(f"{finding.level:4}  {name:13}  {finding.text}{fix}", flush=True)
    return EXIT_USAGE if failed else EXIT_OK


def _findings(check: Check) -> Iterator[Finding]:
    """A check that breaks is itself a finding: what it looked at does not work."""
    try:
        yield from check()
    except Exception as error:
        words = " ".join(str(error).split())[:200]
        yield Finding(FAIL, f"{type(error).__name__}: {words}", "reinstall with: make setup")


def _python() -> Iterator[Finding]:
    yield Finding(OK, f"{platform.python_version()} at {sys.executable}")


def _system() -> Iterator[Finding]:
    if not LINUX:
        yield Finding(WARN, f"{platform.platform()}: {ELSEWHERE}", "Linux is what it was made for")
    elif is_wsl_1():
        yield Finding(WARN, "WSL 1, which has no Linux kernel", "change to WSL 2: wsl --set-version NAME 2")
    else:
        yield Finding(OK, platform.platform())


def _packages() -> Iterator[Finding]:
    """Every package that ours asks for, in a version that it allows."""
    if not _version("a3c"):
        yield Finding(WARN, "a3c itself is not installed, so versions are not compared", "make setup")
        return
    found = []
    for requirement in map(Requirement, importlib.metadata.requires("a3c") or ()):
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        version = _version(requirement.name) or _version(STAND_INS.get(requirement.name, requirement.name))
        if not version:
            yield Finding(FAIL, f"{requirement.name} is missing", "install it with: make setup")
        elif not requirement.specifier.contains(version, prereleases=True):
            yield Finding(FAIL, f"{requirement.name} {version} is not {requirement.specifier}", "make setup")
        else:
            found.append(f"{requirement.name} {version}")
    yield Finding(OK, ", ".join(found))
    if _version("opencv-python") and _version("opencv-python-headless"):
        yield Finding(WARN, "opencv-python and opencv-python-headless", "uninstall both, install one")


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _emulator() -> Iterator[Finding]:
    from a3c.envs import make_env, resolve_env

    env = make_env(resolve_env(Config()).env, [1], training=True)
    env.reset()
    env.close()
    yield Finding(OK, f"{env.spec.env_id} starts, its ROM is there")


def _compiled() -> Iterator[Finding]:
    from a3c.envs import screen
    from a3c.networks import pooling

    fix = "install a C compiler, then: pip install -e ."
    if pooling.COMPILED:
        yield Finding(OK, "the pooling of a3c-lstm was compiled here")
    else:
        yield Finding(WARN, "the pooling of a3c-lstm is PyTorch's, a fifth slower", fix)
    if screen.COMPILED:
        yield Finding(OK, "the pictures of Atari's screens were compiled here")
    else:
        yield Finding(WARN, "the pictures of Atari's screens are numpy's; games are a tenth slower", fix)


def _shared_memory() -> Iterator[Finding]:
    import torch

    torch.zeros(2**18).untyped_storage().share_memory_()
    folder = Path("/dev/shm")
    if not folder.is_dir():
        yield Finding(OK, "works")
        return
    usage = shutil.disk_usage(folder)
    text = f"/dev/shm has {_size(usage.free)} free of {_size(usage.total)}"
    few = usage.free < _SHARED_MEMORY
    yield Finding(WARN if few else OK, text, "free some, or in Docker use --shm-size=1g" if few else "")


def _open_files() -> Iterator[Finding]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = 0 <= soft < _OPEN_FILES
    hard_text = "no limit" if hard == resource.RLIM_INFINITY else str(hard)
    fix = f"raise it with: ulimit -n {_OPEN_FILES}" if few else ""
    yield Finding(WARN if few else OK, f"limit {soft}, at most {hard_text}", fix)


def _cores() -> Iterator[Finding]:
    usable, there = usable_cores(), os.cpu_count() or 1
    yield Finding(OK, f"{usable} usable" + (f" of {there}" if usable < there else "") + ", one worker each")


def _memory() -> Iterator[Finding]:
    import psutil  # type: ignore[import-untyped]

    memory = psutil.virtual_memory()
    needed = WORKER_BYTES * (usable_cores() + 2)
    text = f"{_size(memory.available)} free of {_size(memory.total)}"
    if memory.available < needed:
        yield Finding(WARN, text, f"{usable_cores()} workers want about {_size(needed)}; use fewer workers")
    else:
        yield Finding(OK, text)


def _disk() -> Iterator[Finding]:
    folder = RUNS_FOLDER if RUNS_FOLDER.is_dir() else Path()
    free = shutil.disk_usage(folder).free
    text = f"{_size(free)} free in {folder.resolve()}"
    if not os.access(folder, os.W_OK):
        yield Finding(FAIL, f"{folder.resolve()} cannot be written to", "change its owner, or use --run-dir")
    elif free < _GIB:
        yield Finding(WARN, text, "a long run wants 1 GiB for checkpoints and logs")
    else:
        yield Finding(OK, text)


def _gpus() -> Iterator[Finding]:
    import torch

    if not torch.cuda.device_count():
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
        yield Finding(OK, f"none, the CPU does the work (torch is {built})")
    for gpu in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(gpu)
        yield Finding(OK, f"{gpu}: {properties.name}, {_size(properties.total_memory)}")
    if torch.cuda.device_count() and mps_runs():
        yield Finding(OK, f"NVIDIA's MPS runs, in {pipe_directory()}: workers compute at the same time")
    elif torch.cuda.device_count():
        yield Finding(WARN, "without NVIDIA's MPS the workers of a GPU take turns", how_to_start())


def _display() -> Iterator[Finding]:
    display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    yield Finding(OK, display or "none; eval.py --render writes a video instead of opening a window")


def _video() -> Iterator[Finding]:
    try:
        import imageio_ffmpeg  # type: ignore[import-untyped]
    except ImportError:
        yield Finding(WARN, "no ffmpeg, so --video does not work", "pip install imageio-ffmpeg")
        return
    program = imageio_ffmpeg.get_ffmpeg_exe()
    subprocess.run([program, "-version"], check=True, capture_output=True, timeout=30)
    yield Finding(OK, f"ffmpeg {imageio_ffmpeg.get_ffmpeg_version()}")


def _tmux() -> Iterator[Finding]:
    if shutil.which("tmux"):
        yield Finding(OK, "there, for make tmux")
    else:
        yield Finding(WARN, "missing, so make tmux does not work", "install it, or use nohup")


def cluster(address: str) -> Iterator[Finding]:
    """Versions, clocks, token and lines of a Ray cluster's nodes, asked by a process of its own."""
    if importlib.util.find_spec("ray") is None:
        yield Finding(FAIL, "Ray is missing", "install it with: pip install 'a3c[cluster]'")
        return
    command = [sys.executable, "-P", "-m", "a3c.cluster.survey", address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
        for record in records_in(process.stdout or ()):
            if record.keys() == set(Finding._fields):  # Ray prints, too
                yield Finding(**record)
    if process.returncode:
        yield Finding(FAIL, f"asking the nodes ended with exit code {process.returncode}", "ray status")


def _size(size_bytes: float) -> str:
    return f"{size_bytes / _GIB:.1f} GiB"


CHECKS: dict[str, Check] = {
    "python": _python,
    "system": _system,
    "packages": _packages,
    "emulator": _emulator,
    "compiled": _compiled,
    "shared memory": _shared_memory,
    "open files": _open_files,
    "cores": _cores,
    "memory": _memory,
    "disk": _disk,
    "gpus": _gpus,
    "display": _display,
    "video": _video,
    "tmux": _tmux,
}
