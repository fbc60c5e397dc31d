"""NVIDIA's MPS as its control daemon shows itself: here a socket in its folder."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from a3c.processes import mps


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
    return tmp_path


@pytest.fixture(params=[socket.SOCK_STREAM, socket.SOCK_SEQPACKET])
def daemon(folder: Path, request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, request.param) as listener:
        listener.bind(str(folder / "control"))
        listener.listen()
        listener.setblocking(False)
        yield listener


def test_a_daemon_is_seen_and_not_disturbed(daemon: socket.socket) -> None:
    assert mps.mps_runs()
    assert mps.without_mps([0], 16) == ""
    with pytest.raises(BlockingIOError):
        daemon.accept()


def test_what_a_dead_one_left_behind_is_none(daemon: socket.socket) -> None:
    daemon.close()
    assert not mps.mps_runs()


def test_no_folder_is_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(folder / "gone"))
    assert not mps.mps_runs()


def test_the_usual_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_MPS_PIPE_DIRECTORY", raising=False)
    assert mps.pipe_directory() == Path("/tmp/nvidia-mps")


@pytest.mark.usefixtures("folder")
def test_workers_that_share_a_gpu_without_it_are_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    assert mps.without_mps([0, 1], 5) == (
        "5 workers share GPUs 0, 1 and take turns there, for NVIDIA's MPS does not run; "
        "start it with: nvidia-cuda-mps-control -d"
    )
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert "where the driver is installed" in mps.without_mps([0], 2)
    assert [mps.without_mps([], 16), mps.without_mps([0], 1), mps.without_mps([0], 0)] == ["", "", ""]
