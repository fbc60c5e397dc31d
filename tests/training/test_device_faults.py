"""GPUs that fail in mid-run, as far as a machine without one can tell (see failing_gpu/sitecustomize.py)."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch

from a3c.storage.checkpoint import read_checkpoint
from a3c.training.device_faults import DeviceError, explained
from a3c.training.session import Session
from tests.evaluators.fakes import make_session
from tests.processes.test_gpu import compile_driver
from tests.run_tools import ROOT, TINY, Run

FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB.\nmore words")
FLAGS = ["--env", "CartPole-v1", "--gpu-ids", "0", "--eval-every", "0", *TINY]


def failing_gpu(folder: Path) -> dict[str, str]:
    """The environment of a run that has such a GPU."""
    paths = (ROOT / "tests" / "failing_gpu", ROOT)
    return {
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "NVML_STAND_IN": str(compile_driver(folder)),
        "FAILED": str(folder / "failed"),
    }


def test_f35_workers_are_replaced_on_a_gpu_that_is_full_or_fails(tmp_path: Path) -> None:
    with Run(tmp_path, *FLAGS, "--workers", "2", env=failing_gpu(tmp_path)) as run:
        run.wait_until(lambda s: all(w["restarts"] == 1 and w["state"] == "running" for w in s["workers"]))
        run.signal(signal.SIGTERM)
        assert run.end() == 0, run.output
    log = (run.path / "logs" / "main.log").read_text()
    assert "cuda:0 is full, 30.0 of 80.0 GiB in use, with 2 workers x 2 environments on it" in log
    assert "fewer --envs-per-worker, --workers or --num-steps" in log
    assert "cuda:0 failed, 30.0 of 80.0 GiB in use, with 2 workers x 2 environments on it: CUDA error" in log
    assert "2 workers share GPU 0 and take turns there" in run.output
    newest = read_checkpoint(run.checkpoints()[-1])
    assert newest.state["counters"]["env_steps"] == run.status()["steps"] > 0


def test_f35_one_process_saves_what_it_has_and_ends(tmp_path: Path) -> None:
    with Run(tmp_path, *FLAGS, "--workers", "0", env=failing_gpu(tmp_path)) as run:
        assert run.end() == 5, run.output
    assert (
        "error: cuda:0 is full, 30.0 of 80.0 GiB in use, with 1 worker x 2 environments on it" in run.output
    )
    assert "Traceback" not in run.output
    assert read_checkpoint(run.checkpoints()[-1]).state["counters"]["env_steps"] > 0


def session_on(folder: Path, gpu_ids: tuple[int, ...]) -> Session:
    return make_session(folder, workers=5, envs_per_worker=8, gpu_ids=gpu_ids)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (FULL, "cuda:1 is full, with 2 workers x 8 environments on it; fewer"),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"),
            "cuda:1 is full",
        ),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "cuda:1 failed, with 2 workers"),
    ],
)
def test_who_is_on_the_gpu_and_what_takes_less(error: RuntimeError, words: str, tmp_path: Path) -> None:
    with pytest.raises(DeviceError) as raised, explained(session_on(tmp_path, (0, 1)), 3):
        raise error
    (line,) = str(raised.value).splitlines()
    assert line.startswith(words)
    assert line.endswith(str(error).splitlines()[0])
    assert raised.value.__cause__ is error


@pytest.mark.parametrize(
    ("gpu_ids", "error"), [((), FULL), ((0,), RuntimeError("shapes differ")), ((0,), KeyError("CUDA"))]
)
def test_other_errors_are_what_they_were(gpu_ids: tuple[int, ...], error: Exception, tmp_path: Path) -> None:
    with pytest.raises(type(error)) as raised, explained(session_on(tmp_path, gpu_ids), 0):
        raise error
    assert raised.value is error
