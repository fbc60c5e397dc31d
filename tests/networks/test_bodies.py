import pytest
import torch

from a3c.networks.actor_critic import make_network
from a3c.networks.bodies import check_observation, convolve_planes, scale_image
from a3c.networks.q import make_q_network


@pytest.mark.parametrize(
    ("model", "shape", "message"),
    [
        ("mlp", (3, 84, 84), "takes a vector"),
        ("nature", (4,), "takes images"),
        ("nature", (3, 40, 90), "square images"),
        ("nature", (3, 35, 35), "36 pixels"),
        ("a3c-small", (3, 40, 90), "square images"),
        ("a3c-lstm", (1, 84, 84), "80x80 images, not 84x84; take --model nature"),
        ("pixels", (3, 20, 90), "29 pixels"),
    ],
)
def test_an_observation_that_does_not_fit_is_refused(model, shape, message):
    with pytest.raises(ValueError, match=message):
        check_observation(model, shape)


def test_every_maker_of_networks_asks():
    with pytest.raises(ValueError, match="takes images"):
        make_network("nature", (8,), 2)
    with pytest.raises(ValueError, match="takes images"):
        make_q_network("nature", (8,), 2, (), False)


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
    expected = {
        "nature": nature + layers(*heads),
        "a3c-lstm": ["background", *layers(*convolutions, "conv4"), *lstm, *layers(*heads)],
        "a3c-small": ["background", *layers(*convolutions[:2], "fc", "fc_norm"), *lstm, *layers(*heads)],
    }
    sizes = {"a3c-lstm": 80}
    for model, names in expected.items():
        network = make_network(model, (4, sizes.get(model, 84), sizes.get(model, 84)), 6)
        assert [name for name, _ in network.named_parameters()] == names
    q = make_q_network("nature", (4, 84, 84), 6, (), True)
    expected_q = [f"body.{name}" for name in nature] + layers("q_linear", "value_linear")
    assert [name for name, _ in q.named_parameters()] == expected_q
