"""A GPU that is full or fails in the middle of a run, in words that help."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from a3c.errors import QuorumLost
from a3c.processes.gpu import GpuMeter
from a3c.training.session import Session

_FULL = re.compile(r"out of memory|ALLOC_FAILED")
_OF_A_LIBRARY = re.compile(r"\b(CUDA|CUDNN|CUBLAS|CUFFT|cuDNN|NVML|NVRTC)\w*\b")
_OF_THE_GPU = (torch.OutOfMemoryError, torch.AcceleratorError)


class DeviceError(QuorumLost):
    """A worker cannot go on on its GPU. Another process may, which replaces it; in a run of one process
    there is none."""


@contextmanager
def explained(session: Session, row: int) -> Iterator[None]:
    """Says of an error of the GPU of worker `row` which GPU it is, how full, and what would take less.
    Raises DeviceError from it."""
    try:
        yield
    except RuntimeError as error:
        device = session.device(row)
        if device == "cpu" or not is_of_gpu(error):
            raise
        raise DeviceError(in_words(session, device, error)) from error


def is_of_gpu(error: RuntimeError) -> bool:
    """Whether the GPU or one of its libraries failed; these raise plain RuntimeErrors."""
    return isinstance(error, _OF_THE_GPU) or bool(_OF_A_LIBRARY.search(str(error)))


def in_words(session: Session, device: str, error: RuntimeError) -> str:
    """One line: the device, its own words, its memory, who uses it, and what to do."""
    words = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    there = [row for row in range(max(session.workers, 1)) if session.device(row) == device]
    users = (
        f"{len(there)} worker{'s' * (len(there) > 1)} x {session.config.learn.envs_per_worker} environments"
    )
    full = isinstance(error, torch.OutOfMemoryError) or bool(_FULL.search(str(error)))
    advice = "; fewer --envs-per-worker, --workers or --num-steps take less, or more --gpu-ids share it"
    trouble = "is full" if full else "failed"
    return f"{device} {trouble}{_memory(device)}, with {users} on it{advice if full else ''}: {words}"


def _memory(device: str) -> str:
    """How much is used, by all programs; asked of the driver, which still answers when CUDA does not."""
    for found in GpuMeter([int(device.rpartition(":")[2])]).read():
        if found["memory_bytes"] is not None:
            used, total = (found[key] / 2**30 for key in ("memory_bytes", "memory_total_bytes"))
            return f", {used:.1f} of {total:.1f} GiB in use"
    return ""
