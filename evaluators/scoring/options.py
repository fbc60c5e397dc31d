"""What can be asked of an evaluation by hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

NUM_EPISODES, NUM_SHOWN = 30, 1
"""Games played, unless told otherwise; and when they are shown or filmed."""


@dataclass(frozen=True)
class Options:
    """What was asked for on the command line."""

    env: str = ""  # empty: the one it was trained in
    checkpoint: str = ""  # "best", "newest" or a path; empty: best, else newest
    run_dir: str = ""
    num_episodes: int | None = None
    render: bool = False
    video: Path | None = None
    gpu_id: int = -1
    seed: int = 1
    named_seeds: str = ""  # "published": those of the environment's published scores; empty: from `seed` on
    greedy: bool = False
    baseline: bool = False
    json: Path | None = None

    @property
    def shows(self) -> bool:
        """Whether somebody will see the games."""
        return self.render or self.video is not None

    @property
    def seeds(self) -> tuple[int, ...]:
        """One per game, from `seed` on."""
        count = self.num_episodes or (NUM_SHOWN if self.shows else NUM_EPISODES)
        return tuple(range(self.seed, self.seed + count))
