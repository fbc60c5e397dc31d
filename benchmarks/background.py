"""What a critic sees of a game, with and without its background subtracted.

    python -m benchmarks.background                  # about four minutes
    python -m benchmarks.background --games Seaquest --model nature

Plays at random, and fits a fresh network's value to the discounted clipped rewards of that play, once with a
constant grey subtracted from the pictures and once with their mean (see `a3c/networks/actor_critic.py`).
Prints how much of the features' power differs from picture to picture at the start, and how much of the
variance of unseen returns the value explains after each pass. Writes benchmarks/results/background.json.
"""

from __future__ import annotations

import argparse
from typing import Any, NamedTuple

import numpy as np
import torch

from a3c.envs import make_env
from a3c.learning.returns import explained_variance
from a3c.networks.actor_critic import BACKGROUND, ActorCritic, make_network
from a3c.settings.config import Config, resolve
from a3c.training.session import mean_picture
from benchmarks.common import keep, machine, table

ENVS, UNROLL, GAMMA = 8, 20, 0.99


class Play(NamedTuple):
    """Random play: T steps in B environments."""

    observations: np.ndarray  # [T, B, C, H, W] uint8
    returns: torch.Tensor  # [T, B], discounted
    keeps: torch.Tensor  # [T, B, 1], 0 where an episode begins


def play(config: Config, steps: int, seed: int) -> Play:
    """Plays at random; every environment's first step is left out."""
    envs = make_env(config.env, range(seed, seed + ENVS), training=True)
    rng, seen = np.random.default_rng(seed), []
    envs.reset()
    for _ in range(steps):
        step = envs.step(rng.integers(envs.spec.num_actions, size=ENVS))
        seen.append((step.observation.copy(), np.sign(step.reward), step.discount.copy(), step.first.copy()))
    envs.close()
    observations, rewards, discounts, firsts = map(np.stack, zip(*seen, strict=True))
    returns = np.zeros_like(rewards, dtype=np.float32)
    for t in range(steps - 2, -1, -1):  # reward and discount of a step come with the observation after it
        returns[t] = rewards[t + 1] + GAMMA * discounts[t + 1] * returns[t + 1]
    return Play(observations, torch.from_numpy(returns), torch.from_numpy(~firsts).float().unsqueeze(-1))


def values(network: ActorCritic, seen: Play, start: int) -> torch.Tensor:
    """[T, B], of one stretch of play from `start`."""
    stretch = slice(start, start + UNROLL)
    images = torch.from_numpy(seen.observations[stretch]).flatten(0, 1)
    features = network.features(images).view(UNROLL, ENVS, -1)
    return network.unroll(features, seen.keeps[stretch], network.initial_state(ENVS)).value


def fit(network: ActorCritic, seen: Play, passes: int, lr: float) -> list[float]:
    """Explained variance of the returns of the last eighth, which is not learned from, after each pass."""
    starts = np.arange(0, len(seen.observations) - 100 - UNROLL, UNROLL)  # the last returns lack their end
    learned, unseen = starts[: len(starts) * 7 // 8], starts[len(starts) * 7 // 8 + 1 :]
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr)
    explained = []
    for n in range(passes):
        for start in np.random.default_rng(n).permutation(learned):
            error = values(network, seen, start) - seen.returns[start : start + UNROLL]
            optimizer.zero_grad()
            error.square().mean().backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 0.3)
            optimizer.step()
        with torch.no_grad():
            found = torch.cat([values(network, seen, start) for start in unseen])
        wanted = torch.cat([seen.returns[start : start + UNROLL] for start in unseen])
        explained.append(explained_variance(found.flatten(), wanted.flatten()))
    return explained


def differing(network: ActorCritic, seen: Play) -> float:
    """Share of the features' power that differs from picture to picture."""
    with torch.no_grad():
        features = network.features(torch.from_numpy(seen.observations[:100]).flatten(0, 1))
    return float(features.var(0).sum() / features.square().mean(0).sum())


def measure(game: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Both backgrounds for one game."""
    config = resolve({"env": f"{game}NoFrameskip-v4", "model": options.model})
    seen, rows = play(config, options.steps, seed=1000), []
    shape = seen.observations.shape[2:]
    for name in ("grey", "mean picture"):
        torch.manual_seed(options.seed)
        network = make_network(options.model, shape, 6)
        if name != "grey":
            network.get_parameter(BACKGROUND).data.copy_(torch.from_numpy(mean_picture(config)))
        share = differing(network, seen)
        explained = fit(network, seen, options.passes, options.lr)
        rows.append({"game": game, "background": name, "differing": share, "explained": explained})
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--games", nargs="+", default=["Breakout", "Pong"])
    parser.add_argument("--model", default="a3c-small")
    parser.add_argument("--steps", type=int, default=2400, help="of each of 8 environments")
    parser.add_argument("--passes", type=int, default=4)
    parser.add_argument("--lr", type=float, default=6e-4)
    parser.add_argument("--seed", type=int, default=1, help="of the weights")
    options = parser.parse_args()
    torch.set_num_threads(1)
    where, rows = machine(), [row for game in options.games for row in measure(game, options)]
    head = ["game", "background", "differing", *(f"pass {n + 1}" for n in range(options.passes))]
    lines = [[r["game"], r["background"], f"{r['differing']:.4f}", *(f"{e:.2f}" for e in r["explained"])]
             for r in rows]  # fmt: skip
    print(table([head, *lines]))
    kept = keep("background", {"machine": where, "settings": vars(options), "rows": rows})
    print(f"kept in {kept}")


if __name__ == "__main__":
    main()
