"""CartPole as it is seen: patches around the cart, and what changes in them."""

import numpy as np
import pytest

from a3c.envs import make_env, resolve_env
from a3c.envs.pixels import CartPolePixels, patch
from a3c.settings.config import resolve


def test_an_observation_is_what_changed():
    env = CartPolePixels()
    first, _ = env.reset(seed=0)
    assert first.shape == (40, 90, 3)
    assert (first == 128).all()
    env.step(1)  # first the speed changes, then the place
    later = env.step(1)[0]
    assert (later != 128).any()
    assert (later[0] == 128).all()  # nothing moves at the upper edge
    env.close()


def test_the_same_seed_shows_the_same():
    seen = []
    for _ in range(2):
        env = CartPolePixels()
        env.reset(seed=3)
        seen.append(np.stack([env.step(a)[0] for a in (0, 1, 1, 0)]))
        env.close()
    assert np.array_equal(*seen)


@pytest.mark.parametrize(("cart", "column"), [(0.5, 45), (0.4, 45), (0.1, 15), (0.9, 75)])
def test_the_patch_is_around_the_cart_but_inside_the_picture(cart, column):
    picture = np.zeros((400, 600, 3), np.uint8)
    at = round(cart * 600)
    picture[200:220, at - 4 : at + 4] = 255
    bright = patch(picture, cart).sum(axis=(0, 2)).argmax()
    assert abs(int(bright) - column) <= 1


def test_it_is_an_environment_like_others():
    config = resolve_env(resolve({"env": "CartPolePixels-v0", "algo": "dqn"}))
    assert config.run.preset == "cartpole-pixels-dqn"
    envs = make_env(config.env, [1, 2], training=True, render=True)
    assert envs.spec.observation_shape == (3, 40, 90)
    assert envs.spec.step_cap == 500
    envs.reset()
    assert envs.render(0).shape == (400, 600, 3)
    for _ in range(30):
        envs.step(np.array([1, 0]))
    assert all(5 <= e.length <= 15 for e in envs.pop_episodes())
    envs.close()
