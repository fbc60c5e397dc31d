"""The documents as a site, built by the real mkdocs; `make docs` installs it and runs these."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.docs


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The project with documents that may be changed."""
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    for path in (*ROOT.glob("*.md"), ROOT / "mkdocs.yml"):
        shutil.copy(path, tmp_path)
    for path in ROOT.iterdir():
        if not (tmp_path / path.name).exists() and path.name not in ("site", ".git", ".venv"):
            (tmp_path / path.name).symlink_to(path)
    return tmp_path


def build(folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build"], cwd=folder, env=environ, capture_output=True, text=True
    )


def test_the_site_needs_no_network_and_shows_every_picture(copy: Path) -> None:
    assert build(copy).returncode == 0
    pages = list((copy / "site").rglob("*.html"))
    text = "".join(page.read_text() for page in pages)
    assert len(pages) > 20
    assert not re.findall(r'<(?:script|img|link)[^>]*(?:src|href)="?https?:[^>]*>', text)
    shown = set(re.findall(r'<img[^>]*src="(?:\.\./)*(images/[^"]+)"', text))
    assert shown == {f"images/{path.name}" for path in (ROOT / "docs" / "images").iterdir()}


def test_links_to_source_files_lead_to_the_repository_where_there_is_one(copy: Path) -> None:
    for environ, expected in (({}, False), ({"REPO_URL": "https://example.org/a3c"}, True)):
        assert build(copy, **environ).returncode == 0
        page = (copy / "site" / "architecture.html").read_text()
        assert ('href="https://example.org/a3c/blob/main/a3c/training/trainer.py"' in page) == expected
        assert 'href="index.html"' in page


@pytest.mark.parametrize(
    ("page", "link"),
    [
        ("docs/operations.md", "nowhere.md"),
        ("docs/agents/a3c.md", "../operations.md#nowhere"),
        ("docs/architecture.md", "../a3c/nowhere.py"),
        ("README.md", "docs/nowhere.md"),
        ("README.md", "docs/images/nowhere.png"),
    ],
)
def test_a_broken_link_fails_the_build(copy: Path, page: str, link: str) -> None:
    with (copy / page).open("a") as file:
        file.write(f"\n[broken]({link})\n")
    built = build(copy)
    assert built.returncode == 1
    assert "nowhere" in built.stderr
