"""What the measurements share: where they ran, running ours from outside, and keeping results."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import torch

from a3c.envs import screen
from a3c.networks import pooling
from a3c.storage.records import read_json_lines
from a3c.storage.run_directory import CONFIG, METRICS, STATUS
from a3c.storage.shelf import entries
from a3c.system import processor

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
_PACKAGES = ("torch", "numpy", "gymnasium", "ale-py", "opencv-python", "opencv-python-headless")


def machine() -> dict[str, Any]:
    """The processor and what it can do, the versions, and how busy the machine was with other work."""
    return {
        "cpu": processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "compiled_pooling": pooling.COMPILED,
        "compiled_screens": screen.COMPILED,
        "glibc_tunables": os.environ.get("GLIBC_TUNABLES", ""),
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        **dict(filter(None, map(_package, _PACKAGES))),
    }


def _package(name: str) -> tuple[str, str] | None:
    """Its name and version, where it is installed."""
    with suppress(importlib.metadata.PackageNotFoundError):
        return name, importlib.metadata.version(name)
    return None


def keep(name: str, result: dict[str, Any]) -> Path:
    """Writes a result with the command and the time of day; returns the file."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    head = {
        "command": " ".join(["python -m", f"benchmarks.{Path(sys.argv[0]).stem}", *sys.argv[1:]]),
        "date": time.strftime("%Y-%m-%d %H:%M"),
    }
    path.write_text(json.dumps({**head, **result}, indent=1) + "\n")
    return path


def table(rows: Sequence[Sequence[Any]]) -> str:
    """Rows as aligned columns; the first row is the head."""
    texts = [[f"{cell:,.2f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in texts)


def is_finished(run_dir: Path) -> bool:
    """Whether a run has done all the steps it was told to."""
    try:
        status = json.loads((run_dir / STATUS).read_text())
        told = json.loads((run_dir / CONFIG).read_text())["settings"]["run"]["max_steps"]
        return bool(status["state"] == "finished" and status["steps"] >= told > 0)
    except (OSError, ValueError, KeyError):
        return False


def train_on(run_dir: Path, flags: Sequence[str], quiet: bool = True) -> None:
    """Trains in `run_dir` with run.py, goes on with what is there, and leaves a finished run alone. A limit
    of time holds for this part only: the run's settings would keep that of its last part. Ctrl-C reaches
    run.py too: it is waited for until it has saved. Raises CalledProcessError."""
    if is_finished(run_dir):
        return
    command = [sys.executable, str(ROOT / "run.py"), "--max-time", "0", *flags, "--run-dir", str(run_dir)]
    command += ["--load"] if (run_dir / CONFIG).exists() else []
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL if quiet else None)
    try:
        process.wait()
    except KeyboardInterrupt:
        process.wait()
        raise
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)


def wait_until(condition: Callable[[], Any], limit_s: float, pause_s: float = 0.05) -> bool:
    """Polls; whether the condition came true in time."""
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause_s)
    return True


def newest_step(run_dir: Path) -> int:
    """The step of the newest checkpoint in place."""
    found = entries(run_dir) if run_dir.exists() else []
    return found[-1].step if found else 0


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and greatest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def run_training(
    flags: Sequence[str], seconds: float, warm_up_s: float, environ: Mapping[str, str] | None = None
) -> dict[str, float]:
    """Trains with run.py in a folder of its own and measures, from its status, what it did after warming up.

    Returns:
        steps_per_second over the window, bytes_per_worker (resident), first_update_s (from the command),
        mean_lag, share_env and so on of the workers' time, and of a GPU gpu_percent and gpu_bytes.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(ROOT / "run.py"), "--run-dir", f"{folder}/run", "--eval-every", "0",
                   "--checkpoint-every", "1h", "--log-every", "2", *flags]  # fmt: skip
        began = time.monotonic()
        output = Path(folder, "output.txt")
        with output.open("w") as file:
            process = subprocess.Popen(command, stdout=file, stderr=file, cwd=folder, env=environ)
        try:
            status_path = Path(folder, "run", "status.json")
            first_update_s = _wait(process, status_path, lambda s: s["updates"] > 0, 120) - began
            _wait(process, status_path, lambda s: time.monotonic() - began > first_update_s + warm_up_s, 600)
            before = _status(status_path)
            until = before["elapsed_s"] + seconds  # by the run's own clock: a status may be a second old
            _wait(process, status_path, lambda s: s["elapsed_s"] > until, 600 + seconds)
            status = _status(status_path)
            warnings = [line for line in output.read_text().splitlines() if "warning: " in line]
            print("\n".join(warnings), end="\n" * bool(warnings), flush=True)
            resident = [psutil.Process(w["pid"]).memory_info().rss for w in status["workers"]]
            steps, seconds_between = (status[key] - before[key] for key in ("steps", "elapsed_s"))
            return {
                "steps_per_second": steps / seconds_between,
                "bytes_per_worker": max(resident),
                "first_update_s": first_update_s,
                "mean_lag": status["mean_lag"],
                **_shares(Path(folder, "run", METRICS)),
                **_gpu(status),
            }
        except Exception:
            print(output.read_text(), file=sys.stderr)
            raise
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def _shares(path: Path) -> dict[str, float]:
    """Of the workers' time, in the newest row of a run's metrics."""
    rows = [row for row in read_json_lines(path) if row["kind"] == "train"] if path.exists() else []
    return {key: value for key, value in (rows or [{}])[-1].items() if key.startswith("share_")}


def _gpu(status: dict[str, Any]) -> dict[str, float]:
    """How busy and how full the first one is; nothing where the driver does not tell."""
    gpu = (status.get("gpus") or [{}])[0]
    found = {"gpu_percent": gpu.get("utilization_percent"), "gpu_bytes": gpu.get("memory_bytes")}
    return {name: value for name, value in found.items() if value is not None}


def _status(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError):
        return {"updates": 0, "steps": 0, "elapsed_s": 0.0}


def _wait(process: subprocess.Popen[bytes], path: Path, condition: Any, limit_s: float) -> float:
    deadline = time.monotonic() + limit_s
    while not condition(_status(path)):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the training did not get there (exit code {process.poll()})")
        time.sleep(0.05)
    return time.monotonic()
