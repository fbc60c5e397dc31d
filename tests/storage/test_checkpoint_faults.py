"""Checkpoints under attack: crashes, full disks, damage and malice."""

from __future__ import annotations

import ast
import errno
import hashlib
import io
import json
import os
import pickle
import random
import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from a3c.errors import CheckpointError, StorageError
from a3c.storage.checkpoint import Checkpoint, DamagedCheckpoint, read_checkpoint
from a3c.storage.initial_weights import load_initial_weights
from a3c.storage.package_format import encode_manifest, read_package
from a3c.storage.package_format import folder as package_folder
from a3c.storage.shelf import best_checkpoint, clean, entries, newest_checkpoint, prune, write_checkpoint
from tests.fault_tools import ROOT, WatchedCalls, run_python
from tests.storage.test_run_state import PACKED

FILES = ("model.safetensors", "optimizer.safetensors", "agent.safetensors", "state.json", "MANIFEST.json")


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A disk in memory, where there is one: here the calls matter, and fsync costs nothing there."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory, prefix="a3c-test-") as folder:
        yield Path(folder)


def make(step: int, size: int = 300) -> Checkpoint:
    """A checkpoint whose every part tells its step."""
    tensors = {"w": torch.full((size,), float(step)), "b": torch.arange(3.0) + step}
    return Checkpoint(
        model=tensors,
        optimizer={name: 2 * t for name, t in tensors.items()},
        agent={"rng": torch.full((40,), step % 256, dtype=torch.uint8)},
        state={"env_steps": step, "text": "x" * 50},
    )


def step_of(checkpoint: Checkpoint) -> int:
    """The step of a checkpoint, if all its parts are of the same one."""
    step = int(checkpoint.state["env_steps"])
    for part in ("model", "optimizer", "agent"):
        wanted, found = getattr(make(step), part), getattr(checkpoint, part)
        assert wanted.keys() == found.keys()
        assert all(torch.equal(wanted[name], found[name]) for name in wanted)
    return step


def a_run_so_far(run_dir: Path) -> Path:
    run_dir.mkdir()
    for step in (1, 2, 3):
        write_checkpoint(run_dir, make(step), step)
    write_checkpoint(run_dir, make(2), 2, "best")
    return run_dir


def save_and_prune(run_dir: Path, done: Callable[[str], None]) -> None:
    """What a trainer does in a few minutes; `done` hears of what was promised to be safe."""
    write_checkpoint(run_dir, make(4), 4)
    done("ckpt 4")
    prune(run_dir, 2)
    write_checkpoint(run_dir, make(4), 4, "best")
    done("best 4")
    prune(run_dir, 2)
    write_checkpoint(run_dir, make(4), 4)
    done("ckpt 4 again")
    prune(run_dir, 2)


def assert_whole(run_dir: Path, promised: str) -> None:
    """The old state or the new one can be loaded, without anything damaged in sight."""
    newest, best = newest_checkpoint(run_dir), best_checkpoint(run_dir)
    assert newest is not None
    assert best is not None
    assert step_of(newest[1]) in ((4,) if "ckpt 4" in promised else (3, 4))
    assert step_of(best[1]) in ((4,) if "best 4" in promised else (2, 4))
    assert not [name for name in os.listdir(run_dir) if name.startswith("corrupt-")]


class TestCrashes:
    def test_f20_killed_at_every_system_call(self, tmp_path: Path) -> None:
        """Exhaustive: whichever call is the last, and also in the middle of each write."""
        a_run_so_far(tmp_path / "before")
        run_python(
            "import sys, pathlib, torch; torch.set_num_threads(1);"
            "from tests.fault_tools import die_at_every_call;"
            "from tests.storage.test_checkpoint_faults import save_and_prune;"
            "before, places = map(pathlib.Path, sys.argv[1:]);"
            "die_at_every_call(save_and_prune, before, places); print(0)",
            tmp_path / "before",
            tmp_path / "places",
        )
        crashed = [path for path in (tmp_path / "places").iterdir() if path.is_dir()]
        assert len(crashed) > 120  # calls, and the writes among them again
        for run_dir in crashed:
            promised = Path(f"{run_dir}.done").read_text()
            assert_whole(run_dir, promised)
            clean(run_dir)
            assert not [name for name in os.listdir(run_dir) if name.startswith(".")]
            assert_whole(run_dir, promised)

    def test_f20_a_run_goes_on_after_each_crash(self, tmp_path: Path) -> None:
        run_dir = a_run_so_far(tmp_path / "run")
        for last in range(0, 60, 3):
            with pytest.raises(KeyboardInterrupt), WatchedCalls(_interrupt_at(last)):
                save_and_prune(run_dir, lambda _: None)
            assert_whole(run_dir, "")
        save_and_prune(run_dir, lambda _: None)
        assert_whole(run_dir, "ckpt 4 best 4")
        assert sorted(len(entries(run_dir, kind)) for kind in ("ckpt", "best")) == [1, 2]  # type: ignore[arg-type]

    def test_f20_power_loss_at_every_system_call(self, tmp_path: Path) -> None:
        """The worst a disk may do: names arrive in order, content only by fsync."""
        run_dir = a_run_so_far(tmp_path / "run")
        promised: list[str] = []
        disk = _ForgetfulDisk(run_dir, tmp_path / "after", promised)
        with WatchedCalls(disk.look) as disk.calls:
            save_and_prune(run_dir, promised.append)
        assert len(disk.states) > 60
        for place, promise in disk.states:
            assert_whole(place, promise)

    def test_f20_the_disk_model_sees_a_missing_fsync(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The test above can fail."""
        run_dir = a_run_so_far(tmp_path / "run")
        disk = _ForgetfulDisk(run_dir, tmp_path / "after", [])
        monkeypatch.setattr(os, "fsync", lambda fd: None)
        with WatchedCalls(disk.look) as disk.calls:
            disk.blind = True
            write_checkpoint(run_dir, make(4), 4)
            prune(run_dir, 2)
        damaged = 0
        for place, _ in disk.states:
            try:
                read_checkpoint(place / "ckpt-000000004")
            except DamagedCheckpoint:
                damaged += (place / "ckpt-000000004").exists()
        assert damaged > 0


def _interrupt_at(fatal: int) -> Callable[..., None]:
    def hook(number: int, name: str, args: tuple[Any, ...]) -> None:
        if number == fatal:
            raise KeyboardInterrupt

    return hook


class _ForgetfulDisk:
    """Before each system call, saves what a power loss at this instant would leave: a copy of the run
    in which files without fsync are empty."""

    def __init__(self, run_dir: Path, places: Path, promised: list[str]) -> None:
        self.run_dir, self.places, self.promised = run_dir, places, promised
        self.states: list[tuple[Path, str]] = []
        self.calls: WatchedCalls
        self.blind = False  # fsync does not count
        self._unsafe: set[int] = set()  # inodes
        self._busy = False

    def look(self, number: int, name: str, args: tuple[Any, ...]) -> None:
        if self._busy:
            return
        self._busy = True
        try:
            self._save_state()
        finally:
            self._busy = False
        if name == "write":
            self._unsafe.add(os.fstat(args[0]).st_ino)
        elif name == "fsync" and not self.blind:
            self._unsafe.discard(os.fstat(args[0]).st_ino)

    def _save_state(self) -> None:
        place = self.places / str(len(self.states))
        for folder, _, names in os.walk(self.run_dir):
            copy = place / Path(folder).relative_to(self.run_dir)
            copy.mkdir(parents=True)
            for name in names:
                source = Path(folder, name)
                safe = source.stat().st_ino not in self._unsafe
                (copy / name).write_bytes(source.read_bytes() if safe else b"")
        self.states.append((place, " ".join(self.promised)))


class TestStorage:
    def test_f26_an_error_at_every_system_call(self, tmp_path: Path) -> None:
        """A full disk at any point of a write: told, tidied up, older ones untouched, and the next works."""
        run_dir = a_run_so_far(tmp_path / "run")
        before = sorted(os.listdir(run_dir))
        for failing in range(1000):
            step = 10 + failing
            hook = _fail_once(failing)
            with WatchedCalls(hook) as calls, suppress(StorageError):
                write_checkpoint(run_dir, make(step), step)
            if calls.count <= failing:
                break
            left = sorted(os.listdir(run_dir))
            committed = f"ckpt-{step:09d}"
            assert left in (before, sorted([*before, committed]))  # the latter if only the last fsync failed
            shutil.rmtree(run_dir / committed, ignore_errors=True)
        assert failing > 25
        assert step_of(newest_checkpoint(run_dir)[1]) == step  # type: ignore[index]

    def test_f26_a_disk_that_is_full_and_then_has_room(self, tmp_path: Path) -> None:
        code = """
import json, os, pathlib, sys
from a3c.storage.shelf import newest_checkpoint, write_checkpoint
from a3c.errors import StorageError
from tests.storage.test_checkpoint_faults import make, step_of
disk = pathlib.Path(sys.argv[1])
write_checkpoint(disk, make(1), 1)
ballast = disk / "ballast"
with open(ballast, "wb", buffering=0) as file:
    try:
        while True:
            file.write(bytes(4096))
    except OSError:
        pass
try:
    write_checkpoint(disk, make(2, size=30_000), 2)
    message = "no error"
except StorageError as error:
    message = str(error)
names = sorted(os.listdir(disk))
full = step_of(newest_checkpoint(disk)[1])
ballast.unlink()
write_checkpoint(disk, make(3), 3)
print(json.dumps([message, names, full, step_of(newest_checkpoint(disk)[1])]))
"""
        message, names, full, after = run_python(code, tmp_path, small_disk=tmp_path)
        assert "No space left on device; free some space" in message
        assert names == ["ballast", "ckpt-000000001"]
        assert (full, after) == (1, 3)

    def test_f26_a_limit_on_file_sizes(self, tmp_path: Path) -> None:
        code = """
import json, os, pathlib, resource, sys
from a3c.storage.shelf import newest_checkpoint, write_checkpoint
from a3c.errors import StorageError
from tests.storage.test_checkpoint_faults import make, step_of
run_dir = pathlib.Path(sys.argv[1])
write_checkpoint(run_dir, make(1), 1)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))
try:
    write_checkpoint(run_dir, make(2, size=30_000), 2)
    message = "no error"
except StorageError as error:
    message = str(error)
print(json.dumps([message, sorted(os.listdir(run_dir)), step_of(newest_checkpoint(run_dir)[1])]))
"""
        message, names, newest = run_python(code, tmp_path)
        assert "File too large; raise the limit" in message
        assert (names, newest) == (["ckpt-000000001"], 1)

    def test_f28_vanished(self, tmp_path: Path) -> None:
        with pytest.raises(StorageError, match="it was moved or deleted"):
            write_checkpoint(tmp_path / "gone", make(1), 1)
        with pytest.raises(StorageError, match="it was moved or deleted"):
            prune(tmp_path / "gone", 2)

    def test_f28_a_full_disk_while_pruning(self, tmp_path: Path) -> None:
        run_dir = a_run_so_far(tmp_path / "run")
        for failing in range(30):
            hook = _fail_once(failing, only=("rename", "unlink", "rmdir"))
            with WatchedCalls(hook) as calls, suppress(StorageError):
                prune(run_dir, 1)
            assert step_of(newest_checkpoint(run_dir)[1]) == 3  # type: ignore[index]
            if calls.count < failing:
                break
        clean(run_dir)
        assert sorted(os.listdir(run_dir)) == ["best-000000002", "ckpt-000000003"]


def _fail_once(failing: int, only: tuple[str, ...] = ()) -> Callable[..., None]:
    def hook(number: int, name: str, args: tuple[Any, ...]) -> None:
        if number == failing and (not only or name in only):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return hook


class TestDamage:
    @pytest.fixture
    def folders(self, tmp_path: Path) -> tuple[Path, Path]:
        return write_checkpoint(tmp_path, make(1), 1), write_checkpoint(tmp_path, make(2), 2)

    @pytest.mark.parametrize("name", FILES)
    def test_f21_missing_empty_or_cut(self, folders: tuple[Path, Path], name: str) -> None:
        path = folders[1] / name
        content = path.read_bytes()
        for length in (0, 1, 7, 8, 9, len(content) // 2, len(content) - 1):
            path.write_bytes(content[:length])
            _assert_damaged(folders[1])
        path.unlink()
        _assert_damaged(folders[1])
        found = newest_checkpoint(folders[1].parent)
        assert found is not None
        assert step_of(found[1]) == 1

    def test_f22_five_hundred_corruptions(self, folders: tuple[Path, Path]) -> None:
        for seed in range(500):
            rng = random.Random(seed)
            path = folders[1] / rng.choice(FILES)
            content = path.read_bytes()
            path.write_bytes(_corrupted(content, folders[0] / path.name, rng))
            _assert_damaged(folders[1])
            path.write_bytes(content)
        assert step_of(read_checkpoint(folders[1])) == 2

    def test_f22_every_bit_of_the_manifest(self, folders: tuple[Path, Path]) -> None:
        path = folders[1] / "MANIFEST.json"
        content = path.read_bytes()
        for bit in range(8 * len(content)):
            flipped = bytearray(content)
            flipped[bit // 8] ^= 1 << bit % 8
            path.write_bytes(flipped)
            _assert_damaged(folders[1])

    @pytest.mark.parametrize("size", [1, 2, 3, 4])
    def test_f22_files_of_another_checkpoint(self, folders: tuple[Path, Path], size: int) -> None:
        for name in FILES[:size]:
            shutil.copy(folders[0] / name, folders[1] / name)
        _assert_damaged(folders[1])

    def test_a_whole_copy_is_sound(self, folders: tuple[Path, Path], tmp_path: Path) -> None:
        shutil.copytree(folders[1], tmp_path / "my favourite")
        assert step_of(read_checkpoint(tmp_path / "my favourite")) == 2


def _assert_damaged(path: Path) -> None:
    with pytest.raises(DamagedCheckpoint) as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 500


def _corrupted(content: bytes, other: Path, rng: random.Random) -> bytes:
    while True:
        data = bytearray(content)
        place = rng.randrange(len(data))
        block = slice(place, place + rng.choice((1, 4, 64, 4096)))
        kind = rng.randrange(7)
        if kind == 0:
            data[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[block] = bytes(len(data[block]))
        elif kind == 2:
            data[block] = rng.randbytes(len(data[block]))
        elif kind == 3:
            del data[block]
        elif kind == 4:
            data[place:place] = data[block]
        elif kind == 5:
            data += rng.randbytes(rng.randrange(1, 100))
        else:
            data = bytearray(other.read_bytes())
        if data != content:
            return bytes(data)


def reseal(path: Path, change: Callable[[dict[str, Any]], None] = lambda manifest: None) -> None:
    """Makes the manifest fit the files again, as somebody with bad intentions would, after `change`."""
    manifest = json.loads((path / "MANIFEST.json").read_bytes())
    manifest.pop("sha256", None)  # older packages have none
    for name, entry in manifest["files"].items():
        content = (path / name).read_bytes() if (path / name).stat().st_size < 2**22 else b""
        entry.update(bytes=(path / name).stat().st_size, sha256=hashlib.sha256(content).hexdigest())
    change(manifest)
    text = (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode()
    manifest["sha256"] = hashlib.sha256(text).hexdigest()
    (path / "MANIFEST.json").write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")


class Canary:
    """An object whose unpickling creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


class TestMalice:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return write_checkpoint(tmp_path, make(1), 1)

    def test_the_forger_of_these_tests_can_forge(self, path: Path) -> None:
        (path / "state.json").write_text('{"env_steps": 1, "schema": 1}')
        _assert_damaged(path)
        reseal(path)
        assert step_of(read_checkpoint(path)) == 1

    @pytest.mark.parametrize(
        "name",
        [
            "../../secret",
            "/etc/passwd",
            "..",
            ".",
            "",
            "a/b",
            "model.safetensors\0",
            "MANIFEST.json",
            "extra.bin",
        ],
    )
    def test_f24_a_manifest_that_names_other_files(self, path: Path, name: str) -> None:
        reseal(path, lambda manifest: manifest["files"].update({name: {"bytes": 1, "sha256": "0" * 64}}))
        _assert_damaged(path)

    @pytest.mark.parametrize(
        "change",
        [
            lambda m: m.update(files=[]),
            lambda m: m.update(files={}),
            lambda m: m["files"].pop("state.json"),
            lambda m: m["files"].pop("model.safetensors"),
            lambda m: m["files"].update({"state.json": None}),
            lambda m: m["files"]["state.json"].update(bytes="1"),
            lambda m: m["files"]["state.json"].pop("sha256"),
            lambda m: m["files"]["model.safetensors"].update(bytes=10**30),
            lambda m: m.update(format="other"),
            lambda m: m.update(schema=None),
            lambda m: m.pop("schema"),
        ],
    )
    def test_f24_a_manifest_of_another_form(self, path: Path, change: Callable[[Any], None]) -> None:
        reseal(path, change)
        _assert_damaged(path)

    @pytest.mark.parametrize("content", [b"[]", b"{}", b'{"schema": 2}', b"null", b"\xff", b'{"schema": 1}}'])
    def test_f24_a_state_of_another_form(self, path: Path, content: bytes) -> None:
        (path / "state.json").write_bytes(content)
        reseal(path)
        _assert_damaged(path)

    def test_f25_a_newer_layout_is_refused_but_not_set_aside(self, path: Path) -> None:
        write_checkpoint(path.parent, make(2), 2)
        newer = path.parent / "ckpt-000000002"
        reseal(newer, lambda manifest: manifest.update(schema=2))
        with pytest.raises(CheckpointError, match="layout 2 and this version reads up to 1") as caught:
            newest_checkpoint(path.parent)
        assert not isinstance(caught.value, DamagedCheckpoint)
        assert newer.exists()

    def test_f31_forged_weights_that_are_not_finite(self, path: Path) -> None:
        data = (path / "model.safetensors").read_bytes()
        (path / "model.safetensors").write_bytes(data[:-4] + b"\x00\x00\xc0\x7f")
        reseal(path)
        _assert_damaged(path)

    @pytest.mark.parametrize("name", FILES)
    def test_f24_links_and_pipes_are_not_followed(self, path: Path, name: str, tmp_path: Path) -> None:
        kept = tmp_path / "kept"
        (path / name).rename(kept)
        for target in (kept, "/dev/zero"):
            (path / name).symlink_to(target)
            _assert_damaged(path)
            (path / name).unlink()
        os.mkfifo(path / name)
        _assert_damaged(path)
        (path / name).unlink()
        (path / name).mkdir()
        _assert_damaged(path)

    def test_f24_a_link_in_the_place_of_a_checkpoint(self, path: Path, tmp_path: Path) -> None:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        target = write_checkpoint(elsewhere, make(9), 9)
        (tmp_path / "ckpt-000000009").symlink_to(target)
        found = newest_checkpoint(tmp_path)
        assert found is not None
        assert step_of(found[1]) == 1
        assert (tmp_path / "corrupt-ckpt-000000009").is_symlink()
        assert target.exists()

    @pytest.mark.parametrize("name", ["w.pt", "w.pth", "w.safetensors", "w.npz", "w.bin", "w"])
    @pytest.mark.parametrize("form", ["pickle", "torch", "legacy", "nested"])
    def test_f24_pickles_run_nothing(self, tmp_path: Path, name: str, form: str) -> None:
        canary = tmp_path / "canary"
        evil: Any = Canary(canary)
        if form == "pickle":
            (tmp_path / name).write_bytes(pickle.dumps(evil))
        else:
            content = {"state_dict": {"a": torch.zeros(1), "b": evil}} if form == "nested" else evil
            torch.save(content, tmp_path / name, _use_new_zipfile_serialization=form != "legacy")
        with pytest.raises(CheckpointError, match="holds no weights") as caught:
            load_initial_weights(tmp_path / name, {}, {})
        assert not canary.exists()
        assert "weights_only" not in str(caught.value)

    def test_f24_pickles_in_a_checkpoint_run_nothing(self, path: Path, tmp_path: Path) -> None:
        for name in FILES[:4]:
            content = (path / name).read_bytes()
            (path / name).write_bytes(pickle.dumps(Canary(tmp_path / "canary")))
            reseal(path)
            _assert_damaged(path)
            (path / name).write_bytes(content)
        assert not (tmp_path / "canary").exists()


FORBIDDEN_CALLS = {"eval", "exec", "os.system", "os.popen", "yaml.load", "marshal.loads"} | {
    f"{module}.{name}"
    for module in ("pickle", "cloudpickle", "dill", "joblib", "shelve")
    for name in ("load", "loads", "open", "Unpickler")
}
FORBIDDEN_ARGUMENTS = {("weights_only", False), ("allow_pickle", True), ("shell", True)}


def test_f24_no_code_of_ours_runs_what_it_reads() -> None:
    sources = [*ROOT.glob("*.py"), *(ROOT / "a3c").rglob("*.py"), *(ROOT / "evaluators").rglob("*.py")]
    assert len(sources) > 10
    for source in sources:
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.Call):
                arguments = {
                    (k.arg, k.value.value) for k in node.keywords if isinstance(k.value, ast.Constant)
                }
                assert ast.unparse(node.func) not in FORBIDDEN_CALLS, f"{source}:{node.lineno}"
                assert not arguments & FORBIDDEN_ARGUMENTS, f"{source}:{node.lineno}"


def bombs(folder: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    """Things that would eat time or memory: a name, and what a user would do with it."""

    def forged(name: str, content: bytes, size: int = 0) -> Callable[[], object]:
        path = write_checkpoint(folder, make(1), 1)
        (path / name).write_bytes(content)
        if size:
            os.truncate(path / name, size)
        if name != "MANIFEST.json":
            reseal(path)
        return lambda: read_checkpoint(path)

    def weights(name: str, content: bytes, size: int = 0) -> Callable[[], object]:
        (folder / name).write_bytes(content)
        if size:
            os.truncate(folder / name, size)
        return lambda: load_initial_weights(folder / name, {}, {})

    huge = 50 * 2**30  # sparse: takes no room on the disk
    deep = b"[" * 2_000_000
    header = {"w": {"dtype": "F32", "shape": [2**60], "data_offsets": [0, 2**62]}}
    claims = json.dumps(header).encode()
    yield "huge manifest", forged("MANIFEST.json", b"{", huge)
    yield "deep manifest", forged("MANIFEST.json", b"[" * 60_000)
    yield "huge state", forged("state.json", b"{", huge)
    yield "deep state", forged("state.json", deep)
    yield "wide state", forged("state.json", b"[" + b"{}," * 690_000 + b"0]")
    yield "long number", forged("state.json", b'{"a": ' + b"9" * 1_000_000 + b"}")
    for name, load in (("model.safetensors", forged), ("w.safetensors", weights)):
        yield f"huge {name}", load(name, b"", huge)
        yield f"huge {name} with a small header", load(name, (2).to_bytes(8, "little") + b"{}", 2**30)
        yield f"header length of {name}", load(name, b"\xff" * 8 + b"{}")
        yield f"large header of {name}", load(name, (10**8).to_bytes(8, "little") + b"{", 10**8 + 8)
        yield f"deep header of {name}", load(name, (900_000).to_bytes(8, "little") + deep[:900_000])
        yield f"claims of {name}", load(name, len(claims).to_bytes(8, "little") + claims)
    yield "huge torch file", weights("w.pt", b"PK\x03\x04", huge)
    yield "zip bomb", weights("w.pt", zip_bomb())
    yield "expanded tensor", weights("w.pt", saved_by_torch({"w": torch.zeros(1).expand(2**40)}))
    deep_pickle = b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."
    yield "deep pickle", weights("w.pt", deep_pickle)
    yield "large pickle", weights("w.pt", saved_by_torch({"w": "x" * 2_000_000}))
    yield "large bytearray", weights("w.pt", BYTEARRAY)
    yield "bytearray in an archive", weights("w.pt", archive_of(BYTEARRAY))
    yield "claims of a storage", weights("w.pt", archive_of(claiming_storage()))
    yield "claims of an old storage", weights("w.pt", old_file_of(claiming_storage()))
    for form in (archive_of, old_file_of):
        yield f"key without end, {form.__name__}", weights("w.pt", form(KEY_WITHOUT_END))
        yield (
            f"enormous shape, {form.__name__}",
            weights("w.pt", form(tensors_in(b"0", size=b"\x8a\xff" + 255 * b"\x7f"))),
        )
    for name, pickled in MULTIPLIED.items():
        yield f"{name}, multiplied", weights("w.pt", archive_of(pickled))
    table = many_records(16, 65_535)
    yield "long entries of records", weights("w.pt", table)
    yield "one record under many names", weights("w.pt", under_many_names(10_000_000))
    yield (
        "many tensors of one record",
        weights("w.pt", saved_by_torch(dict.fromkeys(map(str, range(400)), torch.zeros(10**6)))),
    )
    yield "many records", weights("w.pt", many_records(200_000))
    package = folder / "package"
    package.mkdir()
    large = (60_000_000).to_bytes(8, "little") + b" " * 60_000_000
    (package / "model.safetensors").write_bytes(large)
    config = json.dumps({"format": "a3c-agent", "schema": 1, **PACKED}).encode()
    files = {"config.json": config, "model.safetensors": large}
    (package / "config.json").write_bytes(config)
    (package / "MANIFEST.json").write_bytes(encode_manifest(files))
    yield "large header in a package", lambda: read_package(package_folder(package), str(package))
    os.mkfifo(folder / "pipe.pt")
    yield "pipe", lambda: load_initial_weights(folder / "pipe.pt", {}, {})
    yield "device", lambda: load_initial_weights(Path("/dev/zero"), {}, {})


BYTEARRAY = b"\x80\x02cbuiltins\nbytearray\n\x8a\x05\x00\x00\x00\x00\x10\x85R."


KEY_WITHOUT_END = b"\x80\x02}(K\x01q\x00" + b"h\x00h\x00\x86q\x00" * 60 + b"h\x00K\x01u."
"""A dictionary whose key is a pair of twice a pair of twice a pair of ...: to hash it takes 2**60 steps."""


def tensors_in(*keys: bytes, size: bytes = b"K\x07") -> bytes:
    """The pickle of a dictionary with a tensor of each storage of float32."""
    text = {word: b"X" + len(word).to_bytes(4, "little") + word for word in (*keys, b"storage", b"cpu")}
    pickled = b"\x80\x02}("
    for key in keys:
        storage = b"(" + text[b"storage"] + b"ctorch\nFloatStorage\n" + text[key] + text[b"cpu"] + b"K\x07tQ"
        shape = b"K\x00" + size + b"\x85K\x01\x85\x89}"
        pickled += text[key] + b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + shape + b"tR"
    return pickled + b"u."


def under_many_names(size: int) -> bytes:
    """A file with one large record, which its pickle names in 400 ways that differ in their case."""
    buffer, letters = io.BytesIO(), b"abcdefghi"
    names = [bytes(c ^ (0x20 if n >> i & 1 else 0) for i, c in enumerate(letters)) for n in range(400)]
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("w/data.pkl", tensors_in(*names))
        archive.writestr(f"w/data/{letters.decode()}", bytes(size))
    return buffer.getvalue()


_NUMBERS = b"".join(b"M" + n.to_bytes(2, "little") for n in range(2**14))
MULTIPLIED = {
    "dictionaries of one list": b"\x80\x02ccollections\nOrderedDict\nq\x00]q\x01("
    + b"".join(b"M" + n.to_bytes(2, "little") + b"K\x00\x86" for n in range(2**13))
    + b"e\x85q\x02]("
    + b"h\x00h\x02R" * 2**15
    + b"e.",
    "calls with one tuple": b"\x80\x02ctorch\nSize\nq\x00("
    + _NUMBERS
    + b"tq\x01]("
    + b"h\x00h\x01R" * 2**15
    + b"e.",
    "storages of one tuple": b"\x80\x02(" + _NUMBERS + b"tq\x01](" + b"h\x01Q" * 2**15 + b"e.",
}
"""Few instructions that would copy one large thing again and again."""


def many_records(count: int, extra: int = 0) -> bytes:
    """An archive that has nothing but a table of contents."""
    lengths = b"\x01\x00" + extra.to_bytes(2, "little")
    table = (b"PK\x01\x02" + bytes(24) + lengths + bytes(14) + b"a" + bytes(extra)) * count
    return table + b"PK\x05\x06" + bytes(8) + len(table).to_bytes(4, "little") + bytes(6)


def claiming_storage() -> bytes:
    """The pickle of a tensor whose storage says to have 2**36 numbers."""
    return pickle_of(saved_by_torch({"w": torch.zeros(7)})).replace(
        b"K\x07tq", b"\x8a\x05\x00\x00\x00\x00\x10tq", 1
    )


def pickle_of(archive: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        return file.read(next(name for name in file.namelist() if name.endswith("data.pkl")))


def archive_of(pickled: bytes) -> bytes:
    """A file as torch writes it, with another pickle."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(saved_by_torch({"w": torch.zeros(7)}))) as old,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, pickled if name.endswith("data.pkl") else old.read(name))
    return buffer.getvalue()


def old_file_of(pickled: bytes) -> bytes:
    """The same in the format of before torch 1.6."""
    buffer = io.BytesIO()
    torch.save({"w": torch.zeros(7)}, buffer, _use_new_zipfile_serialization=False)
    numbers = buffer.getvalue().partition(b"ccollections\n")[0]
    return numbers + pickled + pickle.dumps(["0"], 2)


def saved_by_torch(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def zip_bomb() -> bytes:
    """A file as torch writes it, but with compressed records: 300 kB that unfold to 300 MB."""
    model = saved_by_torch({"w": torch.zeros(3)})
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(model)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        for record in old.infolist():
            is_data = "/data/" in record.filename
            new.writestr(record.filename, bytes(300_000_000) if is_data else old.read(record))
    return buffer.getvalue()


def measure_bombs(folder: Path) -> list[tuple[str, str, float, float]]:
    """For each: its name, what came out, seconds of processor time, and most megabytes of memory taken."""
    results = []
    for name, load in bombs(folder):
        Path("/proc/self/clear_refs").write_text("5")  # forget the highest use so far
        before, start = _memory_mb("VmRSS"), time.process_time()
        try:
            load()
            outcome = "loaded"
        except CheckpointError as error:
            outcome = str(error)
        except BaseException as error:
            outcome = f"{type(error).__name__} {error}"[:200]
        results.append((name, outcome, time.process_time() - start, _memory_mb("VmHWM") - before))
    return results


def _memory_mb(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def test_f23_bombs_cost_neither_time_nor_memory(tmp_path: Path) -> None:
    results = run_python(
        "import json, sys, pathlib, torch; torch.set_num_threads(1);"
        "from tests.storage.test_checkpoint_faults import measure_bombs;"
        "print(json.dumps(measure_bombs(pathlib.Path(sys.argv[1]))))",
        tmp_path,
    )
    assert len(results) == 41
    for name, outcome, seconds, megabytes in results:
        assert outcome.startswith(("checkpoint ", "cannot read", "/")), (name, outcome)
        assert outcome != "loaded", name
        assert seconds < 10, name
        assert megabytes < 100, name
