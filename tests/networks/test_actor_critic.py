import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from a3c.envs import make_env
from a3c.networks.actor_critic import A3Clstm, make_network
from a3c.networks.bodies import BACKGROUND
from a3c.settings.config import resolve
from a3c.stores.parameters import gradients_of
from a3c.training.session import mean_picture

FOUR_FRAMES = (4, 84, 84)
IMAGES = {"a3c-lstm": (1, 80, 80), "minatar": (4, 10, 10)}
IMAGES |= {"a3c-small": FOUR_FRAMES, "a3c-ff": FOUR_FRAMES, "nature": FOUR_FRAMES}


class Original(nn.Module):
    """The layers of rl_a3c_pytorch's model, as its state dicts name and shape them."""

    def __init__(self, num_actions):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 5, stride=1, padding=2)
        self.maxp1 = nn.MaxPool2d(2, 2)
        self.conv2 = nn.Conv2d(32, 32, 5, stride=1, padding=1)
        self.conv3 = nn.Conv2d(32, 64, 4, stride=1, padding=1)
        self.conv4 = nn.Conv2d(64, 64, 3, stride=1, padding=1)
        self.lstm = nn.LSTMCell(1024, 512)
        self.critic_linear = nn.Linear(512, 1)
        self.actor_linear = nn.Linear(512, num_actions)

    def forward(self, x, hx, cx):
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = torch.relu(self.maxp1(conv(x)))
        hx, cx = self.lstm(x.reshape(x.size(0), -1), (hx, cx))
        return self.critic_linear(hx), self.actor_linear(hx), hx, cx


def test_state_dict_of_the_original_loads_and_computes_the_same():
    original, ours = Original(4), A3Clstm(1, 4)
    missing, unexpected = ours.load_state_dict(original.state_dict(), strict=False)
    assert (missing, unexpected) == ([BACKGROUND], [])
    image = torch.randint(0, 256, (3, 1, 80, 80), dtype=torch.uint8)
    h, c = torch.randn(3, 512), torch.randn(3, 512)
    value, logits, hx, cx = original((image.float() - 128) / 64, h, c)
    out = ours(image, (h, c))
    for a, b in ((out.value, value.squeeze(1)), (out.logits, logits), (out.state[0], hx), (out.state[1], cx)):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("model", IMAGES)
def test_shapes_and_gradients_reach_every_weight(model):
    network = make_network(model, IMAGES[model], 6)
    image = torch.randint(0, 256, (2, *IMAGES[model]), dtype=torch.uint8)
    state = tuple(torch.randn_like(s) for s in network.initial_state(2))
    out = network(image, state)
    assert out.logits.shape == (2, 6)
    assert out.value.shape == (2,)
    gradients = gradients_of(out.logits.sum() + out.value.sum(), network)
    assert {name for name, g in gradients.items() if not g.abs().sum() > 0} == {BACKGROUND}


@pytest.mark.parametrize("model", [model for model in IMAGES if model != "minatar"])
def test_a_fresh_network_sees_its_input(model):
    """Different images give clearly different values: with x / 255 and torch's defaults they do not."""
    torch.manual_seed(1)
    network = make_network(model, IMAGES[model], 6)
    images = torch.zeros(16, *IMAGES[model], dtype=torch.uint8)
    for i in range(16):
        images[i, :, 4 * i : 4 * i + 12, 20:30] = 200
    with torch.no_grad():
        out = network(images, network.initial_state(16))
    # The normalised layer of a3c-small halves it; with torch's default weights it would be 0.0045.
    assert float(out.value.std()) > (0.01 if model == "a3c-small" else 0.02)
    entropy = torch.distributions.Categorical(logits=out.logits).entropy()
    assert float(entropy.min()) > 0.99 * math.log(6)  # and the policy starts uniform


@pytest.mark.parametrize("model", IMAGES)
def test_the_background_is_subtracted(model):
    torch.manual_seed(1)
    network = make_network(model, IMAGES[model], 6)
    image = torch.randint(0, 100, (2, *IMAGES[model]), dtype=torch.uint8)
    scene = torch.randint(0, 100, IMAGES[model], dtype=torch.uint8)
    with torch.no_grad():
        network.background.zero_()
        alone = network.features(image)
        network.background.copy_(scene)
        torch.testing.assert_close(network.features(image + scene), alone)


@pytest.mark.parametrize("game", ["Breakout", "Pong"])
def test_without_its_background_a_game_looks_different_from_picture_to_picture(game):
    """How much of the features' power is what differs: a critic learns from that alone."""
    config = resolve({"env": f"{game}NoFrameskip-v4", "model": "a3c-small"})
    envs, rng = make_env(config.env, range(8), training=True), np.random.default_rng(0)
    envs.reset()
    seen = [envs.step(rng.integers(4, size=8)).observation.copy() for _ in range(100)]
    envs.close()
    torch.manual_seed(1)
    network = make_network("a3c-small", IMAGES["a3c-small"], 4)
    shares = []
    for background in (network.background.clone(), torch.from_numpy(mean_picture(config))):
        with torch.no_grad():
            network.background.copy_(background)
            features = network.features(torch.from_numpy(np.concatenate(seen)))
        shares.append(float(features.var(0).sum() / features.square().mean(0).sum()))
    assert shares[0] < 0.05
    assert shares[1] > 0.4


@pytest.mark.parametrize(
    ("model", "units", "activation"),
    [("mlp", [64, 64], nn.Tanh), ("mlp-deep", [128, 128, 128], nn.ReLU)],
)
def test_networks_for_vectors(model, units, activation):
    network = make_network(model, (22,), 4)
    for body in (network.actor_body, network.critic_body):
        linear, following = list(body)[::2], list(body)[1::2]
        assert [(layer.in_features, layer.out_features) for layer in linear] == [*pairwise([22, *units])]
        assert [type(layer) for layer in following] == [activation] * len(units)
    output = network(torch.rand(5, 22), network.initial_state(5))
    output.value.sum().backward()
    assert all(parameter.grad is None for parameter in network.actor_body.parameters())  # nothing is shared
    assert all(parameter.grad.abs().sum() > 0 for parameter in network.critic_body.parameters())
