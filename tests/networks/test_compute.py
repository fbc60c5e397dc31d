import torch

from a3c.networks.actor_critic import A3Clstm
from a3c.networks.compute import to_compute_format


def test_compute_format_changes_the_speed_not_the_result():
    torch.manual_seed(0)
    network = A3Clstm(1, 4)
    image = torch.randint(0, 256, (4, 1, 80, 80), dtype=torch.uint8)
    before = network(image, network.initial_state(4))
    to_compute_format(network, "cpu", bf16=False)
    assert network.conv1(torch.zeros(2, 1, 80, 80)).is_contiguous(memory_format=torch.channels_last)
    after = network(image, network.initial_state(4))
    torch.testing.assert_close(before.value, after.value, rtol=1e-4, atol=1e-4)
    to_compute_format(network, "cpu", bf16=True)
    assert network.actor_linear.weight.dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        low = network(image, network.initial_state(4))
    assert low.value.dtype == torch.float32
    torch.testing.assert_close(before.value, low.value, rtol=0.1, atol=0.1)
