"""F84: whatever is in a run's or a package's files, every reader gives an answer, or an error of one line.

Files that version 0.1 wrote are changed in type, size and structure; where a manifest protects them, it is
made to fit again, as somebody with bad intentions would.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from a3c.cli import main
from a3c.errors import A3CError
from a3c.storage.find_run import choose_config
from a3c.storage.open_run import open_run
from a3c.storage.tensor_files import decode_tensors, encode_tensors
from a3c.trained.find import find_trained, rebuild
from a3c.training.session import open_session
from evaluators.curves.points import read_curves
from evaluators.process.logs import RunLogs
from tests.storage.test_checkpoint_faults import reseal

WRITTEN = Path(__file__).parent / "data" / "written-by-0.1"
RUNS = {"ppo": ("CartPole-v1-ppo", 20267), "table": ("FrozenLake-v1-q-learning", 20001)}
ONE_TURN = ["--workers", "0", "--max-steps", "1", "--eval-every", "0"]
LONGEST_S, LARGEST_MB = 20.0, 300.0

VALUES: list[Any] = [
    None, True, -1, 0, 10**30, 1e308, math.nan, math.inf, "", "x", "\x1b]0;x\x07", "a" * 10_000, "../../x",
    [], {}, [[[[[]]]]], {"a": {"b": []}}, [0] * 10_000, "payload:CartPole-v1",
]  # fmt: skip
TENSORS: list[Callable[[dict[str, torch.Tensor]], object]] = [
    lambda tensors: tensors.clear(),
    lambda tensors: tensors.pop(next(iter(tensors))),
    lambda tensors: tensors.update(extra=torch.zeros(3)),
    lambda tensors: tensors.update({next(iter(tensors)): torch.zeros(())}),
    lambda tensors: tensors.update({next(iter(tensors)): torch.zeros(0, 7)}),
    lambda tensors: tensors.update({next(iter(tensors)): torch.full((2, 3), math.inf)}),
    lambda tensors: tensors.update({name: t.to(torch.int8) for name, t in tensors.items()}),
    lambda tensors: tensors.update({name: t.flatten() for name, t in tensors.items()}),
    lambda tensors: tensors.update({"\x1b[2J": torch.zeros(1)}),
    lambda tensors: tensors.update(large=torch.zeros(1_000_000)),
]


def change_json(value: Any, rng: random.Random) -> Any:
    """The value with one part of it replaced, removed, renamed or doubled."""
    places = list(_places(value))
    if not places:
        return rng.choice(VALUES)
    parent, key = rng.choice(places)
    kind = rng.randrange(4)
    if kind == 0 or isinstance(parent, list):
        parent[key] = rng.choice(VALUES)
    elif kind == 1:
        del parent[key]
    elif kind == 2:
        parent[rng.choice(["x", "\x1b[31m", "", key + key])] = parent.pop(key)
    else:
        parent[key] = [parent[key]] * rng.choice([2, 1000])
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def change_bytes(data: bytes, rng: random.Random) -> bytes:
    """The bytes with a part of them cut, changed, doubled or put in."""
    place, length = rng.randrange(len(data) + 1), rng.choice([1, 8, 100, 10_000])
    middle = rng.choice([b"", rng.randbytes(length), data[place : place + length] * 3, b"[" * length])
    return data[:place] + middle + data[place + rng.choice([0, length]) :]


def change_file(path: Path, rng: random.Random) -> None:
    data = path.read_bytes()
    if path.suffix == ".safetensors" and rng.random() < 0.7 and (tensors := decode_tensors(data)):
        rng.choice(TENSORS)(tensors)
        path.write_bytes(encode_tensors(tensors))
    elif path.suffix == ".jsonl" and rng.random() < 0.8:
        rows = [json.loads(line) for line in data.splitlines()]
        rows[rng.randrange(len(rows))] = change_json(rng.choice(rows), rng)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".json" and rng.random() < 0.8:
        path.write_text(json.dumps(change_json(json.loads(data), rng)))
    else:
        path.write_bytes(change_bytes(data, rng))


def change_folder(folder: Path, rng: random.Random) -> None:
    """Changes one to three files, and half of the times has their manifests fit again."""
    kinds = (".json", ".jsonl", ".safetensors")
    files = sorted(path for path in folder.rglob("*") if path.suffix in kinds and path.name != "results.json")
    for path in rng.choices(files, k=rng.choice([1, 1, 2, 3])):
        with contextlib.suppress(
            ValueError, KeyError, AttributeError, IndexError
        ):  # of what is changed already
            change_file(path, rng)
    if rng.random() < 0.7:
        for path in folder.rglob("MANIFEST.json"):
            with contextlib.suppress(
                ValueError, KeyError, AttributeError, TypeError, OSError, RecursionError
            ):
                reseal(path.parent)


def play(which: str) -> None:
    rebuild(find_trained(which), "", 1, "cpu", greedy=False)


def resume(run: Path) -> None:
    config = choose_config(run.parent, {"load": str(run)})
    if config.run.load and (config.run.workers or 0) <= 4:  # what a start would see before it begins
        with open_run(run.parent, config, ["run.py"]) as folder:
            open_session(config, folder)


def go_on_logging(run: Path) -> None:
    warnings: list[str] = []
    RunLogs(run, 1000, warnings.append).close()


READERS: dict[str, Callable[[Path], object]] = {
    "status": lambda run: main(["status", str(run)]),
    "stop": lambda run: main(["stop", str(run)]),
    "newest": lambda run: main(["status"]),
    "list": lambda run: main(["list"]),
    "play": lambda run: play(str(run)),
    "play newest": lambda run: play("newest"),
    "resume": resume,
    "train": lambda run: main(["run", "--load", str(run), *ONE_TURN]),
    "curves": read_curves,
    "logs": go_on_logging,
}


def ask(reader: Callable[[Path], object], path: Path) -> None:
    """Fails when the reader answers with anything but a result or an error for users."""
    _forget_peak()
    before, begin = _memory_mb("VmRSS"), time.process_time()
    with tempfile.TemporaryFile("w+") as output:  # a real one: some of them want its descriptor
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            error = _answer(reader, path)
        output.seek(0)
        said = output.read() + error
    assert said.replace("\n", "").isprintable(), said
    assert "Traceback" not in said
    assert "internal error" not in said
    assert len(error) < 5000
    assert time.process_time() - begin < LONGEST_S
    assert _memory_mb("VmHWM") - before < LARGEST_MB


def _answer(reader: Callable[[Path], object], path: Path) -> str:
    """The words of the error for users, if it is one."""
    try:
        code = reader(path)
    except A3CError as error:
        return str(error)
    assert not isinstance(code, int) or code in range(8)
    return ""


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _memory_mb(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def fuzz(seed: int) -> None:
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="a3c-fuzz-") as place, contextlib.chdir(place):
        if rng.random() < 0.2:
            package = Path(shutil.copytree(WRITTEN / "package", Path(place, "package")))
            change_folder(package, rng)
            ask(lambda path: play(str(path)), package)
            return
        name, _ = RUNS[rng.choice(list(RUNS))]
        run = Path(shutil.copytree(WRITTEN / name, Path(place, "checkpoints", name)))
        change_folder(run, rng)
        for reader in rng.sample(list(READERS.values()), 3):
            ask(reader, run)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32))
def test_f84_readers_of_changed_files_answer_in_one_line(seed: int) -> None:
    fuzz(seed)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_f84_readers_of_two_thousand_changed_files_answer_in_one_line() -> None:
    for seed in range(2000):
        try:
            fuzz(seed)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise


def test_f84_the_files_without_a_change_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests above can fail: here every reader has a result."""
    monkeypatch.chdir(tmp_path)
    for name, _ in RUNS.values():
        run = Path(shutil.copytree(WRITTEN / name, tmp_path / "checkpoints" / name))
        for reader in READERS.values():
            assert reader(run) in (None, 0) or isinstance(reader(run), object)
    play(str(WRITTEN / "package"))
    assert os.listdir(tmp_path) == ["checkpoints"]
