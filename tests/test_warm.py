"""The warm start of the tests' commands: what they find is what a fresh interpreter would have given them."""

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.run_tools import ROOT
from tests.warm import Start, WarmProcess, run_to_the_end

SURROUNDINGS = """
import json, os, sys
print(json.dumps({
    "argv": sys.argv, "folder": os.getcwd(), "path": sys.path[0], "main": __name__,
    "environ": dict(os.environ), "leads": os.getsid(0) == os.getpid(), "input": sys.stdin.read(),
}))
sys.exit(7)
"""


def test_a_script_finds_what_a_fresh_interpreter_gives_it(tmp_path):
    program = tmp_path / "here" / "program.py"
    program.parent.mkdir()
    program.write_text(SURROUNDINGS)
    environ = {"PYTHONPATH": str(ROOT), "LC_CTYPE": "C.UTF-8", "ONLY": "this"}
    warm = run_to_the_end(str(program), "--flag", cwd=tmp_path, environ=environ)
    fresh = subprocess.run(
        [sys.executable, str(program), "--flag"], cwd=tmp_path, env=environ, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, start_new_session=True, check=False,
    )  # fmt: skip
    assert (warm.returncode, warm.stderr) == (fresh.returncode, fresh.stderr) == (7, "")
    assert json.loads(warm.stdout) == json.loads(fresh.stdout)


def test_a_command_of_ours_prints_and_fails_as_ever(tmp_path):
    done = run_to_the_end("-m", "a3c", "rnu", cwd=tmp_path, environ={"PYTHONPATH": str(ROOT)})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: a3c rnu: no such command; did you mean run?\n"


def test_signals_end_it_and_are_its_exit_code(tmp_path):
    program, output = tmp_path / "program.py", str(tmp_path / "output")
    program.write_text("import signal; signal.pause()")
    process = WarmProcess(
        Start((str(program),), str(tmp_path), dict(os.environ), "/dev/null", output, output)
    )
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == process.poll() == -signal.SIGTERM
    process.kill()  # it is gone: nothing happens
