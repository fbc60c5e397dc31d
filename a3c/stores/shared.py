"""The store of one host: weights and optimizer state in one memory, updated lock-free by everybody.

Hogwild (Niu et al. 2011), as in A3C: a pull is a plain copy and a push an in-place optimizer step, while
others do the same. Two pushes that touch the same element at the same instant may lose one of the two
there; nothing else can go wrong, and a killed writer leaves nothing locked. With `Turns` the pushes come one
after another.

In private memory (never shared) the same class serves one process: tests and `--workers 0`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass

import torch

from a3c.errors import StorageError
from a3c.learning.schedules import learning_rate
from a3c.settings.groups import OptimConfig
from a3c.stores.optim import make_optimizer
from a3c.stores.parameters import Parameters, Shapes
from a3c.stores.scoreboard import Scoreboard
from a3c.stores.turns import Turns
from a3c.types import Counters, Gradients, PushResult, Rows

Snapshot = dict[str, dict[str, torch.Tensor]]

WEIGHTS = "weights"
"""Key of the weights that learn, in a snapshot whose model is their average."""


@dataclass
class StoreMemory:
    """The tensors all processes share; what a child process is given."""

    shapes: Shapes
    weights: torch.Tensor  # [N] float32
    optimizer: dict[str, torch.Tensor]  # [N] each
    average: torch.Tensor | None  # [N], of the weights; None where they are played as they are

    @classmethod
    def allocate(cls, shapes: Shapes, optim: OptimConfig) -> StoreMemory:
        """Zeros in private memory."""
        weights = Parameters(shapes).flat
        state = make_optimizer(optim.optimizer, weights.numel(), optim.epsilon, optim.amsgrad).state
        return cls(dict(shapes), weights, state, weights.clone() if optim.average_updates else None)

    def share(self) -> StoreMemory:
        """Moves the tensors into shared memory. Raises StorageError when it is full."""
        try:
            for tensor in self._tensors():
                tensor.share_memory_()  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            raise StorageError(
                f"no room in shared memory for the model ({error}); free /dev/shm (Docker: --shm-size=1g)"
            ) from error
        return self

    @property
    def size_bytes(self) -> int:
        """Of all tensors together."""
        return sum(tensor.nbytes for tensor in self._tensors())

    def _tensors(self) -> list[torch.Tensor]:
        average = [] if self.average is None else [self.average]
        return [self.weights, *self.optimizer.values(), *average]

    def parameters(self) -> Parameters:
        """The weights by name."""
        return Parameters(self.shapes, self.weights)

    def begin(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Takes weights to start from. Raises ValueError when names or shapes differ."""
        self.parameters().load(weights)
        if self.average is not None:
            self.average.copy_(self.weights)

    def snapshot(self) -> Snapshot:
        """A private copy, while others may be writing. Its model is what plays; where that is the average,
        the weights themselves are with the optimizer's state."""
        played, state = self.weights, dict(self.optimizer)
        if self.average is not None:
            played, state[WEIGHTS] = self.average, self.weights
        copies = {key: Parameters(self.shapes, t).clone() for key, t in state.items()}
        flat = {f"{key}.{name}": view for key, p in copies.items() for name, view in p.views.items()}
        return {"model": Parameters(self.shapes, played).clone().views, "optimizer": flat}

    def restore(self, snapshot: Snapshot) -> None:
        """Takes a snapshot back, also one without the average where there is one now, or the other way
        round. Raises ValueError when names or shapes differ."""
        found: dict[str, dict[str, torch.Tensor]] = {}
        for full_name, tensor in snapshot["optimizer"].items():
            key, _, name = full_name.partition(".")
            found.setdefault(key, {})[name] = tensor
        weights = found.pop(WEIGHTS, snapshot["model"])
        if found.keys() != self.optimizer.keys():
            raise ValueError(f"it has {', '.join(found) or 'nothing'}, not {', '.join(self.optimizer)}")
        self.parameters().load(weights)
        if self.average is not None:
            Parameters(self.shapes, self.average).load(snapshot["model"])
        for key, tensor in self.optimizer.items():
            Parameters(self.shapes, tensor).load(found[key])


class SharedStore:
    """A process's access to a `StoreMemory`; see `ParameterStore`.

    Args:
        memory: weights and optimizer state.
        optim: the optimizer's settings.
        max_steps: where a linear learning rate reaches 0; 0 for none.
        board: counters; this handle writes in `row` alone.
        row: the scoreboard row of this process.
        turns: that pushes take, or None for lock-free pushes.
    """

    def __init__(
        self,
        memory: StoreMemory,
        optim: OptimConfig,
        max_steps: int,
        board: Scoreboard,
        row: int,
        turns: Turns | None = None,
    ) -> None:
        self._memory = memory
        self.parameters = memory.parameters()
        self._optimizer = make_optimizer(
            optim.optimizer, memory.weights.numel(), optim.epsilon, optim.amsgrad
        )
        self._optimizer.state = memory.optimizer
        self._optim, self._max_steps, self._board, self._row = optim, max_steps, board, row
        self._gradient: Parameters | None = None  # allocated by the first dense push
        self._turn = turns.take if turns else nullcontext

    def pull(self, into: Parameters) -> int:
        version = self._board.version()
        into.flat.copy_(self.parameters.flat)
        return version

    @torch.no_grad()
    def push(self, gradients: Gradients, version: int, pace: float = 1.0) -> PushResult:
        rows = {name: g for name, g in gradients.items() if isinstance(g, Rows)}
        if rows:
            norm = math.sqrt(sum(float(g.value.square().sum()) for g in rows.values()))
            return self._admit(norm, version) or self._apply_rows(rows, norm, version, pace)
        flat = self._flatten(gradients)
        norm = float(flat.norm())
        return self._admit(norm, version) or self._apply(flat, norm, version, pace)

    def _admit(self, norm: float, version: int) -> PushResult | None:
        """The refusal of a gradient that must not be applied, counted; None for a good one."""
        lag = self._board.version() - version
        if not math.isfinite(norm):
            self._board.add(self._row, {"rejected_nonfinite": 1})
            return PushResult(False, lag, norm, "non-finite")
        if self._optim.max_lag and lag > self._optim.max_lag:
            self._board.add(self._row, {"rejected_stale": 1})
            return PushResult(False, lag, norm, "stale")
        return None

    def _flatten(self, gradients: Gradients) -> torch.Tensor:
        if self._gradient is None:
            self._gradient = Parameters(self.parameters.shapes)
        for name, view in self._gradient.views.items():
            view.copy_(gradients[name])  # type: ignore[arg-type]
        return self._gradient.flat

    def _apply(self, flat: torch.Tensor, norm: float, version: int, pace: float) -> PushResult:
        limit = self._optim.max_grad_norm
        if limit and norm > limit:
            flat.mul_(limit / norm)
        with self._turn(self._row):
            updates = self._board.version()
            self._optimizer.step(self.parameters.flat, flat, self.learning_rate() * pace, updates + 1)
            if (average := self._memory.average) is not None:
                average.lerp_(self.parameters.flat, 1 / min(updates + 1, self._optim.average_updates))
            return self._count(norm, updates - version)

    def _apply_rows(self, rows: dict[str, Rows], norm: float, version: int, pace: float) -> PushResult:
        with self._turn(self._row):
            updates = self._board.version()
            for name, g in rows.items():
                table = self.parameters.views[name]
                table.index_put_(g.index, g.value * -(self.learning_rate() * pace), accumulate=True)
            return self._count(norm, updates - version)

    def _count(self, norm: float, lag: int) -> PushResult:
        self._board.add(self._row, {"updates": 1, "lag_sum": lag})
        return PushResult(True, lag, norm)

    def learning_rate(self) -> float:
        """The rate of the next update."""
        o = self._optim
        return learning_rate(o.lr, o.lr_schedule, self._max_steps, self._board.total("env_steps"))

    def counters(self) -> Counters:
        return self._board.counters()

    def snapshot(self) -> Snapshot:
        return self._memory.snapshot()
