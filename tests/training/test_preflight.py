"""What is said before a run starts on a machine that is too small."""

import logging
from collections import namedtuple

import psutil
import pytest

from a3c.errors import StorageError, UsageError
from a3c.networks.actor_critic import make_network
from a3c.settings.config import build_config
from a3c.stores.scoreboard import Scoreboard
from a3c.stores.shared import StoreMemory
from a3c.training import preflight
from a3c.training.preflight import check_room
from a3c.training.session import Session
from a3c.types import EnvSpec

Usage = namedtuple("Usage", "total used free")
MODEL = {"weight": (1000, 1000)}  # 4 MB, and three moments of AMSGrad


@pytest.fixture
def session(tmp_path):
    config = build_config(("test", {"workers": 2}))
    memory = StoreMemory.allocate(MODEL, config.optim)
    return Session(config, EnvSpec("x", (1,), "float32", 2), tmp_path, memory, Scoreboard(2))


@pytest.fixture
def free(monkeypatch):
    """`free["disk"] = 5e6` and so on; plenty of all else."""
    room = {"disk": 1e12, "shm": 1e12, "memory": 1e12}

    def disk_usage(path):
        return Usage(1e12, 0, room["shm" if str(path) == "/dev/shm" else "disk"])

    monkeypatch.setattr(preflight.shutil, "disk_usage", disk_usage)
    available = namedtuple("Memory", "available")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: available(room["memory"]))
    return room


def test_nothing_is_said_where_there_is_room(session, free, caplog):
    check_room(session)
    assert caplog.text == ""


def test_f29_no_room_in_shared_memory(session, free):
    free["shm"] = 10e6
    with pytest.raises(StorageError, match=r"16\.0 MB of shared memory .* 10\.0 MB free.*--shm-size=80m"):
        check_room(session)


def test_f26_no_room_for_one_checkpoint(session, free):
    free["disk"] = 10e6
    with pytest.raises(StorageError, match=r"a checkpoint takes 16\.0 MB .* 10\.0 MB free.*--run-dir"):
        check_room(session)


@pytest.mark.parametrize(
    ("what", "size", "words"), [("disk", 100e6, "the run wants 130"), ("memory", 1e9, "2 workers")]
)
def test_what_will_soon_be_too_little_is_told(session, free, caplog, what, size, words):
    free[what] = size
    with caplog.at_level(logging.WARNING, "a3c"):
        check_room(session)
    assert words in caplog.text


def test_min_workers_beyond_the_workers_are_refused():
    with pytest.raises(UsageError, match="--min-workers 3 is more than --workers 2"):
        build_config(("command line", {"workers": "2", "min_workers": "3"}))


def test_f29_the_largest_network_fits_into_a_containers_shared_memory():
    """Docker gives 64 MB; what is shared does not grow with the number of workers."""
    network = make_network("a3c-lstm", (1, 80, 80), 18)
    shapes = {name: tuple(p.shape) for name, p in network.named_parameters()}
    assert StoreMemory.allocate(shapes, build_config().optim).size_bytes + Scoreboard(8).size_bytes < 2**26
