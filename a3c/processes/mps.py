"""Whether NVIDIA's Multi-Process Service runs, which lets the processes that share a GPU compute at the same
time; without it they take turns (https://docs.nvidia.com/deploy/mps)."""

from __future__ import annotations

import errno
import os
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path

CONTROL = "nvidia-cuda-mps-control"
"""The program that starts its daemon (-d) and ends it ("quit" on its standard input)."""


def pipe_directory() -> Path:
    """Where its daemon listens and CUDA looks for it."""
    return Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY") or "/tmp/nvidia-mps")


def mps_runs(folder: Path | None = None) -> bool:
    """Whether the daemon listens, in this folder or the usual one. Asked without talking to it: connecting
    with a socket of another kind than its own is refused as that where somebody listens, and otherwise where
    nobody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(str((folder or pipe_directory()) / "control"))
        except OSError as error:
            return error.errno == errno.EPROTOTYPE
    return True


def how_to_start() -> str:
    """What to do where it does not run."""
    if shutil.which(CONTROL):
        return f"start it with: {CONTROL} -d"
    return f"it is started where the driver is installed, with: {CONTROL} -d (docs/gpu.md)"


def without_mps(gpu_ids: Sequence[int], workers: int) -> str:
    """In words, that so many workers would share GPUs without it; else nothing."""
    if not gpu_ids or workers <= len(gpu_ids) or mps_runs():
        return ""
    gpus = f"GPU{'s' * (len(gpu_ids) > 1)} {', '.join(map(str, gpu_ids))}"
    trouble = f"{workers} workers share {gpus} and take turns there, for NVIDIA's MPS does not run"
    return f"{trouble}; {how_to_start()}"
