"""A3C-style multiprocess actor-learner training. See README.md.

From Python: `a3c.load` gives a trained agent, `a3c.train` trains one; docs/python.md. They are imported only
when they are asked for, so that `import a3c` is instant.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from a3c.api.agent import Agent, load
    from a3c.api.train import Training, train
    from a3c.errors import A3CError

__version__ = "0.1.0"

__all__ = ["A3CError", "Agent", "Training", "load", "train"]

_PLACES = {
    "A3CError": "a3c.errors",
    "Agent": "a3c.api.agent",
    "Training": "a3c.api.train",
    "load": "a3c.api.agent",
    "train": "a3c.api.train",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
