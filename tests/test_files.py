"""F80, F91: no link is followed, no pipe is waited for, nobody else's file is written; and it is said so."""

from __future__ import annotations

import os
import shutil
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from a3c.cli import main
from a3c.files import ForeignFile, make_folder, open_file, open_folder

ROOT = Path(__file__).parents[1]
CREATE = os.O_WRONLY | os.O_CREAT
WAYS = [os.O_RDONLY, os.O_RDWR, CREATE, CREATE | os.O_TRUNC, CREATE | os.O_APPEND]


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    path = tmp_path / "precious"
    path.write_text("precious")
    return path


@pytest.mark.parametrize("flags", WAYS)
@pytest.mark.parametrize("kind", ["link", "dangling", "pipe", "device", "socket", "folder"])
def test_f80_only_regular_files_are_opened(tmp_path: Path, precious: Path, kind: str, flags: int) -> None:
    path = tmp_path / "x"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
    elif kind == "folder":
        path.mkdir()
    else:
        target = {"link": precious, "dangling": tmp_path / "nothing", "device": Path("/dev/zero")}[kind]
        path.symlink_to(target)
    with pytest.raises(ForeignFile, match=r"it is (a link, which is not followed|not a regular file)"):
        open_file(path, flags)
    assert precious.read_text() == "precious"
    assert not (tmp_path / "nothing").exists()


def test_f80_a_pipe_that_somebody_reads_is_none_either(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x")
    reader = os.open(tmp_path / "x", os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(ForeignFile, match="not a regular file"):
        open_file(tmp_path / "x", CREATE)
    os.close(reader)


@pytest.mark.parametrize("flags", WAYS)
def test_f80_a_file_with_two_names_is_only_read(tmp_path: Path, precious: Path, flags: int) -> None:
    (tmp_path / "x").hardlink_to(precious)
    if flags == os.O_RDONLY:
        os.close(open_file(tmp_path / "x"))
        return
    with pytest.raises(ForeignFile, match="another name elsewhere"):
        open_file(tmp_path / "x", flags)
    assert precious.read_text() == "precious"


def test_f80_the_folder_may_be_no_link_either(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "logs").symlink_to("elsewhere")
    for attempt in (
        lambda: open_file("x", CREATE, tmp_path / "logs"),
        lambda: open_folder(tmp_path / "logs"),
        lambda: make_folder(tmp_path / "logs"),
    ):
        with pytest.raises(ForeignFile, match="a link, which is not followed"):
            attempt()
    assert os.listdir(tmp_path / "elsewhere") == []
    os.close(open_folder(tmp_path / "logs", links=True))


@pytest.mark.parametrize("umask", [0, 0o777])
def test_f80_modes_are_chosen(tmp_path: Path, umask: int) -> None:
    old = os.umask(umask)
    try:
        os.close(open_file(tmp_path / "x", CREATE))
        make_folder(tmp_path / "folder")
    finally:
        os.umask(old)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o700
    (tmp_path / "x").chmod(0o640)  # what its owner decided stays so
    os.close(open_file(tmp_path / "x", CREATE))
    make_folder(tmp_path / "folder")
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o640


def test_writes_where_it_should(tmp_path: Path) -> None:
    for flags, text in ((CREATE, b"one"), (CREATE | os.O_APPEND, b"two"), (CREATE | os.O_TRUNC, b"three")):
        fd = open_file("x", flags, tmp_path)
        os.write(fd, text)
        assert not os.get_inheritable(fd)
        os.close(fd)
    assert (tmp_path / "x").read_bytes() == b"three"
    with pytest.raises(FileExistsError):
        open_file(tmp_path / "x", CREATE | os.O_EXCL)
    with pytest.raises(FileNotFoundError):
        open_file(tmp_path / "none")


OTHER_KINDS: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "folder": os.mkdir,
    "socket": lambda path: os.mknod(path, stat.S_IFSOCK | 0o600),
}
READERS = {
    "status.json": ["status", "."],
    "metrics.jsonl": ["plot", ".", "--out", "curve.png"],
    "config.json": ["run", "--load", ".", "--dry-run"],
}


@pytest.mark.parametrize("kind", OTHER_KINDS)
@pytest.mark.parametrize("name", READERS)
def test_f91_what_is_no_file_is_said_to_be_none(
    name: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(ROOT / "tests" / "data" / "written-by-0.1" / "CartPole-v1-ppo", tmp_path / "run")
    monkeypatch.chdir(run)
    (run / name).unlink()
    OTHER_KINDS[kind](Path(name))
    assert main(READERS[name]) == 6
    [line] = capsys.readouterr().err.splitlines()
    assert name in line
    assert "it is not a regular file" in line
