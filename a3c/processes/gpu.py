"""How busy and how full the GPUs of a run are, asked of the driver: without a CUDA context, which takes
hundreds of megabytes, and without a package.

The library is NVIDIA's NVML (https://docs.nvidia.com/deploy/nvml-api), which comes with every driver.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

LIBRARY = "libnvidia-ml.so.1"


class _Utilization(ctypes.Structure):
    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))  # percent


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class GpuMeter:
    """Measures now and then; a look at the numbers between costs nothing.

    Args:
        gpu_ids: as --gpu-ids names them, so in the order of CUDA_VISIBLE_DEVICES where that is set.
        every_s: time between two measurements.
        clock: seconds.
    """

    def __init__(
        self, gpu_ids: Sequence[int], every_s: float = 5.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._gpu_ids, self._every_s, self._clock = gpu_ids, every_s, clock
        self._due = 0.0
        self._found: list[dict[str, Any]] = []
        self._library = _library() if gpu_ids else None

    def read(self) -> list[dict[str, Any]]:
        """ "id", "utilization_percent", "memory_bytes" and "memory_total_bytes" of each GPU, over all
        programs that use it; None for what the driver does not tell. Nothing where it tells nothing."""
        now = self._clock()
        if self._library is not None and now >= self._due:
            self._due = now + self._every_s
            self._found = [_measure(self._library, gpu_id) for gpu_id in self._gpu_ids]
        return self._found


def _library() -> ctypes.CDLL | None:
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(LIBRARY)
        if library.nvmlInit_v2() == 0:
            return library
    return None


def _measure(library: ctypes.CDLL, gpu_id: int) -> dict[str, Any]:
    use, memory = _Utilization(), _Memory()
    device = _device(library, gpu_id)
    busy = device is not None and library.nvmlDeviceGetUtilizationRates(device, ctypes.byref(use)) == 0
    full = device is not None and library.nvmlDeviceGetMemoryInfo(device, ctypes.byref(memory)) == 0
    return {
        "id": gpu_id,
        "utilization_percent": use.gpu if busy else None,
        "memory_bytes": memory.used if full else None,
        "memory_total_bytes": memory.total if full else None,
    }


def _device(library: ctypes.CDLL, gpu_id: int) -> ctypes.c_void_p | None:
    """NVML's handle of a GPU. It numbers all there are, whatever CUDA_VISIBLE_DEVICES says."""
    device, name = ctypes.c_void_p(), str(gpu_id)
    if visible := os.environ.get("CUDA_VISIBLE_DEVICES"):
        names = [part.strip() for part in visible.split(",")]
        name = names[gpu_id] if gpu_id < len(names) else ""
    if name.isdecimal():
        failed = library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(int(name)), ctypes.byref(device))
    else:
        failed = library.nvmlDeviceGetHandleByUUID(name.encode(), ctypes.byref(device))
    return None if failed else device
