"""A headless Chromium, driven through its DevTools protocol over two pipes: no package is needed for it."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

_FLAGS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--remote-debugging-pipe", "--window-size=1500,1100",
]  # fmt: skip

_COMMANDS, _ANSWERS = 3, 4  # the descriptors that Chromium reads from and writes to

_WORDS = """(function words(node) {
    let found = "";
    for (const child of node.childNodes) {
        if (child.nodeType === 3) found += child.data + " ";
        if (child.nodeType !== 1 || ["STYLE", "SCRIPT", "TEMPLATE"].includes(child.tagName)) continue;
        if (child.shadowRoot) found += words(child.shadowRoot);
        found += words(child);
    }
    return found;
})(document.body)"""


def find_browser() -> str | None:
    """The program, where there is one."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One page; a context manager. `profile` is an empty folder of its own."""

    def __init__(self, program: str, profile: Path) -> None:
        commands, self._to = os.pipe()
        self._from, answers = os.pipe()
        # The shell puts the pipes where Chromium looks for them.
        redirect = f'exec "$0" "$@" {_COMMANDS}<&{commands} {_ANSWERS}>&{answers}'
        self._process = subprocess.Popen(
            ["bash", "-c", redirect, program, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(commands, answers),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(answers)
        self._buffer, self._number = b"", 0
        self._page: dict[str, str] = {}
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._page = {"sessionId": session}

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        command = {"id": self._number, "method": method, "params": parameters, **self._page}
        os.write(self._to, json.dumps(command).encode() + b"\0")
        while (answer := self._message()).get("id") != self._number:
            pass  # an event
        assert "error" not in answer, answer
        return dict(answer["result"])

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            piece = os.read(self._from, 65536)
            assert piece, "the browser is gone"
            self._buffer += piece
        message, _, self._buffer = self._buffer.partition(b"\0")
        return dict(json.loads(message))

    def open(self, url: str) -> None:
        """Begins to load a page."""
        self._call("Page.navigate", url="about:blank")
        self._call("Page.navigate", url=url)

    def run(self, script: str) -> Any:
        """The value of an expression of JavaScript, in the page."""
        return self._call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def words(self) -> str:
        """Everything that is written on the page, hidden parts included."""
        return " ".join(str(self.run(_WORDS)).split())

    def screenshot(self, path: Path) -> None:
        """Writes what a person would see, as PNG."""
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"]))

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(300)
        os.close(self._to)
        os.close(self._from)
