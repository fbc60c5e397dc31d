"""`a3c doctor`: what it says of this machine, and of machines with something missing."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator

import pytest

from a3c.cli import main
from a3c.console import doctor as d


def test_this_machine_has_no_blocker(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["doctor"])
    lines = capsys.readouterr().out.splitlines()
    assert code == 0, lines
    for name in d.CHECKS:
        assert any(line[6:].startswith(name) for line in lines), name


def test_a_blocker_names_its_fix_and_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> Iterator[d.Finding]:
        yield d.Finding(d.OK, "half of it works")
        raise RuntimeError("ROM is\nmissing")

    monkeypatch.setattr(d, "CHECKS", {"emulator": broken})
    assert main(["doctor"]) == 2
    assert capsys.readouterr().out.splitlines() == [
        "ok    emulator       half of it works",
        "FAIL  emulator       RuntimeError: ROM is missing; reinstall with: make setup",
    ]


def findings(name: str) -> list[d.Finding]:
    return list(d.CHECKS[name]())


def test_missing_and_old_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"a3c": "1.0", "torch": "2.9.1", "numpy": "2.4"}
    needed = ["torch>=2.10", "numpy>=1", "nonesuch", "ruff; extra == 'dev'"]
    monkeypatch.setattr(d, "_version", lambda name: versions.get(name, ""))
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: needed)
    assert [(f.level, f.text) for f in findings("packages")] == [
        ("FAIL", "torch 2.9.1 is not >=2.10"),
        ("FAIL", "nonesuch is missing"),
        ("ok", "numpy 2.4"),
    ]


def test_packages_of_a_checkout_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(d, "_version", lambda name: "")
    assert [f.level for f in findings("packages")] == ["warn"]


def test_opencv_without_windows_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"a3c": "1.0", "opencv-python-headless": "4.12"}
    monkeypatch.setattr(d, "_version", lambda name: versions.get(name, ""))
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: ["opencv-python>=4.9"])
    assert [f.level for f in findings("packages")] == ["ok"]


def test_few_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda kind: (256, 4096))
    expected = d.Finding("warn", "limit 256, at most 4096", "raise it with: ulimit -n 1024")
    assert findings("open files") == [expected]


def test_a_small_shared_memory_and_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 2**20, "total": 2**26})
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage)
    assert [f.level for f in findings("shared memory") + findings("disk")] == ["warn", "warn"]
    assert "--shm-size" in findings("shared memory")[0].fix


def test_a_folder_that_cannot_be_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert findings("disk")[0].level == "FAIL"


def test_gpus_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    properties = type("Properties", (), {"name": "Fast One", "total_memory": 8 * 2**30})
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda gpu: properties)
    assert [f.text for f in findings("gpus")[:2]] == ["0: Fast One, 8.0 GiB", "1: Fast One, 8.0 GiB"]


@pytest.mark.parametrize(("runs", "level"), [(False, "warn"), (True, "ok")])
def test_mps_belongs_to_a_gpu(runs: bool, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(d, "mps_runs", lambda: runs)
    properties = type("Properties", (), {"name": "Fast One", "total_memory": 8 * 2**30})
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda gpu: properties)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    found = findings("gpus")[-1]
    assert (found.level, "MPS" in found.text) == (level, True)
    assert ("nvidia-cuda-mps-control -d" in found.fix) != runs
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert not any("MPS" in f.text for f in findings("gpus"))
