"""The Dockerfile and what belongs to it, as far as can be seen without Docker."""

from __future__ import annotations

import json
import re
import shlex
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCKERFILE = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
STAGES = re.findall(r"^FROM (\S+)(?: AS (\w+))?$", DOCKERFILE, re.MULTILINE)


def steps(instruction: str) -> list[list[str]]:
    """The words of each instruction of a kind."""
    return [shlex.split(line) for line in re.findall(rf"^{instruction} (.+)$", DOCKERFILE, re.MULTILINE)]


def is_sent(path: Path) -> bool:
    """Whether .dockerignore lets Docker have it: the last line decides that matches it or a folder above."""
    sent = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern = line.lstrip("!")
            names = [str(path), *map(str, path.parents)]
            ends = [name.rpartition("/")[2] for name in names] if pattern.startswith("**/") else names
            if any(fnmatch(end, pattern.removeprefix("**/")) for end in ends):
                sent = line.startswith("!")
    return sent


COPIED = [Path(name) for words in steps("COPY") if not words[0].startswith("--") for name in words[:-1]]


@pytest.mark.parametrize("path", COPIED, ids=str)
def test_what_is_copied_is_there_and_is_sent(path: Path) -> None:
    assert (ROOT / path).exists()
    files = [path] if (ROOT / path).is_file() else [p.relative_to(ROOT) for p in (ROOT / path).rglob("*.py")]
    assert files
    assert [file for file in files if not is_sent(file)] == []


KEPT_BACK = (".git/config", ".venv/bin/python", "checkpoints/run/ckpt-1/model.safetensors", "tests/warm.py")
BUILT = ("a3c/__pycache__/cli.pyc", "a3c/networks/_pooling_float32.so", "site/index.html", "studies/x/log")


@pytest.mark.parametrize("name", [*KEPT_BACK, *BUILT])
def test_nothing_else_is_sent(name: str) -> None:
    assert not is_sent(Path(name))


def test_what_the_build_needs_is_copied() -> None:
    """setup.py compiles one of these, pyproject.toml names the others."""
    named = re.findall(r'"(README\.md|LICENSE|a3c|evaluators)[*"]', (ROOT / "pyproject.toml").read_text())
    assert {Path(name) for name in named} <= set(COPIED)
    assert len(named) >= 4


def test_no_stage_is_of_nothing_and_the_last_one_is_not_roots() -> None:
    names = ["python:3.12-slim"]
    for base, name in STAGES:
        assert base in names
        names.append(name)
    final = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]
    assert "\nUSER a3c\n" in final
    assert json.loads(re.search(r"^ENTRYPOINT (.+)$", final, re.MULTILINE)[1]) == ["a3c"]
    volume = re.search(r"^VOLUME (.+)$", final, re.MULTILINE)[1]
    assert f"--owner=a3c --group=a3c {volume}" in DOCKERFILE, "a volume that is not there is made as root"


def test_packages_are_those_that_were_tested() -> None:
    installs = [line for line in DOCKERFILE.splitlines() if "pip install" in line]
    assert len(installs) == 2
    assert all("pip install -c constraints.txt " in line for line in installs)


def test_the_dev_container_is_a_stage_of_it() -> None:
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    assert container["build"]["target"] in [name for _, name in STAGES]
    assert (ROOT / ".devcontainer" / container["build"]["dockerfile"]).resolve() == ROOT / "Dockerfile"
    assert f"useradd --create-home --uid 1000 {container['remoteUser']}" in DOCKERFILE
