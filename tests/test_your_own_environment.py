"""docs/your-own-environment.md, followed from an empty folder to a packaged agent, every block of it."""

import os
import re
import shlex
import subprocess
import sys

from tests.run_tools import ROOT
from tests.warm import run_to_the_end

PAGE = (ROOT / "docs" / "your-own-environment.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def follow(command, folder):
    """Runs a line of the page; a3c as one that is installed, python with the modules of the folder."""
    program, *words = shlex.split(command)
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    if program == "a3c":
        return run_to_the_end("-m", "a3c", *words, cwd=folder, environ=environ)
    assert program == "python"
    start = [sys.executable, "-W", "error", *words]
    return subprocess.run(start, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


def test_the_page_leads_from_an_empty_file_to_a_packaged_agent(tmp_path):
    (language, game), *others = BLOCKS
    assert language == "python"
    (tmp_path / "my_game.py").write_text(game)
    printed = {}
    for language, block in others:
        assert language == "sh"
        for command in block.replace("\\\n", "").splitlines():
            done = follow(command, tmp_path)
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
            printed[command] = done.stdout + done.stderr
    said = [*printed.values()]
    first_line = re.search(r"says what was understood: `(.+?)`", PAGE)[1]
    assert first_line in said[1]
    mean = float(re.search(r"mean\D*(-?[\d.]+)", said[2])[1])
    assert 0.5 < mean <= 1  # a lift that opens at once where it is has a mean of -0.67
    assert (tmp_path / "lift.mp4").stat().st_size > 1000
    assert (tmp_path / "my-agent" / "model.safetensors").exists()
