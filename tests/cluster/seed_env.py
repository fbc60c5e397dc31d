"""An environment that notes the seed of each of its starts; named cluster.seed_env:Seeds-v0."""

import gymnasium
import numpy as np


class SeedEnv(gymnasium.Env):
    """Ends a game after 20 steps."""

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (4,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, tally, render_mode=None):
        self.tally, self.steps = tally, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if seed is not None:
            with open(self.tally, "a") as file:
                file.write(f"{seed}\n")
        return np.zeros(4, np.float32), {}

    def step(self, action):
        self.steps += 1
        return self.np_random.uniform(-1, 1, 4).astype(np.float32), 1.0, self.steps % 20 == 0, False, {}


gymnasium.register("Seeds-v0", entry_point=SeedEnv)
