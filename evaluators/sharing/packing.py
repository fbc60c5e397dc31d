"""Building a package: playing, filming, describing, and proving that the package plays the same."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from a3c.envs import make_env
from a3c.errors import CheckpointError, UsageError
from a3c.storage.atomic import publish_folder, storage_errors
from a3c.storage.manifest import MANIFEST
from a3c.storage.run_directory import METRICS as RUN_METRICS
from a3c.storage.tensor_files import encode_tensors
from a3c.trained import package_format as names
from a3c.trained.find import PACKAGE, Rebuilt, Trained, rebuild
from evaluators.curves.points import read_curves, write_points
from evaluators.games.episodes import Games, finish, play
from evaluators.games.progress import with_progress
from evaluators.scoring.results import results_of
from evaluators.sharing.model_card import model_card
from evaluators.showing.film import filming, picture_rate

FILMED_STEPS = 4500
"""The replay is cut after this many steps: five minutes of an Atari game."""

PROVEN_STEPS = 300
"""Steps that the agent and what was read back from its package have to play alike."""

_log = logging.getLogger(__name__)


def build_package(
    trained: Trained, out: Path, episodes: int, seed: int, greedy: bool, env: str = ""
) -> dict[str, Any]:
    """Plays, and writes the folder `out`, all of it or nothing. Returns the results.

    Args:
        trained: the agent.
        out: a folder that is not there yet.
        episodes: whole games to play.
        seed: of the first; the others follow.
        greedy: take the likeliest action instead of sampling.
        env: its environment as it was typed, where that is in a module.

    Raises:
        A3CError: the agent cannot play, or the folder cannot be written.
    """
    torch.set_num_threads(1)  # the same scores as `a3c eval`, and no fight with a training
    agent = rebuild(trained, env, seed, "cpu", greedy)
    with tempfile.TemporaryDirectory() as folder:
        replay = Path(folder) / names.REPLAY
        results = _results(agent, trained, _play(agent, episodes, seed, replay), greedy)
        files = {
            names.MODEL: encode_tensors(trained.checkpoint.model),
            names.CONFIG: names.encode_config(trained.checkpoint),
            names.RESULTS: (json.dumps(results, indent=1) + "\n").encode(),
            **({names.REPLAY: replay.read_bytes()} if replay.exists() else {}),
            **_curve(trained, Path(folder) / names.METRICS),
        }
    files[names.CARD] = model_card(results, sorted(files)).encode()
    files[MANIFEST] = names.encode_manifest(files)
    _prove(trained, files, seed, greedy, env)
    with storage_errors(f"write {out}"):
        publish_folder(out, files)
    return results


def _play(agent: Rebuilt, episodes: int, seed: int, replay: Path) -> Games:
    """Plays all games and films the first, where the environment can be drawn."""
    seeds = tuple(range(seed, seed + episodes))
    with filming(replay, picture_rate(agent.env), _warn_of_replay, FILMED_STEPS) as film:
        return finish(with_progress(film.play(agent.policy, agent.config.env, seeds), episodes))


def _warn_of_replay(trouble: str) -> None:
    _log.warning("the replay of the package has %s", trouble)


def _results(agent: Rebuilt, trained: Trained, games: Games, greedy: bool) -> dict[str, Any]:
    """In the fields that other projects' results have, and ours below `protocol`."""
    played = results_of(games, agent.env, greedy)
    settings = agent.config.to_dict()
    return {
        "env_id": agent.env.env_id,
        "mean_reward": played.pop("mean"),
        "std_reward": played.pop("std"),
        "n_eval_episodes": played.pop("n"),
        "is_deterministic": greedy,
        "eval_datetime": datetime.now().astimezone().isoformat(timespec="seconds"),
        "algo": agent.config.learn.algo,
        "env_steps": trained.env_steps,
        "checkpoint": trained.path.name,
        "hyperparameters": {**settings["env"], **settings["learn"], **settings["optim"]},
        "protocol": played,
    }


def _curve(trained: Trained, path: Path) -> dict[str, bytes]:
    """The run's points, where it has any."""
    if not os.path.lexists(trained.run_dir / RUN_METRICS):
        return {}
    try:
        write_points(path, [read_curves(trained.run_dir)])
    except UsageError:
        return {}  # it was stopped before its first point
    return {names.METRICS: path.read_bytes()}


def _prove(trained: Trained, files: dict[str, bytes], seed: int, greedy: bool, env: str) -> None:
    """Plays one game with the agent and with what can be read from its package. Raises CheckpointError."""
    checkpoint = names.read_package(lambda name, limit: files[name][: limit + 1], "the new package")
    packed = Trained(trained.path, checkpoint, PACKAGE)
    games = []
    for one in (trained, packed):
        agent = rebuild(one, env, seed, "cpu", greedy)
        envs = make_env(agent.config.env, [seed], training=False)
        steps = play(agent.policy, envs, (seed,), PROVEN_STEPS)
        games.append(finish(steps))
        envs.close()
    if games[0] != games[1]:
        raise CheckpointError(f"{trained.path}: read back, the agent plays another game; nothing was written")
