"""Status, settings and metrics on disk: always readable, and never a reason to stop."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from a3c.storage.records import JsonLines, read_json, read_json_lines, write_json
from a3c.storage.sinks import FIRST_PAUSE_S
from tests.fault_tools import WatchedCalls, run_python


class TestJson:
    def test_round_trip(self, tmp_path: Path) -> None:
        value = {"a": [1, 2.5, None, True], "b": {"c": "ü"}, "d": (1, 2)}
        write_json(tmp_path / "x.json", value)
        assert read_json(tmp_path / "x.json") == {**value, "d": [1, 2]}
        assert os.listdir(tmp_path) == ["x.json"]

    def test_numbers_of_any_kind(self, tmp_path: Path) -> None:
        value = {
            "nan": float("nan"),
            "list": [float("inf"), 1.0],
            "f32": np.float32(0.5),
            "i64": np.int64(3),
            "bad": np.float32("nan"),
            5: True,
        }
        write_json(tmp_path / "x.json", value)
        expected = {"nan": None, "list": [None, 1.0], "f32": 0.5, "i64": 3, "bad": None, "5": True}
        assert read_json(tmp_path / "x.json") == expected

    @pytest.mark.parametrize(
        "content",
        [
            "", "{", "[]", "null", "[" * 100_000, "\x00", '{"a": ' + "9" * 5000 + "}",
            '{"a": 1' + "0" * 400 + "}", '{"a": -1e999}', '{"a": ' * 40 + "1" + "}" * 40,
        ],
    )  # fmt: skip
    def test_f83_refuses_anything_else(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "x.json").write_text(content)
        with pytest.raises(ValueError, match=r"\S"):
            read_json(tmp_path / "x.json")

    def test_takes_what_the_state_of_a_random_generator_says(self, tmp_path: Path) -> None:
        state = np.random.PCG64(3).state
        write_json(tmp_path / "x.json", state)
        assert read_json(tmp_path / "x.json") == state

    def test_f24_follows_no_link_and_reads_no_pipe(self, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to("/dev/zero")
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(OSError, match="a link, which is not followed"):
            read_json(tmp_path / "link")
        with pytest.raises(OSError, match="not a regular file"):
            read_json(tmp_path / "pipe")

    @pytest.mark.parametrize("kind", ["link", "hard link", "pipe"])
    def test_f80_writing_goes_through_no_link_and_waits_for_no_pipe(self, tmp_path: Path, kind: str) -> None:
        (tmp_path / "elsewhere").write_text("precious")
        for path in (tmp_path / "x.json", tmp_path / ".x.json.tmp"):
            if kind == "link":
                path.symlink_to(tmp_path / "elsewhere")
            elif kind == "pipe":
                os.mkfifo(path)
            else:
                path.hardlink_to(tmp_path / "elsewhere")
        write_json(tmp_path / "x.json", {"a": 1})
        assert (tmp_path / "elsewhere").read_text() == "precious"
        assert read_json(tmp_path / "x.json") == {"a": 1}

    @pytest.mark.parametrize("durable", [True, False])
    def test_f20_the_old_or_the_new_at_every_system_call(self, tmp_path: Path, durable: bool) -> None:
        for failing in range(30):
            write_json(tmp_path / "x.json", {"value": "old"})

            def hook(number: int, name: str, args: object, failing: int = failing) -> None:
                if number == failing:
                    raise OSError(28, "No space left on device")

            with WatchedCalls(hook) as calls:
                try:
                    write_json(tmp_path / "x.json", {"value": "new"}, durable=durable)
                except OSError:
                    assert failing < calls.count
            assert read_json(tmp_path / "x.json")["value"] in ("old", "new")
            assert os.listdir(tmp_path) == ["x.json"]
            if calls.count <= failing:
                break
        assert failing == (7 if durable else 4)  # all calls were tried


def append_many(path: str, writer: int) -> None:
    lines = JsonLines(Path(path))
    for i in range(200):
        assert lines.append({"writer": writer, "i": i, "text": "x" * 100})


class TestJsonLines:
    def test_appends(self, tmp_path: Path) -> None:
        for start in (0, 3):  # as after a resume
            lines = JsonLines(tmp_path / "m.jsonl")
            for i in range(start, start + 3):
                assert lines.append({"i": i, "loss": float("nan")})
            lines.close()
            lines.close()
        records = list(read_json_lines(tmp_path / "m.jsonl"))
        assert records == [{"i": i, "loss": None} for i in range(6)]

    def test_a_torn_line_spoils_no_other(self, tmp_path: Path) -> None:
        path = tmp_path / "m.jsonl"
        path.write_bytes(b'{"i": 0}\n\n[1]\n\xff\xfe\n{"i": 1}\n{"i": 2, "te')
        lines = JsonLines(path)
        assert lines.append({"i": 3})
        assert [record["i"] for record in read_json_lines(path)] == [0, 1, 3]
        lines.close()

    def test_several_processes_at_once(self, tmp_path: Path) -> None:
        path = tmp_path / "m.jsonl"
        context = multiprocessing.get_context("spawn")
        writers = [context.Process(target=append_many, args=(str(path), writer)) for writer in range(2)]
        for writer in writers:
            writer.start()
        append_many(str(path), 2)
        for writer in writers:
            writer.join(300)
        records = list(read_json_lines(path))
        for writer_id in range(3):
            assert [r["i"] for r in records if r["writer"] == writer_id] == list(range(200))

    def test_f27_a_full_disk_and_then_room_again(self, tmp_path: Path) -> None:
        code = """
import json, os, pathlib, sys
from a3c.storage.records import JsonLines, read_json_lines
from a3c.storage.sinks import FIRST_PAUSE_S
disk = pathlib.Path(sys.argv[1])
clock = [0.0]
lines = JsonLines(disk / "m.jsonl", lambda: clock[-1])
i = 0
while lines.append({"i": i, "text": "x" * 1000}):
    i += 1
for _ in range(5):
    assert not lines.append({"i": i, "text": "x" * 1000})
dropped, error = lines.dropped, lines.error
os.truncate(disk / "m.jsonl", 500_000)  # tears a line, too
clock.append(FIRST_PAUSE_S)
assert lines.append({"i": "after"})
records = list(read_json_lines(disk / "m.jsonl"))
print(json.dumps([dropped, error, lines.error, len(records), records[-1]["i"]]))
"""
        dropped, error, error_after, number, last = run_python(code, tmp_path, small_disk=tmp_path)
        assert (dropped, last, error_after) == (6, "after", "")
        assert error == "No space left on device"
        assert 480 < number < 500

    def test_f28_a_folder_that_goes_and_comes_back(self, tmp_path: Path) -> None:
        folder = tmp_path / "run"
        clock = [0.0]
        lines = JsonLines(folder / "m.jsonl", lambda: clock[-1])
        assert not lines.append({"i": 0})
        assert (lines.dropped, lines.error) == (1, "No such file or directory")
        folder.mkdir()
        clock.append(FIRST_PAUSE_S)
        assert lines.append({"i": 1})
        shutil.rmtree(folder)
        lines.append({"i": 2})  # goes to the deleted file: no error, nothing to be saved
        lines.close()
        assert not lines.append({"i": 3})

    def test_each_line_is_json(self, tmp_path: Path) -> None:
        lines = JsonLines(tmp_path / "m.jsonl")
        lines.append({"text": "two\nlines", "inf": float("inf")})
        lines.close()
        (line,) = (tmp_path / "m.jsonl").read_text().splitlines()
        assert json.loads(line) == {"text": "two\nlines", "inf": None}
