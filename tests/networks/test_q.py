import pytest
import torch

from a3c.networks.bodies import mlp_body
from a3c.networks.q import QNetwork, make_q_network


@pytest.mark.parametrize(("model", "shape"), [("nature", (4, 84, 84)), ("pixels", (3, 40, 90))])
def test_networks_of_pictures(model, shape):
    net = make_q_network(model, shape, 6, (), True)
    picture = torch.randint(0, 256, (2, *shape), dtype=torch.uint8)
    assert net(picture).shape == (2, 6)
    torch.testing.assert_close(net(picture)[:1], net(picture[:1]))  # nobody depends on the batch


def test_dueling_values_average_to_the_states():
    net = QNetwork(mlp_body(5, (16,)), 16, 3, dueling=True)
    x = torch.randn(4, 5)
    torch.testing.assert_close(net(x).mean(-1), net.value_linear(net.body(x)).squeeze(-1))
