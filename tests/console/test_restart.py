"""Asking a run, from another shell, to replace one of its processes."""

import os

import pytest

from a3c.console.restart import Requests, request, restart_worker
from a3c.errors import StorageError, UsageError

NAMES = ("worker-0", "worker-1", "evaluator")


def test_a_request_is_taken_once(tmp_path):
    request(tmp_path, "worker-0")  # of an earlier start
    requests = Requests(tmp_path)
    request(tmp_path, "worker-1")
    request(tmp_path, "worker-1")
    request(tmp_path, "evaluator")
    assert requests.take(NAMES) == ["evaluator", "worker-1"]
    assert requests.take(NAMES) == []


def test_f47_names_from_outside_are_only_compared(tmp_path):
    requests = Requests(tmp_path)
    for name in ("worker-7", "$(touch y)", "worker-1\n", ".."):
        (tmp_path / f"restart.{name}").touch()
    assert requests.take(NAMES) == []
    assert os.listdir(tmp_path) == []


def test_f80_what_cannot_be_removed_is_ignored_and_said_once(tmp_path, caplog):
    requests = Requests(tmp_path)
    (tmp_path / "restart.aaa").mkdir()
    request(tmp_path, "worker-1")
    assert requests.take(NAMES) == ["worker-1"]
    request(tmp_path, "worker-0")
    assert requests.take(NAMES) == ["worker-0"]
    assert [record.message.partition(" is ignored")[0] for record in caplog.records] == [
        str(tmp_path / "restart.aaa")
    ]


def test_f28_a_folder_that_is_gone(tmp_path):
    assert Requests(tmp_path / "gone").take(NAMES) == []
    with pytest.raises(StorageError):
        request(tmp_path / "gone", "worker-0")


def test_f24_no_link_is_followed(tmp_path):
    (tmp_path / "restart.worker-0").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError):
        request(tmp_path, "worker-0")
    assert not (tmp_path / "elsewhere").exists()


def test_a_run_that_does_not_go_on_is_not_asked(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UsageError, match="is not running"):
        restart_worker([str(tmp_path), "0"])
    assert not list(tmp_path.glob("restart.*"))
