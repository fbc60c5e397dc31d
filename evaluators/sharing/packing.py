"""Building a package: playing, filming, describing, and proving that the package plays the same."""

from __future__ import annotations

import json
import logging
import math
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from a3c.envs import make_env
from a3c.errors import CheckpointError, UsageError
from a3c.settings.algorithms import TABULAR
from a3c.storage import package_format as names
from a3c.storage.atomic import publish_folder, storage_errors
from a3c.storage.manifest import MANIFEST
from a3c.storage.tensor_files import Tensors, encode_tensors
from a3c.trained.find import PACKAGE, Rebuilt, Trained, rebuild
from evaluators.curves.points import read_curves, write_points
from evaluators.games.episodes import Games, finish, play, play_seeds
from evaluators.games.progress import with_progress
from evaluators.scoring.results import results_of
from evaluators.sharing.model_card import model_card
from evaluators.showing.film import filming, picture_rate

FILMED_STEPS = 4500
"""The replay is cut after this many steps: five minutes of an Atari game."""

PROVEN_STEPS = 300
"""Steps that the agent and what was read back from its package have to play alike."""

_log = logging.getLogger(__name__)


class Wanted(NamedTuple):
    """The games behind a package's results."""

    episodes: int  # whole games
    seed: int  # of the first; the others follow
    greedy: bool  # take the likeliest action instead of sampling
    env: str = ""  # the environment as it was typed, where that is in a module


def build_package(
    trained: Trained,
    out: Path,
    wanted: Wanted,
    half: bool = False,
    origin: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Plays, and writes the folder `out`, all of it or nothing. Returns the results.

    Args:
        trained: the agent.
        out: a folder that is not there yet.
        wanted: the games to play.
        half: keep the weights in 16 bits.
        origin: how and where it was trained, of an agent that is released.

    Raises:
        A3CError: the agent cannot play, with `half` it has no weights or plays otherwise, or the folder
            cannot be written.
    """
    torch.set_num_threads(1)  # the same scores as `a3c eval`, and no fight with a training
    weights, full = trained.checkpoint.model, trained
    if half:
        if not any(tensor.is_floating_point() for tensor in weights.values()):
            raise UsageError(f"{trained.path} has no weights to halve; leave out --half")
        weights = in_half(weights)
        trained = replace(full, checkpoint=replace(full.checkpoint, model=names.widened(weights)))
    agent = _rebuild(trained, wanted)
    with tempfile.TemporaryDirectory() as folder:
        replay = Path(folder) / names.REPLAY
        games = _play(agent, wanted, replay)
        results = _results(agent, trained, games, wanted.greedy)
        if half:
            results["half"] = _compare_half(games, full, wanted, weights)
        if origin:
            results["training"] = dict(origin)
        files = {
            names.MODEL: encode_tensors(weights),
            names.CONFIG: names.encode_config(trained.checkpoint),
            names.RESULTS: (json.dumps(results, indent=1) + "\n").encode(),
            **({names.REPLAY: replay.read_bytes()} if replay.exists() else {}),
            **_curve(trained, Path(folder) / names.METRICS),
        }
    files[names.CARD] = model_card(results, sorted(files)).encode()
    files[MANIFEST] = names.encode_manifest(files)
    _prove(trained, files, wanted)
    with storage_errors(f"write {out}"):
        publish_folder(out, files)
    return results


def _rebuild(trained: Trained, wanted: Wanted) -> Rebuilt:
    return rebuild(trained, wanted.env, wanted.seed, "cpu", wanted.greedy)


def _play(agent: Rebuilt, wanted: Wanted, replay: Path) -> Games:
    """Plays all games and films the first, where the environment can be drawn."""
    with filming(replay, picture_rate(agent.env), _warn_of_replay, FILMED_STEPS) as film:
        games = film.play(agent.policy, agent.config.env, _seeds(wanted))
        return finish(with_progress(games, wanted.episodes))


def _seeds(wanted: Wanted) -> tuple[int, ...]:
    return tuple(range(wanted.seed, wanted.seed + wanted.episodes))


def in_half(weights: Tensors) -> Tensors:
    """The weights in 16 bits: float16, which is the finer, unless a number is too large for it, then
    bfloat16; what is no real number as it is."""
    real = [tensor for tensor in weights.values() if tensor.is_floating_point()]
    fits = all(bool(torch.isfinite(tensor.half()).all()) for tensor in real)
    kind = torch.float16 if fits else torch.bfloat16
    return {name: t.to(kind) if t.is_floating_point() else t for name, t in weights.items()}


def _compare_half(games: Games, full: Trained, wanted: Wanted, weights: Tensors) -> dict[str, Any]:
    """Plays the same games with all 32 bits. Raises CheckpointError where the scores differ by more than
    the games' error."""
    agent, seeds = _rebuild(full, wanted), _seeds(wanted)
    make = partial(make_env, agent.config.env, training=False)
    scores = finish(with_progress(play_seeds(agent.policy, make, seeds), wanted.episodes)).scores
    kind = next(str(t.dtype).removeprefix("torch.") for t in weights.values() if t.is_floating_point())
    if not alike(games.scores, scores):
        means = f"{statistics.fmean(games.scores):.2f} instead of {statistics.fmean(scores):.2f}"
        raise CheckpointError(f"{full.path}: with weights in {kind} it scores {means}; leave out --half")
    return {"format": kind, "full_mean": statistics.fmean(scores), "full_std": statistics.stdev(scores)}


def alike(some: Sequence[float], others: Sequence[float]) -> bool:
    """Whether two means differ by no more than twice the standard error of their difference."""
    error = math.sqrt(sum(statistics.variance(scores) / len(scores) for scores in (some, others)))
    return abs(statistics.fmean(some) - statistics.fmean(others)) <= 2 * error


def _warn_of_replay(trouble: str) -> None:
    _log.warning("the replay of the package has %s", trouble)


def _results(agent: Rebuilt, trained: Trained, games: Games, greedy: bool) -> dict[str, Any]:
    """In the fields that other projects' results have, and ours below `protocol`."""
    deterministic = greedy or agent.config.learn.algo in TABULAR
    played = results_of(games, agent.env, deterministic)
    settings = agent.config.to_dict()
    return {
        "env_id": agent.env.env_id,
        "mean_reward": played.pop("mean"),
        "std_reward": played.pop("std"),
        "n_eval_episodes": played.pop("n"),
        "is_deterministic": deterministic,
        "eval_datetime": datetime.now().astimezone().isoformat(timespec="seconds"),
        "algo": agent.config.learn.algo,
        "env_steps": trained.env_steps,
        "checkpoint": trained.path.name,
        "hyperparameters": {**settings["env"], **settings["learn"], **settings["optim"]},
        "protocol": played,
    }


def _curve(trained: Trained, path: Path) -> dict[str, bytes]:
    """The points of the run, or of the package, where it has any."""
    try:
        write_points(path, [read_curves(trained.path if trained.role == PACKAGE else trained.run_dir)])
    except UsageError:
        return {}  # it was stopped before its first point
    return {names.METRICS: path.read_bytes()}


def _prove(trained: Trained, files: dict[str, bytes], wanted: Wanted) -> None:
    """Plays one game with the agent and with what can be read from its package. Raises CheckpointError."""
    checkpoint = names.read_package(lambda name, limit: files[name][: limit + 1], "the new package")
    packed = Trained(trained.path, checkpoint, PACKAGE)
    games = []
    for one in (trained, packed):
        agent = _rebuild(one, wanted)
        envs = make_env(agent.config.env, [wanted.seed], training=False)
        steps = play(agent.policy, envs, (wanted.seed,), PROVEN_STEPS)
        games.append(finish(steps))
        envs.close()
    if games[0] != games[1]:
        raise CheckpointError(f"{trained.path}: read back, the agent plays another game; nothing was written")
