"""On a machine that only trains: without ffmpeg, windows and drawings (see bare/sitecustomize.py)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from a3c.console import doctor
from a3c.errors import UsageError
from evaluators.showing.video import Video
from tests.run_tools import ROOT, TINY, Run

BARE = {"PYTHONPATH": os.pathsep.join(map(str, (ROOT / "tests" / "bare", ROOT)))}
TRAINING = [*TINY, "--env", "PongNoFrameskip-v4", "--preset", "none", "--workers", "1", "--max-steps", "20"]
BENCHMARKS = "import benchmarks.learning, benchmarks.gpu, benchmarks.stages, benchmarks.throughput"
HIDDEN = "import cv2, sys, rich; assert not hasattr(cv2, 'imshow') and 'pygame' not in sys.modules"


def test_a_run_trains_without_what_only_shows(tmp_path: Path) -> None:
    with Run(tmp_path, *TRAINING, "--eval-every", "0", env=BARE) as run:
        assert run.end() == 0, run.output
        assert run.checkpoints()


def test_what_is_measured_on_a_gpu_needs_no_more() -> None:
    command = [sys.executable, "-c", f"{HIDDEN}; {BENCHMARKS}"]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | BARE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_video_without_ffmpeg_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(UsageError, match="pip install imageio-ffmpeg"):
        Video(tmp_path / "game.mp4", 15)
    assert [finding.level for finding in doctor.CHECKS["video"]()] == ["warn"]
    assert list(tmp_path.iterdir()) == []
