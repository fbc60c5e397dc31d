"""What only a machine with a CUDA device can show: pytest -m gpu."""

import shutil
import subprocess

import numpy as np
import pytest
import torch

from a3c.agents.a3c import A3CAgent
from a3c.agents.policy import ActorCriticPolicy
from a3c.networks.actor_critic import A3Clstm
from tests.agents.test_a3c import OBJECTIVE, play, scripted
from tests.run_tools import Run, script

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

ATARI = ["--env", "PongNoFrameskip-v4", "--model", "a3c-lstm", "--gpu-ids", "0", "--envs-per-worker", "4"]


@pytest.mark.parametrize(("bf16", "least"), [(False, 0.999), (True, 0.95)])
@pytest.mark.parametrize("fresh", [False, True])
def test_gradients_agree_with_the_cpus(monkeypatch, bf16, least, fresh):
    """Of the same actions, the likeliest: the devices' generators draw different ones."""
    monkeypatch.setattr(ActorCriticPolicy, "select_actions", lambda self, logits: logits.argmax(-1))
    flat = []
    for device, low in (("cuda:0", bf16), ("cpu", False)):
        torch.manual_seed(0)
        policy = ActorCriticPolicy(A3Clstm(1, 6), 0, device, bf16=low)
        agent = A3CAgent(policy, OBJECTIVE._replace(fresh=fresh), recompute=device != "cpu")
        gradients, _ = agent.gradients(play(agent, *scripted((1, 80, 80), np.uint8)))
        flat.append(torch.cat([g.float().reshape(-1) for g in gradients.values()]))
    assert torch.nn.functional.cosine_similarity(*flat, dim=0) > least


def test_a_run_learns_on_the_gpu_and_is_scored_on_the_cpu(tmp_path):
    with Run(tmp_path, *ATARI, "--workers", "2", "--max-steps", "5000", "--eval-every", "0") as run:
        assert run.end(300) == 0, run.output
    result = script("eval.py", "--checkpoint", str(run.path), "--num-episodes", "1", cwd=tmp_path)
    assert result.returncode == 0, result.stderr


@pytest.mark.skipif(shutil.which("nvidia-smi") is None, reason="no nvidia-smi")
def test_only_workers_hold_a_context(tmp_path):
    run = Run(tmp_path, *ATARI, "--workers", "1", "--eval-every", "0")
    try:
        status = run.training()
        assert 0 < status["gpus"][0]["memory_bytes"] < status["gpus"][0]["memory_total_bytes"]
        query = ["nvidia-smi", "--query-compute-apps=pid", "--format=csv,noheader"]
        output = subprocess.run(query, check=True, capture_output=True, text=True).stdout
        pids = {int(line) for line in output.split() if line.isdigit()}
        if status["workers"][0]["pid"] not in pids:
            pytest.skip("nvidia-smi knows processes by other numbers here, as in a container")
        assert run.process.pid not in pids
        assert status["evaluator"]["pid"] not in pids
    finally:
        run.process.terminate()
        run.process.wait(60)
