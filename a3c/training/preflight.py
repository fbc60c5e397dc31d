"""Whether the machine has room for a run, asked before any process is started."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from a3c.errors import StorageError
from a3c.processes.memory import WORKER_BYTES
from a3c.training.session import Session

SHARED_MEMORY = Path("/dev/shm")
_SPARE_DISK_BYTES = 50_000_000  # for logs and curves
_log = logging.getLogger(__name__)


def check_room(session: Session) -> None:
    """Warns of what will soon be too little.

    Raises:
        StorageError: the model does not fit into shared memory, or one checkpoint not onto the disk.
    """
    if session.workers:
        _check_shared_memory(session.memory.size_bytes + session.board.size_bytes)
        _check_memory(session.workers)
    _check_disk(session.run_dir, session.memory.size_bytes, session.config.eval.keep_checkpoints)


def _check_shared_memory(needed: int) -> None:
    if not SHARED_MEMORY.is_dir():  # a system that keeps it elsewhere
        return
    free = shutil.disk_usage(SHARED_MEMORY).free
    if free < needed:
        raise StorageError(
            f"{_mb(needed)} of shared memory are needed and {SHARED_MEMORY} has {_mb(free)} free: remove "
            f"files there, or enlarge it (Docker: --shm-size={needed // 10**6 + 64}m)"
        )


def _check_memory(workers: int) -> None:
    free, wanted = psutil.virtual_memory().available, WORKER_BYTES * (workers + 2)
    if free < wanted:
        _log.warning(
            "%s of memory are free, and %d workers want about %s: use fewer, or set --max-rss",
            _mb(free), workers, _mb(wanted),
        )  # fmt: skip


def _check_disk(run_dir: Path, checkpoint: int, keep: int) -> None:
    free = shutil.disk_usage(os.path.realpath(run_dir)).free
    if free < checkpoint:
        raise StorageError(
            f"a checkpoint takes {_mb(checkpoint)} and {run_dir} has {_mb(free)} free: free some space, or "
            "name another disk with --run-dir"
        )
    wanted = checkpoint * (keep + 2) + _SPARE_DISK_BYTES  # the best one, and one being written
    if free < wanted:
        _log.warning("%s are free in %s, and the run wants %s", _mb(free), run_dir, _mb(wanted))


def _mb(size_bytes: float) -> str:
    return f"{size_bytes / 1e6:.1f} MB"
