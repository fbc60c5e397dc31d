"""Events are readable by TensorBoard itself; writing survives a disk that is full or gone."""

import errno
import os
import shutil
import socket
from collections import defaultdict

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from a3c.storage.sinks import FIRST_PAUSE_S
from evaluators.process.writer import TensorBoard


class FakeClock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def full_disk(monkeypatch):
    """`full_disk(True)`: every write of more than 10 bytes stores 10 and then fails, as on a full disk."""
    real_write, state = os.write, defaultdict(bool)

    def write(descriptor, data):
        if not state["full"] or not os.path.isfile(f"/proc/self/fd/{descriptor}"):
            return real_write(descriptor, data)
        if state["stumped"]:
            raise OSError(errno.ENOSPC, "No space left on device")
        state["stumped"] = True
        return real_write(descriptor, data[:10])

    monkeypatch.setattr(os, "write", write)
    return lambda full: state.update(full=full, stumped=False)


def load(folder):
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    accumulator.Reload()
    return accumulator


def points(folder, tag):
    return [(e.step, e.value) for e in load(folder).Scalars(tag)]


def test_scalars_text_and_graph_are_read_back(tmp_path):
    board = TensorBoard(tmp_path)
    board.add_scalars({"eval/score_mean": 1.5, "loss/value": 0.25}, 10)
    board.add_scalars({"eval/score_mean": 2.5}, 20)
    board.add_text("config", "    lr 0.1")
    board.add_graph(torch.nn.Linear(3, 2), (torch.zeros(1, 3),))
    board.close()
    events = load(tmp_path)
    assert points(tmp_path, "eval/score_mean") == [(10, 1.5), (20, 2.5)]
    assert points(tmp_path, "loss/value") == [(10, 0.25)]
    assert events.Tags()["tensors"] == ["config/text_summary"]
    assert b"lr 0.1" in events.Tensors("config/text_summary")[0].tensor_proto.string_val[0]
    assert any("weight" in node.name for node in events.Graph().node)
    assert (board.dropped, board.error) == (0, "")


def test_a_network_that_cannot_be_traced_raises_without_a_word(tmp_path, capsys):
    with pytest.raises(RuntimeError):
        TensorBoard(tmp_path).add_graph(torch.nn.Linear(3, 2), (torch.zeros(1, 4),))
    assert capsys.readouterr().out == ""


def test_the_axis_stays_monotonic_over_a_resume(tmp_path):
    before = TensorBoard(tmp_path)
    for step in (100, 200, 300, 400):
        before.add_scalars({"x": float(step)}, step)
    before.close()
    after = TensorBoard(tmp_path, purge_step=201)  # continued from a checkpoint at step 200
    for step in (250, 350):
        after.add_scalars({"x": -1.0}, step)
    after.close()
    assert points(tmp_path, "x") == [(100, 100.0), (200, 200.0), (250, -1.0), (350, -1.0)]


def test_f27_a_full_disk_drops_points_and_recovers(tmp_path, clock, full_disk):
    board = TensorBoard(tmp_path, clock=clock)
    board.add_scalars({"x": 1.0}, 1)
    full_disk(True)
    board.add_scalars({"x": 2.0}, 2)
    board.add_scalars({"x": 3.0}, 3)  # still in the pause: not even tried
    assert (board.dropped, "No space" in board.error) == (2, True)
    full_disk(False)
    board.add_scalars({"x": 4.0}, 4)
    clock.now += FIRST_PAUSE_S
    board.add_scalars({"x": 5.0}, 5)
    assert (board.dropped, board.error) == (3, "")
    assert points(tmp_path, "x") == [(1, 1.0), (5, 5.0)]


def test_f28_a_vanished_folder_is_not_made_again(tmp_path, clock):
    folder = tmp_path / "run"
    folder.mkdir()
    board = TensorBoard(folder, clock=clock)
    board.add_scalars({"x": 1.0}, 1)
    board.close()
    shutil.rmtree(folder)
    board.add_scalars({"x": 2.0}, 2)
    assert (board.dropped, folder.exists()) == (1, False)
    folder.mkdir()
    clock.now += FIRST_PAUSE_S
    board.add_scalars({"x": 3.0}, 3)
    assert points(folder, "x") == [(3, 3.0)]


def test_f24_no_name_of_somebody_else_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 5.0)
    name = f"events.out.tfevents.5.000000.{socket.gethostname()}.{os.getpid()}"
    (tmp_path / name).symlink_to(tmp_path / "elsewhere")
    board = TensorBoard(tmp_path)
    board.add_scalars({"x": 1.0}, 1)
    assert (board.dropped, os.listdir(tmp_path)) == (1, [name])
