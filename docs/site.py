"""What the documents need to be a site too; mkdocs.yml names this file.

They are written to be read in the repository: the README and its neighbours are pages of the site from where
they stand, and a link to a file that is no page leads to `repo_url`, or becomes mere words where there is
none. A link to nothing stays as it is, and mkdocs, which is strict, refuses it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
NEIGHBOURS = {"README.md": "index.md"} | {n: n for n in ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")}
_LINK = re.compile(r"\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Any, config: Any) -> Any:
    """Adds the documents of the top level."""
    for name, page in NEIGHBOURS.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Has each link lead from the page's place in the site."""
    sources = {page: name for name, page in NEIGHBOURS.items()}
    uri = page.file.src_uri
    folder = (ROOT / sources.get(uri, f"docs/{uri}")).parent

    def lead(link: re.Match[str]) -> str:
        words, target, anchor = link[1], Path(os.path.normpath(folder / link[2])), link[3] or ""
        if not (target.exists() and target.is_relative_to(ROOT)):
            return link[0]
        path = str(target.relative_to(ROOT))
        found = NEIGHBOURS.get(path) or path.removeprefix("docs/")
        if files.get_file_from_path(found) and (path in NEIGHBOURS or path.startswith("docs/")):
            return f"[{words}]({os.path.relpath(found, Path(uri).parent)}{anchor})"
        return f"[{words}]({config.repo_url}/blob/main/{path})" if config.repo_url else words

    return _LINK.sub(lead, markdown)
