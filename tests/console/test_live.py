"""What a run looks like: on a terminal, in a log, and to a reader that goes away."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from a3c.console.live import STOP_HINT, LiveView, PlainView, make_console, make_view
from a3c.console.panel import duration, panel, plain_line
from a3c.console.streams import UnbreakableStream

ROOT = Path(__file__).parents[2]
WORKER = {
    "id": 0, "pid": 1001, "state": "running", "steps": 600_000, "restarts": 0, "device": "cpu",
    "phase": "env", "steps_per_second": 445.0,
}  # fmt: skip
STATUS: dict[str, Any] = {
    "state": "running", "updated": "2026-11-20T13:21:00+00:00", "run_dir": "checkpoints/Breakout-v0-a3c",
    "env": "Breakout-v0", "algo": "a3c", "preset": "breakout-a3c", "steps": 1_234_567, "frames": 4_234_567,
    "updates": 3214, "episodes": 210, "steps_per_second": 890.2, "frames_per_second": 3560.1,
    "max_steps": 10_000_000, "progress": 0.1234, "eta_s": 9000.0, "elapsed_s": 1400.0, "last_return": 10.1,
    "workers": [WORKER, {**WORKER, "id": 1, "state": "backoff"}],
    "evaluator": {"pid": 9, "state": "running", "last_score": 12.3, "last_score_steps": 1_200_000},
    "best_score": 15.0, "best_score_steps": 900_000, "rejected": 7, "mean_lag": 2.13, "memory_bytes": 1.3e9,
    "checkpoint": "ckpt-000001200000", "message": "worker-1 was killed by SIGKILL",
}  # fmt: skip


def drawn(status: dict[str, Any], **options: Any) -> str:
    stream = io.StringIO()
    make_console(stream, terminal=False).print(*panel(status, **options), sep="\n")
    return stream.getvalue()


def test_the_other_nodes_of_a_cluster_have_a_line_each() -> None:
    node = {"id": 1, "host": "oak", "state": "running", "steps": 5_000, "steps_per_second": 40.0}
    failed = {**node, "id": 2, "state": "failed", "message": "error: no module named mine"}
    exchanger = {"pid": 77, "state": "running", "phase": "exchanging", "restarts": 1}
    lines = drawn({**STATUS, "exchanger": exchanger, "nodes": [node, failed]}).splitlines()
    found = {" ".join(line.split()[:2]): line for line in lines}
    assert "exchanging" in found["exchanger running"]
    assert all(word in found["node 1"] for word in ("running", "oak", "40", "5,000"))
    assert "no module named mine" in found["node 2"]
    assert len(drawn({**STATUS, "nodes": [node] * 30}, height=12).splitlines()) <= 12


class TestPlainLine:
    def test_has_the_key_numbers(self) -> None:
        assert plain_line(STATUS) == (
            "2026-11-20 13:21:00 running  1,234,567 steps (12.3%)  890 steps/s  score 12.3 best 15.0  "
            "return 10.1  workers 1/2  elapsed 23 m 20 s  eta 2 h 30 m"
        )

    def test_says_what_the_best_score_is(self) -> None:
        exact = {**STATUS, "best_score": 7.9, "best_is_exact": True}
        unconfirmed = {**STATUS, "best_score": None, "best_score_steps": None}
        for status, words in ((exact, "best 7.9 (exact value)"), (unconfirmed, "best not confirmed yet")):
            assert words in plain_line(status)
            assert words in drawn(status)

    def test_says_how_far_an_evaluation_is(self) -> None:
        playing = {
            **STATUS,
            "evaluator": {**STATUS["evaluator"], "phase": "env", "games": 10, "games_over": 3},
        }
        for words in (plain_line(playing), drawn(playing)):
            assert "3 of 10 games over" in words
        assert "games over" not in plain_line(STATUS) + drawn(STATUS)

    def test_says_about_when_the_target_is_reached(self) -> None:
        near = {**STATUS, "target_score": 18.0, "target_eta_s": 723.0}
        assert plain_line(near).endswith("target in about 12 m 03 s")
        assert "score 18, reached in about 12 m 03 s by the trend" in drawn(near)
        unknown = {**near, "target_eta_s": None}
        assert "target" not in plain_line(unknown)
        assert "reached" not in drawn(unknown)
        assert "score 18" in drawn(unknown)

    @pytest.mark.parametrize("progress", [-1e9, 1.5, 1e300])
    def test_a_progress_of_somebody_else_is_no_longer_than_a_whole_one(self, progress: float) -> None:
        assert len(drawn({**STATUS, "progress": progress})) < 5000

    def test_nothing_is_ahead_of_a_finished_run(self) -> None:
        evaluator = {**STATUS["evaluator"], "games": 10, "games_over": 0}
        over = {
            **STATUS,
            "state": "finished",
            "target_score": 18.0,
            "target_eta_s": 0.0,
            "evaluator": evaluator,
        }
        for words in (plain_line(over), drawn(over)):
            assert "games over" not in words
            assert "in about" not in words
            assert "eta 2 h" not in words
        assert "eta 2 h" in plain_line(STATUS)

    def test_says_how_busy_gpus_are(self) -> None:
        gpus = [
            {"id": 0, "utilization_percent": 61, "memory_bytes": 2**31, "memory_total_bytes": 2**36},
            {"id": 1, "utilization_percent": None, "memory_bytes": None, "memory_total_bytes": None},
        ]
        assert "0: 61 % busy and 2.0 of 64.0 GiB, 1: -" in drawn({**STATUS, "gpus": gpus})
        assert "gpus" not in drawn({**STATUS, "gpus": []})

    def test_says_so_when_nothing_is_known(self) -> None:
        assert plain_line({"state": "starting"}) == (
            "starting  - steps  - steps/s  score - best -  return -  workers 0/0  elapsed -"
        )

    @given(st.sets(st.sampled_from(sorted(STATUS))), st.booleans())
    def test_missing_and_empty_fields_are_no_trouble(self, missing: set[str], empty: bool) -> None:
        status = {key: value for key, value in STATUS.items() if key not in missing}
        status |= dict.fromkeys(missing, None) if empty else {}
        assert "\n" not in plain_line(status)
        assert drawn(status)


class TestPanel:
    def test_shows_everything(self) -> None:
        text = drawn(STATUS, hint="Ctrl-C stops")
        for words in (
            "Breakout-v0 a3c (preset breakout-a3c)", "running", "checkpoints/Breakout-v0-a3c", "12.3%",
            "eta 2 h 30 m", "1,234,567 steps of 10,000,000", "12.3 at 1,200,000", "best 15.0 at 900,000",
            "890 steps/s, 3,560 frames/s", "3,214, 7 refused, mean lag 2.1", "1.2 GiB", "ckpt-000001200000",
            "worker 0", "worker 1", "backoff", "evaluator", "worker-1 was killed by SIGKILL", "Ctrl-C stops",
        ):  # fmt: skip
            assert words in text, words

    def test_a_finished_run_has_no_hint(self) -> None:
        assert "Ctrl-C" not in drawn({**STATUS, "state": "finished"}, hint="Ctrl-C stops")

    def test_workers_that_do_not_fit_are_summed_up(self) -> None:
        status = {**STATUS, "workers": [{**WORKER, "id": i} for i in range(64)]}
        text = drawn(status, height=24)
        assert text.count("\n") == 24
        assert "worker 10 " in text
        assert "worker 11" not in text
        assert re.search(r"53 more +53 running", text)
        assert "worker 63" in drawn(status)

    @pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 200])
    @pytest.mark.parametrize("height", [5, 8, 15, 24, 50])
    @pytest.mark.parametrize("workers", [0, 1, 2, 64])
    def test_it_fits_into_any_terminal(self, width: int, height: int, workers: int) -> None:
        status = {**STATUS, "workers": [{**WORKER, "id": i} for i in range(workers)]}
        lines = panel(status, STOP_HINT, width, height)
        assert len(lines) <= height
        assert max(line.cell_len for line in lines) <= width
        assert not any(line.plain.endswith(" ") for line in lines)

    def test_at_60_columns_and_15_lines_nothing_is_cut(self) -> None:
        text = drawn({**STATUS, "tensorboard": "tensorboard --logdir runs"}, width=60, height=15)
        assert "..." not in text
        for words in (
            "Breakout-v0 a3c  running  checkpoints/Breakout-v0-a3c\n", "12.3% eta 2 h 30 m",
            "progress    1,234,567 steps of 10,000,000 in 23 m 20 s", "score       12.3, best 15.0 at",
            "speed       890 steps/s", "worker 0   running  env", "worker 1   backoff", "evaluator  running",
            "SIGKILL",
        ):  # fmt: skip
            assert words in text, words

    def test_texts_are_neither_markup_nor_control_codes(self) -> None:
        text = drawn({**STATUS, "message": "[bold]\x1b[31mred\x07", "env": "[/x]"})
        assert r"[bold]\x1b[31mred\x07" in text
        assert "[/x]" in text
        assert "\x1b" not in text


class TestPlainView:
    def test_a_line_every_ten_seconds_and_at_each_change(self) -> None:
        now = [100.0]
        stream = io.StringIO()
        view = PlainView(stream, 10.0, lambda: now[0])
        for seconds, state in [(100, "starting"), (101, "running"), (105, "running"), (110.9, "running"),
                               (111, "running"), (112, "finished")]:  # fmt: skip
            now[0] = seconds
            view.update({**STATUS, "state": state})
        states = [line.split()[2] for line in stream.getvalue().splitlines()]
        assert states == ["starting", "running", "running", "finished"]

    def test_messages_come_at_once_without_control_codes(self) -> None:
        stream = io.StringIO()
        with make_view(stream) as view:
            view.message("one\ntwo\x1b[2K\r")
        assert stream.getvalue() == "one\ntwo\\x1b[2K\\r\n"

    @pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
    def test_any_encoding_will_do(self, encoding: str) -> None:
        buffer = io.BytesIO()
        with make_view(io.TextIOWrapper(buffer, encoding=encoding)) as view:
            view.message("é ☃")
        assert buffer.getvalue().decode(encoding) in ("é ☃\n", "é ?\n", "? ?\n")


PROGRAM = f"""
import sys
from a3c.console.live import make_view
status = {STATUS!r}
with make_view(sys.stdout) as view:
    for state in ("starting", "running"):
        view.update({{**status, "state": state}})
    view.message("a warning")
    view.update({{**status, "state": "finished"}})
"""


def on_a_terminal(**environment: str) -> str:
    """What PROGRAM writes to a real (pseudo) terminal."""
    master, slave = pty.openpty()
    base = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "TERM", "COLORTERM")}
    command = [sys.executable, "-c", PROGRAM]
    process = subprocess.Popen(
        command, stdout=slave, stderr=subprocess.PIPE, cwd=ROOT, env=base | environment
    )
    os.close(slave)
    output = b""
    while chunk := _read(master):
        output += chunk
    os.close(master)
    _, errors = process.communicate(timeout=300)
    assert (process.returncode, errors) == (0, b"")
    return output.decode()


def _read(master: int) -> bytes:
    try:
        return os.read(master, 65536)
    except OSError:  # how Linux tells that the other side of a pseudo terminal was closed
        return b""


class TestTerminal:
    def test_redraws_in_place_in_colour_and_gives_the_cursor_back(self) -> None:
        output = on_a_terminal(TERM="xterm-256color")
        assert "\x1b[32mrunning" in output or "\x1b[1;32mrunning" in output
        assert "\x1b[1A" in output  # up one line
        assert "a warning" in output
        assert output.rindex("\x1b[?25h") > output.rindex("\x1b[?25l")
        assert "finished" in output[output.rindex("a warning") :]

    def test_no_color_is_honoured(self) -> None:
        output = on_a_terminal(TERM="xterm-256color", NO_COLOR="1")
        assert "finished" in output
        assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", output)

    @pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {}])
    def test_a_terminal_without_cursor_gets_plain_lines(self, environment: dict[str, str]) -> None:
        output = on_a_terminal(**environment)
        assert "\x1b" not in output
        assert output.count("1,234,567 steps") == 3


class TestBrokenOutput:
    """F27: whoever reads along never hurts the run."""

    def test_f27_a_reader_that_goes_away(self) -> None:
        reading, writing = os.pipe()
        os.close(reading)
        try:
            done = subprocess.run(
                [sys.executable, "-c", PROGRAM], stdout=writing, stderr=subprocess.PIPE, cwd=ROOT, timeout=30
            )
        finally:
            os.close(writing)
        assert (done.returncode, done.stderr) == (0, b"")

    @pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
    def test_f27_a_full_disk(self) -> None:
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [sys.executable, "-c", PROGRAM], stdout=full, stderr=subprocess.PIPE, cwd=ROOT, timeout=30
            )
        assert (done.returncode, done.stderr) == (0, b"")

    def test_f27_output_that_nobody_reads_is_not_waited_for(self) -> None:
        reading, writing = os.pipe()
        with open(writing, "w", closefd=False) as stream:
            stream = UnbreakableStream(stream)
            for _ in range(1000):
                stream.write("x" * 999 + "\n")
            assert stream.dropped > 800
            assert os.get_blocking(writing)  # who shares it is not disturbed
            os.read(reading, 65536)
            stream.write("again\n")
            stream.settle()
        os.close(writing)
        assert b"again" in os.read(reading, 65536)
        os.close(reading)

    def test_f27_it_is_told_how_much_nobody_read(self) -> None:
        reading, writing = os.pipe()
        with open(writing, "w", closefd=False) as stream:
            view = PlainView(stream, 10.0)
            for i in range(200):
                view.message(f"{i}" + "x" * 999)
            shown = os.read(reading, 10**6).count(b"\n")
            view.message("again")
            view.close()
        os.close(writing)
        assert f"({200 - shown} lines before this one were dropped".encode() in os.read(reading, 10**6)
        os.close(reading)
        assert 0 < shown < 200

    def test_a_closed_stream(self) -> None:
        stream = io.StringIO()
        stream.close()
        unbreakable = UnbreakableStream(stream)
        unbreakable.write("x")
        unbreakable.settle()

    def test_a_live_view_on_a_broken_terminal(self) -> None:
        class Gone(io.StringIO):
            def write(self, text: str) -> int:
                raise OSError(5, "Input/output error")

            def fileno(self) -> int:
                return descriptor

        descriptor = os.open(os.devnull, os.O_WRONLY)
        with LiveView(Gone()) as view:
            view.update(STATUS)
            view.message("a warning")
        os.close(descriptor)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (-1, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 m 00 s"),
        (3599, "59 m 59 s"),
        (3600, "1 h 00 m"),
        (86399, "23 h 59 m"),
        (100_000, "1 d 03 h"),
    ],
)
def test_duration(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text
