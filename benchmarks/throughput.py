"""Steps per second of training, against the classic loop and against what the machine allows.

    python -m benchmarks.throughput                  # about ten minutes; let nothing else run
    python -m benchmarks.throughput --seconds 10 --rounds 1

In every round, one after the other, so that a change of the machine's speed hits all alike:

- bounds: the bare emulator (4 frames a step) and a 2048^3 matrix product, on one core; in bfloat16 where
  the processor multiplies it natively, else in float32, as training does;
- classic: the loop of the A3C codes of 2018, two processes: batch 1, contiguous float32, one environment
  each, Gymnasium's wrappers, a Python-level shared AMSGrad step per parameter;
- ours: `run.py` with 2 workers, `a3c-lstm` and `a3c-small`.

Prints medians and the quotients that matter, and writes benchmarks/results/throughput.json.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import ale_py
import gymnasium
import numpy as np
import torch
import torch.multiprocessing as mp
import torch.nn.functional as F
from ale_py import roms

from a3c.networks.actor_critic import A3Clstm
from a3c.networks.compute import cpu_computes_bf16
from benchmarks.common import keep, machine, run_training, spread, table

WORKERS = 2
STEP_FLOP = 354e6  # of A3Clstm, forward and backward, per step
OURS = {"a3c-lstm": ["--model", "a3c-lstm", "--envs-per-worker", "16"],
        "a3c-small": ["--model", "a3c-small", "--envs-per-worker", "16"]}  # fmt: skip


def emulator_rate(seconds: float) -> float:
    """Steps (4 frames) per second of the bare emulator on one core, with random actions."""
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)  # before the first, or it prints a banner
    ale = ale_py.ALEInterface()
    ale.setInt("random_seed", 1)
    ale.loadROM(roms.get_rom_path("pong"))
    actions = ale.getMinimalActionSet()
    chosen = np.random.default_rng(0).integers(len(actions), size=100_000).tolist()
    steps, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        for i in chosen[steps % 90_000 : steps % 90_000 + 100]:
            for _ in range(4):
                ale.act(actions[i])
            if ale.game_over():
                ale.reset_game()
        steps += 100
    return steps / elapsed


def matmul_rate(seconds: float) -> float:
    """FLOP/s of a 2048^3 matrix product on one core, in the arithmetic that training takes there."""
    torch.set_num_threads(1)
    a = torch.randn(2048, 2048, dtype=torch.bfloat16 if cpu_computes_bf16() else torch.float32)
    count, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        a @ a
        count += 1
    return count * 2 * 2048**3 / elapsed


# The classic loop ------------------------------------------------------------------------------------


def classic_worker(rank: int, shared: A3Clstm, moments: dict[str, Any], steps: torch.Tensor) -> None:
    """One environment, batch 1, a pull and a push every 20 steps."""
    torch.set_num_threads(1)
    torch.manual_seed(rank)
    gymnasium.register_envs(ale_py)
    env = gymnasium.make("PongNoFrameskip-v4")
    env = gymnasium.wrappers.AtariPreprocessing(env, frame_skip=4, screen_size=80, grayscale_obs=True)
    model = A3Clstm(1, 6)
    observation, _ = env.reset(seed=rank)
    state = model.initial_state(1)
    while True:
        model.load_state_dict(shared.state_dict())
        state = tuple(s.detach() for s in state)
        trace = []
        for _ in range(20):
            output = model(torch.from_numpy(np.asarray(observation)[None, None]), state)
            state = output.state
            probabilities = F.softmax(output.logits, -1)
            action = probabilities.multinomial(1).detach()
            log_probs = F.log_softmax(output.logits, -1)
            observation, reward, terminated, truncated, _ = env.step(int(action))
            entropy = -(log_probs * probabilities).sum(1)
            trace.append((output.value, log_probs.gather(1, action), entropy, float(np.clip(reward, -1, 1))))
            steps[rank] += 1
            if terminated or truncated:
                observation, _ = env.reset()
                state = model.initial_state(1)
                break
        model.zero_grad()
        classic_loss(trace).backward()
        classic_step(shared, model, moments)


def classic_loss(trace: list[Any]) -> torch.Tensor:
    """Returns and advantages backwards through the rollout, summed."""
    target = torch.zeros(1)
    policy_loss = value_loss = torch.zeros(1)
    for value, log_prob, entropy, reward in reversed(trace):
        target = 0.99 * target + reward
        advantage = target - value
        value_loss = value_loss + 0.5 * advantage.pow(2)
        policy_loss = policy_loss - log_prob[:, 0] * advantage.detach() - 0.01 * entropy
    return (policy_loss + 0.5 * value_loss).sum()


def classic_step(shared: A3Clstm, model: A3Clstm, moments: dict[str, Any], lr: float = 1e-4) -> None:
    """AMSGrad, an operation at a time, parameter by parameter."""
    with torch.no_grad():
        moments["step"] += 1
        t = float(moments["step"])
        for (name, weight), mine in zip(shared.named_parameters(), model.parameters(), strict=True):
            if mine.grad is None:
                continue  # the background is not learned
            first, second, largest = moments[name]
            first.mul_(0.9).add_(mine.grad, alpha=0.1)
            second.mul_(0.999).addcmul_(mine.grad, mine.grad, value=0.001)
            torch.maximum(largest, second, out=largest)
            step_size = lr * (1 - 0.999**t) ** 0.5 / (1 - 0.9**t)
            weight.addcdiv_(first, largest.sqrt().add_(1e-3), value=-step_size)


def classic_rate(seconds: float, warm_up_s: float) -> float:
    """Steps per second of two classic workers."""
    shared = A3Clstm(1, 6).share_memory()
    moments: dict[str, Any] = {
        name: tuple(torch.zeros_like(p).share_memory_() for _ in range(3))
        for name, p in shared.named_parameters()
    }
    moments["step"] = torch.zeros(1).share_memory_()
    steps = torch.zeros(WORKERS, dtype=torch.long).share_memory_()
    context = mp.get_context("spawn")
    workers = [
        context.Process(target=classic_worker, args=(i, shared, moments, steps), daemon=True)
        for i in range(WORKERS)
    ]
    for worker in workers:
        worker.start()
    try:
        while not bool((steps > 0).all()):
            time.sleep(0.05)
        time.sleep(warm_up_s)
        before, start = int(steps.sum()), time.perf_counter()
        time.sleep(seconds)
        return (int(steps.sum()) - before) / (time.perf_counter() - start)
    finally:
        for worker in workers:
            worker.kill()
            worker.join()


# -----------------------------------------------------------------------------------------------------


def measure(rounds: int, seconds: float, warm_up_s: float) -> dict[str, list[float]]:
    """All rates, round by round."""
    ours = ["--env", "PongNoFrameskip-v4", "--preset", "none", "--workers", str(WORKERS)]
    sides: dict[str, Callable[[], dict[str, float]]] = {
        "emulator, 1 core": lambda: {"": emulator_rate(3)},
        "FLOP/s, 1 core": lambda: {"": matmul_rate(3)},
        "classic": lambda: {"": classic_rate(seconds, warm_up_s)},
    }
    for name, flags in OURS.items():
        sides[name] = lambda flags=flags: run_training([*ours, *flags], seconds, warm_up_s)  # type: ignore[misc]
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, side in sides.items():
            for key, value in side().items():
                found.setdefault(f"{name} {key}".strip(), []).append(value)
                print(f"{name} {key}: {value:,.2f}", flush=True)
    return found


def quotients(m: dict[str, float]) -> dict[str, float]:
    """What the figures mean, each within this run."""
    emulator, flops = m["emulator, 1 core"], m["FLOP/s, 1 core"]
    bound = 1 / (STEP_FLOP / flops + 1 / emulator)
    lstm, small = m["a3c-lstm steps_per_second"], m["a3c-small steps_per_second"]
    return {
        "a3c-lstm / classic": lstm / m["classic"],
        "a3c-lstm per core / bound": lstm / WORKERS / bound,
        "a3c-small / emulator on both cores": small / WORKERS / emulator,
        "bound per core (steps/s)": bound,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--warm-up", type=float, default=10.0)
    parser.add_argument("--name", default="throughput", help="of the file in benchmarks/results")
    options = parser.parse_args()
    where = machine()
    found = measure(options.rounds, options.seconds, options.warm_up)
    medians = {name: spread(values)["median"] for name, values in found.items()}
    ratios = quotients(medians)
    rows = [["what", "median", "min", "max"], *([name, *spread(v).values()] for name, v in found.items())]
    print(table(rows))
    print(table([["quotient", ""], *ratios.items()]))
    kept = keep(options.name, {"machine": where, "measured": found, "quotients": ratios, "seed": 1})
    print(f"kept in {kept}")


if __name__ == "__main__":
    main()
