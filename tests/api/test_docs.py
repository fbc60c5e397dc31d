"""docs/python.md, what the README says of it, and docs/python.ipynb, run as they stand; only their long
training is shortened."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from jupyter_client import KernelManager
from jupyter_client.blocking import BlockingKernelClient

import a3c
from tests.run_tools import ROOT, wait_for

SHORTENED = {"max_steps=50_000": "max_steps=2_000, workers=0, eval_every=0"}
"""What a test has no time for."""

ENVIRON = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"}


def shortened(code: str) -> str:
    for long, short in SHORTENED.items():
        code = code.replace(long, short)
    return code


def test_every_example_of_the_page_runs(tmp_path):
    page = (ROOT / "docs" / "python.md").read_text()
    page += (ROOT / "README.md").read_text().partition("\nFrom Python")[2].partition("\n## ")[0]
    examples = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert page.count("```") == 2 * len(examples) > 10
    assert all(long in page for long in SHORTENED)
    program = "\n".join(shortened(example) for example in examples)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=tmp_path, env=ENVIRON, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert "--wrokers: no such flag; did you mean --workers?" in lines
    assert f"{tmp_path / 'lake'} finished --max-steps 20000 is reached" in lines
    assert a3c.load(tmp_path / "checkpoints" / "CartPole-v1-ppo").config.run.max_steps == 2000


@pytest.fixture(scope="module")
def kernel(tmp_path_factory) -> Iterator[BlockingKernelClient]:
    """A notebook's kernel, in a folder of its own."""
    folder = tmp_path_factory.mktemp("notebook")
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(cwd=str(folder), env={**ENVIRON, "IPYTHONDIR": str(folder / "ipython")})
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(60)
        client.manager, client.folder = manager, folder
        yield client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def run_cell(kernel: BlockingKernelClient, code: str) -> str:
    """What a cell prints; fails when it raises."""
    printed = []
    reply = kernel.execute_interactive(
        code, timeout=300, allow_stdin=False,
        output_hook=lambda message: printed.append(message["content"].get("text", "")),
    )  # fmt: skip
    assert reply["content"]["status"] == "ok", "\n".join(reply["content"].get("traceback", printed))
    return "".join(printed)


def test_the_notebook_runs(kernel):
    notebook = json.loads((ROOT / "docs" / "python.ipynb").read_text())
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert (notebook["nbformat"], len(cells)) == (4, 5)
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    printed = [run_cell(kernel, shortened("".join(cell["source"]))) for cell in cells]
    assert "run directory checkpoints/CartPole-v1-ppo (new run)" in printed[0]
    assert "\x1b" not in printed[0]
    assert "<a3c.Agent: ppo with mlp of CartPole-v1, 2" in printed[1]
    assert " over 30 games" in printed[1]
    assert " points in " in printed[2]


def test_the_stop_button_of_a_notebook_saves_and_stops(kernel):
    status = kernel.folder / "endless" / "status.json"
    message = kernel.execute(
        "import a3c\n"
        "t = a3c.train(env='CartPole-v1', algo='ppo', workers=0, eval_every=0, run_dir='endless')\n"
        "assert (t.state, t.reason) == ('stopped', 'stopped by SIGINT')\n"
        "assert t.load().env_steps > 0"
    )
    wait_for(lambda: status.exists() and json.loads(status.read_text())["steps"] > 0, what="steps")
    kernel.manager.interrupt_kernel()
    while (reply := kernel.get_shell_msg(timeout=300))["parent_header"]["msg_id"] != message:
        pass  # an answer to something before
    assert reply["content"]["status"] == "ok", "\n".join(reply["content"].get("traceback", []))
