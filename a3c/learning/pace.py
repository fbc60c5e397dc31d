"""A learning rate that follows how far the policy moves."""

from __future__ import annotations

import math

LEAST, MOST = 0.2, 4.0
"""Between these times the set rate."""

_MEMORY = 20  # lessons over which the divergence is averaged
_GAIN = 0.04  # a lesson changes the pace by this share at most


class Pace:
    """What a worker's learning rate is multiplied by, so that an update moves its policy about so far.

    The divergence of the policy from the one before an update, KL(old || new), grows with the square of the
    update's length. Where it stays below its target the rate may be larger: while the policy is still nearly
    uniform, or on a plateau. Where it is above, the policy moves further than its samples can tell. The
    adaptive rate of rl_games, but with a small step at each update: here updates are many, and the divergence
    of each is measured on few samples.

    Args:
        target: wanted divergence per update, at the set rate.
    """

    def __init__(self, target: float) -> None:
        self.target, self.factor = target, 1.0
        self._mean = 1.0  # of what was moved, in targets

    def get_state(self) -> dict[str, float]:
        """What `set_state` takes back."""
        return {"factor": self.factor, "mean": self._mean}

    def set_state(self, state: dict[str, float]) -> None:
        """Goes on where another was."""
        self.factor, self._mean = state["factor"], state["mean"]

    def tell(self, divergence: float, schedule: float) -> None:
        """Takes in what an update did.

        Args:
            divergence: of the policy after it from the one before; NaN, of weights that are not finite, is
                no measure of it.
            schedule: the share of the learning rate that its schedule has left; the target falls with its
                square, so that a rate which falls to 0 still does.
        """
        if math.isnan(divergence):
            return
        target = self.target * max(schedule, 0.05) ** 2
        moved = min(max(divergence, 0.0) / target, 10.0)  # one outlier must not count for hundreds
        self._mean += (moved - self._mean) / _MEMORY
        wanted = -math.log(max(self._mean, 1e-9))
        factor = self.factor * math.exp(_GAIN * min(max(wanted, -1.0), 1.0))
        self.factor = min(max(factor, LEAST), MOST)
