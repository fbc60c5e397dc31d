"""First in PYTHONPATH, this gives a process and its children a GPU that is the CPU and fails in mid-run: the
first incarnation of worker 0 finds its memory full, that of worker 1 is told of an error of CUDA. The
driver's library, which tells how full it is, is the one that NVML_STAND_IN names."""

import os
from typing import Any

import torch

from a3c.processes import gpu
from a3c.training import worker

FAILS_AT = 20  # call of `act`
ERRORS = (
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB."),
    torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
)


def make_agent(config: Any, spec: Any, seed: int, device: str, place: float) -> Any:
    agent = real(config, spec, seed, "cpu", place)
    act, calls, row = agent.act, 0, int(place)

    def failing(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == FAILS_AT and not os.path.exists(failed := f"{os.environ['FAILED']}-{row}"):
            open(failed, "x").close()
            raise ERRORS[row]
        return act(*args)

    agent.act = failing
    return agent


real, worker.make_agent = worker.make_agent, make_agent
worker.use_gpu = lambda device: None
gpu.LIBRARY = os.environ.get("NVML_STAND_IN", gpu.LIBRARY)
torch.cuda.device_count = lambda: 1
