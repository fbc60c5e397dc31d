"""How to combine what nodes learn: steps to a score by rule and number of nodes, in one process.

    python -m benchmarks.cluster_rules                                     # CartPole, 3 seeds
    python -m benchmarks.cluster_rules --name pong --steps 10M --target 18 --between 20k --check 100k \
        -- --preset pong-fast                                              # days

Each node is the worker of a run with its own weights and moments, and exchanges with the anchor as
nodes of a cluster do (a3c/cluster), bfloat16 included. Here the nodes take turns, one rollout each, and
exchange after `--between` steps of their own, one shortly after the other. So the outcome depends on neither
the machine nor the network, and steps of a node stand for time: on a cluster all nodes make them at once.

The cluster's weights play `--games` whole games after every `--check` steps of a node; a run is over when
their mean reaches `--target`, or after `--steps` steps of a node. Writes cluster-rules-NAME.json to
benchmarks/results/; what is there already is kept, and only what is missing is trained.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from a3c.agents.make import make_policy
from a3c.cluster.exchange import Anchor
from a3c.cluster.replica import Replica, ReplicaMemory
from a3c.cluster.rules import RULES
from a3c.envs import make_env, resolve_env
from a3c.settings.config import Config, resolve
from a3c.settings.flags import Parser, add_settings, given_settings
from a3c.settings.values import parse_count
from a3c.storage.run_directory import RunDirectory
from a3c.storage.run_lock import RunLock
from a3c.training.inline_team import InlineLink
from a3c.training.session import open_session
from a3c.training.worker import Worker, WorkerSpec
from benchmarks.common import RESULTS, keep, machine, table
from evaluators.games.episodes import finish, play_seeds

COUNTED = ("env_steps",)
FIRST_GAME = 1_000_000
"""The seed of the first game that is scored; no training has it."""


class Node:
    """One node: its weights, its worker, and what it has to tell the anchor."""

    def __init__(self, config: Config, number: int, folder: Path) -> None:
        folder.mkdir()
        seed = config.run.seed + 10_000 * number
        session = open_session(
            config.replace(seed=seed, workers=0),
            RunDirectory(folder, "node", False, None, RunLock(folder), {}, []),
        )
        self.board, self.weights = session.board, session.memory.weights
        self.worker = Worker(WorkerSpec(session, 0, 0), InlineLink())
        memory = ReplicaMemory.allocate(self.weights.numel(), COUNTED)
        if number == 0:
            memory.lead()
        self.replica = Replica(self.weights, memory, f"node-{number}", 1)
        self.session = session

    @property
    def steps(self) -> int:
        return self.board.total("env_steps")

    def exchange(self, anchor: Anchor) -> None:
        own = {"env_steps": float(self.steps)}
        if self.replica.leads:
            reply = anchor.fill(self.replica.fill(own, own), 0.0)
        else:
            reply = anchor.exchange(self.replica.request(own), 0.0)
        self.replica.apply(reply)


def train(config: Config, rule: str, nodes: int, o: argparse.Namespace) -> dict[str, Any]:
    """One run. Returns the steps of a node to the target, None when it was not reached, and the scores."""
    with tempfile.TemporaryDirectory() as folder:
        team = [Node(config, i, Path(folder, str(i))) for i in range(nodes)]
        anchor = Anchor(rule, patience=1.0)  # the clock stands still
        for node in team:
            node.exchange(anchor)
        due = [o.between * (1 + i / nodes) for i in range(nodes)]
        scores: list[tuple[int, float]] = []
        reached = None
        while reached is None and team[0].steps < o.steps:
            for i, node in enumerate(team):
                node.worker.step()
                if node.steps >= due[i]:
                    node.exchange(anchor)
                    due[i] += o.between
            if team[0].steps >= o.check * (len(scores) + 1):
                scores.append((team[0].steps, score(team[0], anchor, o.games)))
                reached = team[0].steps if scores[-1][1] >= o.target else None
        for node in team:
            node.worker.close()
    return {"rule": rule, "nodes": nodes, "seed": config.run.seed, "reached": reached, "scores": scores}


def score(node: Node, anchor: Anchor, games: int) -> float:
    """Mean of whole games that the cluster's weights play."""
    config, spec = node.session.config, node.session.env
    policy = make_policy(config, spec, 0, "cpu", greedy=False)
    policy.parameters.flat.copy_(torch.from_numpy(np.array(anchor.weights)))
    policy.refresh()
    seeds = tuple(range(FIRST_GAME, FIRST_GAME + games))
    played = finish(play_seeds(policy, lambda part: make_env(config.env, list(part), training=False), seeds))
    return float(np.mean(played.scores))


def report(runs: list[dict[str, Any]]) -> str:
    """Of each rule and number of nodes: the steps of a node to the target, seed by seed."""
    rows: list[list[Any]] = [["rule", "nodes", "steps of a node to the target", "last score"]]
    for rule, nodes in sorted({(run["rule"], run["nodes"]) for run in runs}, key=lambda r: (r[1], r[0])):
        those = [run for run in runs if (run["rule"], run["nodes"]) == (rule, nodes)]
        reached = ", ".join("not" if run["reached"] is None else f"{run['reached']:,}" for run in those)
        last = ", ".join(f"{run['scores'][-1][1]:.0f}" if run["scores"] else "" for run in those)
        rows.append([rule, nodes, reached, last])
    return table(rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--name", default="cartpole")
    parser.add_argument("--rules", nargs="+", choices=RULES, default=list(RULES))
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--steps", type=parse_count, default=100_000, help="of a node, at most")
    parser.add_argument("--between", type=parse_count, default=2_000, help="steps of a node per exchange")
    parser.add_argument("--check", type=parse_count, default=5_000)
    parser.add_argument("--target", type=float, default=475.0)
    parser.add_argument("--games", type=int, default=20)
    own, flags = sys.argv[1:], ["--preset", "cartpole-a3c"]
    if "--" in own:
        own, flags = own[: own.index("--")], own[own.index("--") + 1 :]
    o = parser.parse_args(own)
    settings = Parser("cluster_rules", "the flags of the training")
    add_settings(settings)
    given = given_settings(settings.parse_args(flags))
    where, runs = machine(), []
    if (kept := RESULTS / f"cluster-rules-{o.name}.json").exists():
        runs = json.loads(kept.read_text())["runs"]
    torch.set_num_threads(1)
    for seed in o.seeds:
        config = resolve_env(resolve({**given, "seed": seed, "workers": 0}))
        for nodes in o.nodes:
            for rule in o.rules if nodes > 1 else o.rules[:1]:
                if any((run["rule"], run["nodes"], run["seed"]) == (rule, nodes, seed) for run in runs):
                    continue
                began = time.process_time()
                runs.append(train(config, rule, nodes, o))
                run = runs[-1]
                print(
                    rule,
                    nodes,
                    seed,
                    run["reached"],
                    run["scores"][-1:],
                    f"{time.process_time() - began:.0f} s",
                )
                keep(
                    f"cluster-rules-{o.name}",
                    {"machine": where, "options": vars(o), "flags": flags, "runs": runs},
                )
    print(report(runs))


if __name__ == "__main__":
    main()
