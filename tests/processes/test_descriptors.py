"""Standard descriptors that are missing, and output that nobody reads."""

import fcntl
import os
import pty
import subprocess
import sys
import termios
from contextlib import suppress

import pytest

from tests.run_tools import ROOT

FILL = """
import os, subprocess, sys
from a3c.processes.descriptors import fill_standard_descriptors
fill_standard_descriptors()
print("nobody hears this", flush=True)
print("nor this", file=sys.stderr, flush=True)
with open(sys.argv[1], "w") as file:
    seen = subprocess.run([sys.executable, "-c", "import os; [os.fstat(i) for i in range(3)]"]).returncode
    file.write(f"{file.fileno() > 2} {sys.stdin.read()!r} {seen}")
"""

TALK = """
import os, sys
from a3c.processes.descriptors import output_that_never_waits
with output_that_never_waits():
    for _ in range(2000):
        print("x" * 500)
        print("y" * 500, file=sys.stderr)
    try:
        os.write(1, bytes(100_000))
    except BlockingIOError:
        open(sys.argv[1], "w").write("not waited")
"""


def python(program, *arguments, **streams):
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)], env={**os.environ, "PYTHONPATH": str(ROOT)},
        **streams,
    )  # fmt: skip


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_f60_missing_descriptors_lead_nowhere(tmp_path, closed):
    program = ["sh", "-c", f'exec "$0" "$@" {closed}', sys.executable, "-c", FILL, str(tmp_path / "seen")]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(program, env=environ, stdin=subprocess.DEVNULL, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "seen").read_text() == "True '' 0"


def fill(descriptor):
    """Writes until there is no room; leaves the open file as it was."""
    os.set_blocking(descriptor, False)
    with suppress(BlockingIOError):
        while os.write(descriptor, bytes(4096)):
            pass
    with suppress(BlockingIOError):
        while os.write(descriptor, b"."):
            pass
    os.set_blocking(descriptor, True)


def full_pipe():
    reader, writer = os.pipe()
    fill(writer)
    return reader, writer


def stopped_terminal():
    main, terminal = pty.openpty()
    termios.tcflow(terminal, termios.TCOOFF)  # what Ctrl-S does
    return main, terminal


@pytest.mark.parametrize("make", [full_pipe, stopped_terminal])
def test_f61_output_that_nobody_reads_is_never_waited_for(tmp_path, make):
    reader, writer = make()
    flags = fcntl.fcntl(writer, fcntl.F_GETFL)
    with python(TALK, tmp_path / "seen", stdout=writer, stderr=writer) as process:
        assert process.wait(300) == 0
        assert (tmp_path / "seen").read_text() == "not waited"
        assert fcntl.fcntl(writer, fcntl.F_GETFL) == flags  # the shell's own output still waits
    os.close(reader)
    os.close(writer)


def test_f61_output_that_is_read_arrives_whole(tmp_path):
    program = "from a3c.processes.descriptors import *\nwith output_that_never_waits(): print(1)\nprint(2)"
    with python(program, stdout=subprocess.PIPE) as process:
        assert process.communicate(timeout=300)[0] == b"1\n2\n"
