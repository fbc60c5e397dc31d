import numpy as np
import pytest

from a3c.agents.dqn import ranks
from a3c.cluster.orders import offset, settings_for_nodes, settings_of
from a3c.errors import CheckpointError
from a3c.settings.config import Config
from a3c.settings.values import Typed, names_code


def test_nodes_are_spread_between_the_workers_of_the_head():
    assert [offset(seat) for seat in range(6)] == [0, 0.5, 0.25, 0.75, 0.125, 0.625]


def test_exploration_is_spread_over_all_nodes():
    places = [worker + offset(seat) for seat in range(4) for worker in range(2)]
    found = np.concatenate([ranks(place, workers=2, envs_per_worker=3) for place in places])
    assert found.min() == 0
    assert found.max() == 1
    assert len(np.unique(found)) == 4 * 5 + 1  # the last of each node has the last rank
    assert list(ranks(1, 2, 3)) == [0.6, 0.8, 1.0]  # as on a single machine


def test_a_node_takes_the_settings_of_the_head_but_not_its_files():
    config = Config().replace(env="mine:Game-v0", lr=0.5, gpu_ids=(0, 1))
    here = config.replace(run_dir="/somewhere", load="there", cluster="oak:6379", track=True)
    found = settings_of({"settings": settings_for_nodes(here)})
    assert found == config
    assert isinstance(found.env.env, Typed)  # it was typed, on the head
    assert not names_code(found.env.env)


def test_settings_of_another_version_are_refused():
    with pytest.raises(CheckpointError, match="the head's settings"):
        settings_of({"settings": {"run": {"no_such_setting": 1}}})
