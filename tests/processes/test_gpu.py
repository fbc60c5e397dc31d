"""GPUs as the driver tells of them: here a library with its functions, which has two GPUs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from a3c.processes import gpu
from a3c.processes.gpu import GpuMeter

NVML = """
#include <string.h>
int nvmlInit_v2(void) { return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int i, void **device) {
    *device = (void *)(unsigned long)(i + 1);
    return i > 1;
}
int nvmlDeviceGetHandleByUUID(const char *name, void **device) {
    *device = (void *)2ul;
    return strcmp(name, "GPU-b");
}
int nvmlDeviceGetUtilizationRates(void *device, unsigned int *use) {
    use[0] = 10 * (unsigned long)device;
    return (unsigned long)device == 2; /* as on a part of a GPU */
}
int nvmlDeviceGetMemoryInfo(void *device, unsigned long long *memory) {
    memory[0] = 80ull << 30;
    memory[1] = 50ull << 30;
    memory[2] = 30ull << 30;
    return 0;
}
"""
MEMORY = {"memory_bytes": 30 * 2**30, "memory_total_bytes": 80 * 2**30}
UNKNOWN = {"utilization_percent": None, "memory_bytes": None, "memory_total_bytes": None}


def compile_driver(folder: Path) -> Path:
    """The library, in `folder`."""
    if not (compiler := shutil.which("cc")):
        pytest.skip("no C compiler")
    (folder / "nvml.c").write_text(NVML)
    library = folder / "libnvidia-ml.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, folder / "nvml.c"], check=True)
    return library


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "LIBRARY", str(compile_driver(tmp_path)))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.usefixtures("driver")
def test_use_and_memory_of_each() -> None:
    assert GpuMeter([0, 1, 7]).read() == [
        {"id": 0, "utilization_percent": 10, **MEMORY},
        {"id": 1, "utilization_percent": None, **MEMORY},
        {"id": 7, **UNKNOWN},
    ]


@pytest.mark.usefixtures("driver")
@pytest.mark.parametrize(
    ("visible", "use"), [("1,0", None), ("0", 10), (" 0 , 1", 10), ("GPU-b,0", None), ("GPU-x", None)]
)
def test_numbers_are_those_of_cuda(visible: str, use: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    (found,) = GpuMeter([0]).read()
    assert (found["id"], found["utilization_percent"]) == (0, use)
    assert (found["memory_bytes"] is None) == (visible == "GPU-x")


@pytest.mark.usefixtures("driver")
def test_the_driver_is_asked_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    meter = GpuMeter([0], every_s=5.0, clock=lambda: now[0])
    first = meter.read()
    now[0] = 104.0
    assert meter.read() is first
    now[0] = 105.0
    assert meter.read() == first
    assert meter.read() is not first


def test_without_a_gpu_or_a_driver_there_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert GpuMeter([]).read() == []
    monkeypatch.setattr(gpu, "LIBRARY", "libnothing-of-that-name.so")
    assert GpuMeter([0]).read() == []
