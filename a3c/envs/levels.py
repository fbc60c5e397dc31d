"""Frozen lakes of adjustable difficulty: small boards with holes, and moves that may slip.

A level is a board of 4 x 4 cells (S top left, G bottom right, F ice or H a hole) and `p_mistake`, the chance
that a move slips to one of the two directions beside the one that was meant. Gymnasium's FrozenLake-v1 with
is_slippery is the level `STANDARD`.

An observation is a vector of 22: the holes of the 14 cells between S and G by rows (0 or 1), the row as
one-hot of 4, the column as one-hot of 4. The chance to slip is not in it.

Cells are numbered by rows, 0 (S) to 15 (G). Actions are FrozenLake's: left, down, right, up.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

LEVELS_ID = "FrozenLakeLevels-v0"
SIZE, CELLS, ACTIONS = 4, 16, 4
GOAL = CELLS - 1
STATE_SIZE = CELLS - 2 + 2 * SIZE
STEP_CAP = 100

MOST_HOLES = 7
"""Random boards have 1 to this many holes; more hardly leave two ways to the goal."""

LARGEST_MISTAKE = 2 / 3
"""Random levels slip with a chance from 0 to this one, where a move goes astray as often as it can without
being likelier than the one meant."""

_MOVES = ((0, -1), (1, 0), (0, 1), (-1, 0))  # row and column, by action
_CELL_PIXELS = 64
_COLOURS = {"S": (196, 225, 240), "F": (218, 236, 247), "H": (38, 60, 92), "G": (150, 214, 150)}
_GRID, _FIGURE, _OUTLINE = (160, 190, 212), (224, 96, 32), (96, 32, 0)
_TERMINAL_COLOURS = {"S": "30;106", "F": "30;107", "H": "97;44", "G": "30;102"}
_TERMINAL_FIGURE = "1;97;41"


@dataclass(frozen=True)
class Level:
    """A board and how slippery it is. Raises ValueError unless it is such a board and can be solved."""

    board: str  # 16 cells by rows, without separators
    p_mistake: float

    def __post_init__(self) -> None:
        if len(self.board) != CELLS or set(self.board[1:-1]) - set("FH"):
            raise ValueError(f"{self.text}: a board is {SIZE} rows of {SIZE} cells: S, then F or H, then G")
        if self.board[0] != "S" or self.board[-1] != "G":
            raise ValueError(f"{self.text}: a board begins with S and ends with G")
        if isinstance(self.p_mistake, bool) or not 0 <= self.p_mistake <= 1:
            raise ValueError(f"p_mistake {self.p_mistake}: a chance is from 0 to 1")
        if not self.solvable:
            raise ValueError(f"{self.text}: holes bar every way to the goal")

    @classmethod
    def parse(cls, board: str | list[str] | tuple[str, ...], p_mistake: float) -> Level:
        """Of "SFFF/FHFH/FFFH/HFFG" or a list of such rows. Raises ValueError."""
        rows = board if isinstance(board, str) else "/".join(map(str, board))
        return cls(rows.replace("/", ""), float(p_mistake))

    @property
    def text(self) -> str:
        """The board as `parse` reads it."""
        return "/".join(self.board[i : i + SIZE] for i in range(0, len(self.board), SIZE))

    @property
    def holes(self) -> int:
        """How many there are."""
        return self.board.count("H")

    def __str__(self) -> str:
        return f"{self.holes} hole{'s' * (self.holes != 1)}, slips {self.p_mistake:.0%}"

    @property
    def successors(self) -> np.ndarray:
        """[16, 4, 3] int64: the cell where a move ends that veers to the left, goes straight, or veers to
        the right (of action - 1, action, action + 1)."""
        return _geometry(self.board).successors

    @property
    def final(self) -> np.ndarray:
        """[16] bool: the cells where a game ends."""
        return _geometry(self.board).final

    @property
    def solvable(self) -> bool:
        """Whether a way leads around the holes."""
        return _geometry(self.board).solvable

    def states(self) -> np.ndarray:
        """[16, 22] float32: the observation of each cell."""
        return _geometry(self.board).states.copy()

    def transitions(self) -> dict[int, dict[int, list[tuple[float, int, float, bool]]]]:
        """The dynamics as toy-text environments publish them: of cell and action, (chance, next cell,
        reward, terminated) of each outcome."""
        astray = self.p_mistake / 2
        chances = (astray, 1 - self.p_mistake, astray)
        return {
            cell: {
                action: [(1.0, cell, 0.0, True)]
                if self.final[cell]
                else [
                    (chance, following, float(following == GOAL), bool(self.final[following]))
                    for chance, following in zip(chances, row.tolist(), strict=True)
                ]
                for action, row in enumerate(self.successors[cell])
            }
            for cell in range(CELLS)
        }


class _Geometry(NamedTuple):
    """What follows from a board alone; the arrays are not to be changed."""

    successors: np.ndarray  # [16, 4, 3] int64
    final: np.ndarray  # [16] bool
    states: np.ndarray  # [16, 22] float32
    solvable: bool


@lru_cache(2**14)  # there are 9,907 with 1 to `MOST_HOLES` holes, 3 KB each
def _geometry(board: str) -> _Geometry:
    """As in `Level`. It takes longer than all steps of a game."""
    final = np.array([cell in "HG" for cell in board])
    rows, columns = np.divmod(np.arange(CELLS), SIZE)
    straight = np.stack(
        [
            np.clip(rows + down, 0, SIZE - 1) * SIZE + np.clip(columns + right, 0, SIZE - 1)
            for down, right in _MOVES
        ],
        axis=1,
    )
    straight[final] = np.flatnonzero(final)[:, None]
    successors = np.stack([straight[:, (np.arange(ACTIONS) + veer) % ACTIONS] for veer in (-1, 0, 1)], axis=2)
    holes = np.array([cell == "H" for cell in board[1:-1]], np.float32)
    one_hot = np.eye(SIZE, dtype=np.float32)
    states = np.concatenate([np.tile(holes, (CELLS, 1)), one_hot[rows], one_hot[columns]], axis=1)
    reached = {0}
    while frontier := set(straight[list(reached)].ravel().tolist()) - reached:
        reached |= frontier
    for array in (successors, final, states):
        array.setflags(write=False)
    return _Geometry(successors, final, states, GOAL in reached)


STANDARD = Level.parse("SFFF/FHFH/FFFH/HFFG", LARGEST_MISTAKE)
"""The board everybody knows: FrozenLake-v1, slippery; the fixed level that agents are tested on."""


def veer(chance: Any, p_mistake: float) -> Any:
    """Where moves go for uniform random numbers `chance`, one or an array: 0 left of what was meant,
    1 straight, 2 right, to index `Level.successors` with."""
    return 1 + (chance < p_mistake) - 2 * (chance < p_mistake / 2)


def random_level(random: np.random.Generator, p_mistake: float | None = None) -> Level:
    """A solvable level; the same state of the generator gives the same one.

    Args:
        random: draws the number of holes (1 to `MOST_HOLES`), where they are, and the chance to slip.
        p_mistake: the chance to slip, where it is fixed.
    """
    while True:
        cells = np.array(list("S" + "F" * (CELLS - 2) + "G"))
        number = random.integers(1, MOST_HOLES + 1)
        cells[1 + random.choice(CELLS - 2, number, replace=False)] = "H"
        slips = random.uniform(0, LARGEST_MISTAKE)
        try:
            return Level("".join(cells), slips if p_mistake is None else p_mistake)
        except ValueError:
            continue  # it cannot be solved


class FrozenLakeLevels(gymnasium.Env[np.ndarray, int]):
    """Levels as a Gymnasium environment, registered as `FrozenLakeLevels-v0` with a limit of 100 steps.

    Reward 1 at the goal, else 0. Without a board every episode has a new random level. `reset` takes
    options={"board": ..., "p_mistake": ...} for a single episode; either may be left out.

    Args:
        board: "SFFF/FHFH/FFFH/HFFG" or a list of such rows; None: random.
        p_mistake: chance that a move slips; None: random, or 2/3 where the board is given.
        render_mode: "rgb_array" [256, 256, 3], "ansi" (a coloured board for a terminal) or None.

    Raises:
        ValueError: it is no solvable level.
    """

    metadata = {"render_modes": ["rgb_array", "ansi"], "render_fps": 4}  # noqa: RUF012 (Gymnasium's own way)

    def __init__(
        self,
        board: str | list[str] | None = None,
        p_mistake: float | None = None,
        render_mode: str | None = None,
    ) -> None:
        self.observation_space = Box(0.0, 1.0, (STATE_SIZE,), np.float32)
        self.action_space: Discrete[Any] = Discrete(ACTIONS)
        self.render_mode = render_mode
        self.initial_state_distrib = np.eye(CELLS)[0]
        self._board, self._p_mistake = board, p_mistake
        self._begin(_level(board, p_mistake, np.random.default_rng(0)))

    @property
    def P(self) -> dict[int, dict[int, list[tuple[float, int, float, bool]]]]:
        """The dynamics of the level being played; see `Level.transitions`."""
        return self.level.transitions()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        chosen = {"board": self._board, "p_mistake": self._p_mistake, **(options or {})}
        if unknown := set(chosen) - {"board", "p_mistake"}:
            names = ", ".join(sorted(unknown))
            raise ValueError(f"no such option of reset: {names}; there are board and p_mistake")
        self._begin(_level(chosen["board"], chosen["p_mistake"], self.np_random))
        return self._states[0].copy(), {}

    def _begin(self, level: Level) -> None:
        self.level, self.cell = level, 0
        self._states, self._successors = level.states(), level.successors

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        direction = veer(self.np_random.random(), self.level.p_mistake)
        self.cell = int(self._successors[self.cell, action, direction])
        reward = float(self.cell == GOAL)
        return self._states[self.cell].copy(), reward, bool(self.level.final[self.cell]), False, {}

    def render(self) -> Any:
        """The board as a picture or as text."""
        if self.render_mode == "ansi":
            return board_text(self.level, self.cell)
        return board_picture(self.level, self.cell)


def _level(board: str | list[str] | None, p_mistake: float | None, random: np.random.Generator) -> Level:
    if board is None:
        return random_level(random, p_mistake)
    return Level.parse(board, LARGEST_MISTAKE if p_mistake is None else p_mistake)


def board_picture(level: Level, cell: int | None = None) -> np.ndarray:
    """[256, 256, 3] uint8: the board, with a figure on `cell`."""
    picture = np.zeros((SIZE * _CELL_PIXELS, SIZE * _CELL_PIXELS, 3), np.uint8)
    for i, kind in enumerate(level.board):
        top, left = (i // SIZE) * _CELL_PIXELS, (i % SIZE) * _CELL_PIXELS
        corner = (left + _CELL_PIXELS - 1, top + _CELL_PIXELS - 1)
        cv2.rectangle(picture, (left, top), corner, _COLOURS[kind], cv2.FILLED)
        cv2.rectangle(picture, (left, top), corner, _GRID, 1)
        if kind in "SG":
            place = (left + 20, top + 44)
            cv2.putText(picture, kind, place, cv2.FONT_HERSHEY_SIMPLEX, 1.1, _OUTLINE, 2, cv2.LINE_AA)
    if cell is not None:
        centre = tuple(int((part + 0.5) * _CELL_PIXELS) for part in (cell % SIZE, cell // SIZE))
        cv2.circle(picture, centre, 20, _FIGURE, cv2.FILLED, cv2.LINE_AA)
        cv2.circle(picture, centre, 20, _OUTLINE, 2, cv2.LINE_AA)
    return picture


def board_text(level: Level, cell: int) -> str:
    """The board in a terminal's colours, every cell three characters wide, with a figure on `cell`."""
    marks = []
    for i, kind in enumerate(level.board):
        colour = _TERMINAL_FIGURE if i == cell else _TERMINAL_COLOURS[kind]
        marks.append(f"\x1b[{colour}m {'@' if i == cell else kind} \x1b[0m")
    return "\n".join("".join(marks[i : i + SIZE]) for i in range(0, CELLS, SIZE)) + "\n"
