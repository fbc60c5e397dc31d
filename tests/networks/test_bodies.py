import pytest
import torch

from a3c.networks.actor_critic import make_network
from a3c.networks.bodies import convolve_planes, scale_image
from a3c.networks.q import make_q_network


@pytest.mark.parametrize(("channels", "size"), [(4, 84), (1, 80), (3, 37)])
def test_planes_are_convolved_like_the_scaled_image(channels, size):
    conv = torch.nn.Conv2d(channels, 6, 8, stride=4).double()
    image = torch.randint(256, (2, channels, size, size), dtype=torch.uint8)
    background = torch.randint(256, (channels, size, size)).float()
    expected = conv(scale_image(image, background).double())
    found = convolve_planes(conv, image, background)
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(y.square().sum(), tuple(conv.parameters())) for y in (found, expected)]
    torch.testing.assert_close(*gradients)


def layers(*names):
    return [f"{name}.{part}" for name in names for part in ("weight", "bias")]


def test_parameters_keep_the_names_that_checkpoints_hold():
    convolutions, heads = ("conv1", "conv2", "conv3"), ("critic_linear", "actor_linear")
    nature = ["background", *layers(*convolutions, "fc")]
    lstm = [f"lstm.{kind}_{source}" for kind in ("weight", "bias") for source in ("ih", "hh")]
    minatar = ["background", *layers("conv1", "conv1_norm", "fc", "fc_norm")]
    expected = {
        "minatar": minatar + layers(*heads),
        "nature": nature + layers(*heads),
        "a3c-lstm": ["background", *layers(*convolutions, "conv4"), *lstm, *layers(*heads)],
        "a3c-small": ["background", *layers(*convolutions[:2], "fc", "fc_norm"), *lstm, *layers(*heads)],
        "a3c-ff": ["background", *layers(*convolutions[:2], "fc", "fc_norm"), *layers(*heads)],
    }
    sizes = {"a3c-lstm": 80, "minatar": 10}
    for model, names in expected.items():
        network = make_network(model, (4, sizes.get(model, 84), sizes.get(model, 84)), 6)
        assert [name for name, _ in network.named_parameters()] == names
    q = make_q_network("nature", (4, 84, 84), 6, (), True)
    expected_q = [f"body.{name}" for name in nature] + layers("q_linear", "value_linear")
    assert [name for name, _ in q.named_parameters()] == expected_q


@pytest.mark.parametrize("model", ["nature", "a3c-small", "a3c-ff", "minatar"])
def test_pictures_need_not_be_square(model):
    network = make_network(model, (3, 36, 61), 2)
    output = network(torch.zeros(2, 3, 36, 61, dtype=torch.uint8), network.initial_state(2))
    assert output.logits.shape == (2, 2)


@pytest.mark.parametrize("values", [2, 11, 256])
def test_what_planes_count_in_matters_little_to_minatar(values):
    torch.manual_seed(1)
    network = make_network("minatar", (4, 10, 10), 3)
    network.background.data.zero_()
    planes = torch.randint(values, (16, 4, 10, 10), dtype=torch.uint8)
    features = network.embed(network.features(planes))
    assert 0.3 < features.square().mean() < 3
