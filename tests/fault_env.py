"""Environments that fail on purpose; named on the command line as fault_env:Fault-v0.

Which worker fails, and when, comes as --env-kwargs, so it holds in the spawned processes too.
"""

import os
import signal
import subprocess
from pathlib import Path

import gymnasium
import numpy as np


class FaultEnv(gymnasium.Env):
    """Counts its steps; at step `at` (from then on: huge_reward, leak) does what `mode` says, in `times` of
    its incarnations, counted in `tally`."""

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (4,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, mode="none", at=50, times=1_000_000, tally="", render_mode=None):
        self.mode, self.at, self.times, self.tally = mode, at, times, tally
        self.steps = 0
        self.hoard = []
        if mode == "litter":
            leave_processes(tally)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(4, np.float32), {}

    def step(self, action):
        self.steps += 1
        observation, reward = self.np_random.uniform(-1, 1, 4).astype(np.float32), 1.0
        if self.mode == "huge_reward" and self.steps >= self.at:
            reward = 1e30
        if self.mode == "talk":
            print("x" * 200_000)
        if self.mode == "leak" and self.steps >= self.at:
            self.hoard.append(np.ones(2**20))
        if self.steps == self.at and self._may_fail():
            if self.mode == "helper":
                self.helper = subprocess.Popen(["sleep", "1000"], start_new_session=True)
                Path(f"{self.tally}-{self.helper.pid}").touch()
            if self.mode == "raise":
                raise ArithmeticError("planted failure")
            if self.mode == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            while self.mode == "hang":
                signal.pause()
            if self.mode == "nan_observation":
                observation[0] = np.nan
            if self.mode == "nan_reward":
                reward = float("nan")
        return observation, reward, self.steps % 20 == 0, False, {}

    def _may_fail(self):
        if not self.tally:
            return True
        with Path(self.tally).open("a+") as file:
            file.write("x")
            return file.tell() <= self.times


def leave_processes(tally):
    """Two that are hard to find: one without an environment, one without a program of its own."""
    bare = subprocess.Popen(["env", "-i", "setsid", "sleep", "1000"])
    if not (fork := os.fork()):
        os.setsid()
        while True:
            signal.pause()
    for pid in (bare.pid, fork):
        Path(f"{tally}-{pid}").touch()


gymnasium.register("Fault-v0", entry_point=FaultEnv)
