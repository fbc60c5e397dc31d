"""Named settings that need no further flags, one TOML file each."""

from __future__ import annotations

import fnmatch
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from a3c.settings.values import Typed

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Preset:
    """Named settings from a3c/settings/presets/NAME.toml."""

    name: str
    summary: str
    envs: tuple[str, ...]  # glob patterns of environment ids it is made for
    algos: tuple[str, ...]  # that it suits; the first is its own
    settings: Mapping[str, Any]


@cache
def presets() -> dict[str, Preset]:
    """Every preset by name."""
    found = {}
    for path in sorted(_FOLDER.glob("*.toml"), key=lambda path: path.stem):
        data = tomllib.loads(path.read_text())
        values = data["settings"]
        if ":" in values.get("env", ""):
            values["env"] = Typed(values["env"])  # who named the preset may have its module imported
        algos = (values["algo"], *data.get("other_algos", ()))
        found[path.stem] = Preset(path.stem, data["summary"], tuple(data["envs"]), algos, values)
    return found


def preset_for(env: str, algo: str) -> Preset | None:
    """The preset made for (env, algo): the one with the longest matching pattern."""
    matches = [
        (len(pattern), preset)
        for preset in presets().values()
        if algo in preset.algos
        for pattern in preset.envs
        if fnmatch.fnmatchcase(env, pattern)
    ]
    return max(matches, key=lambda match: match[0])[1] if matches else None
