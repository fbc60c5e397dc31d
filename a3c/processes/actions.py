"""What the supervisor wants done; a group carries it out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Spawn:
    """Start the child; answer with `started` or `spawn_failed`."""

    name: str
    incarnation: int  # how often it was restarted


@dataclass(frozen=True)
class _ToProcess:
    name: str
    pid: int


class Dump(_ToProcess):
    """Ask the child to write its stack to its log."""


class Terminate(_ToProcess):
    """Ask the child to end."""


class Kill(_ToProcess):
    """End the child."""


class Abandon(_ToProcess):
    """Forget a child that outlives being killed."""


@dataclass(frozen=True)
class Say:
    """Tell the user."""

    level: str  # "info", "warning" or "error"
    text: str


@dataclass(frozen=True)
class GiveUp:
    """End the run: too few workers are left."""

    reason: str


Action = Spawn | Dump | Terminate | Kill | Abandon | Say | GiveUp
