"""What a person sees of a real run in TensorBoard, in a real browser.

With SCREENSHOTS=FOLDER in the environment, the pages are also kept as pictures, to be looked at.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.evaluators.process.browser import Browser, find_browser
from tests.run_tools import script, wait_for

PROGRAM = find_browser()

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(PROGRAM is None, reason="no Chromium here: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """The address of a TensorBoard that shows a run of CartPole, trained just now."""
    folder = tmp_path_factory.mktemp("tensorboard")
    flags = ["--env", "CartPole-v1", "--workers", "1", "--max-steps", "20k", "--eval-every", "2"]
    done = script("run.py", *flags, "--log-every", "0.5", "--run-dir", "runs/CartPole", cwd=folder)
    assert done.returncode == 0, done.stderr
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = ["-m", "tensorboard.main", "--logdir", "runs", "--port", str(port), "--load_fast=false"]
    address = f"http://localhost:{port}/"
    with (folder / "output.txt").open("w") as output:
        server = subprocess.Popen([sys.executable, *command], cwd=folder, stdout=output, stderr=output)
    try:
        wait_for(lambda: "CartPole" in fetch(address + "data/runs"), 120, "the run in TensorBoard")
        yield address
    finally:
        server.terminate()
        server.wait(300)


def fetch(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=300) as answer:
            return answer.read().decode()
    except OSError:
        return ""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(PROGRAM, tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def see(board, browser, request):
    """`see(page, *words)` opens a page of TensorBoard and waits until all these words are on it."""

    def look(page: str, *words: str) -> Browser:
        browser.open(f"{board}#{page}")
        wait_for(lambda: all(word in browser.words() for word in words), 90, f"{words} on {page}")
        return browser

    yield look
    if folder := os.environ.get("SCREENSHOTS"):
        browser.screenshot(Path(folder) / f"{request.node.name}.png")


def test_the_curves_are_there_in_few_groups(see):
    browser = see("scalars", "eval/score_mean", "CartPole")
    groups = set(re.findall(r"\b(eval|train|speed|time) \d+\b", browser.words()))
    assert groups == {"eval", "train", "speed", "time"}


def test_a_game_moves(see):
    browser = see("images", "eval/best_game", "CartPole")
    pictures = """(function find(node) {
        let found = [];
        for (const child of node.querySelectorAll("*")) {
            if (child.tagName === "IMG" && child.naturalWidth) found.push(child.src);
            if (child.shadowRoot) found = found.concat(find(child.shadowRoot));
        }
        return found;
    })(document)"""
    (source, *_) = wait_for(lambda: browser.run(pictures), what="a picture")
    with urllib.request.urlopen(source, timeout=300) as answer:
        assert answer.read(6) == b"GIF89a"


def test_the_settings_can_be_read(see):
    browser = see("text", "config", "environment", "--max-steps", "20000", "CartPole-v1: 2 actions")
    assert "--replay-size" not in browser.words()


def test_the_network_is_drawn(see):
    see("graphs", "Main Graph", "MLP")
