"""A policy over a socket acts as it does directly, and is asked as openpi asks."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("msgpack", reason="the extra `openpi` is not installed")

from served import ANY_PORT, TEXT, act, batch, stub

from rise_gym.agents.flow_policy import FlowPolicy, FlowPolicyConfig
from rise_gym.agents.noisy import NoisyAgent
from rise_gym.agents.openpi_client import OpenpiAgent, OpenpiConfig, read_address
from rise_gym.agents.openpi_layout import ALOHA, DROID, LAYOUTS, Layout
from rise_gym.agents.openpi_link import LinkConfig
from rise_gym.agents.openpi_server import PolicyServer, ServerConfig
from rise_gym.agents.openpi_wire import pack
from rise_gym.commands.evaluate import agent_factory
from rise_gym.errors import RemoteFault
from rise_gym.evaluation import evaluate
from rise_gym.protocols import Agent
from rise_gym.tasks import BOX_CLOSE

NARROW = FlowPolicyConfig(
    channels=(4, 8, 8), grid_channels=4, context_width=48, head_width=64, head_blocks=2, temperature=1.0
)


@pytest.fixture(scope="module")
def policy() -> FlowPolicy:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return FlowPolicy.of(NARROW, BOX_CLOSE).eval()


@pytest.fixture(scope="module")
def server(policy: FlowPolicy) -> Iterator[PolicyServer]:
    with PolicyServer(policy, BOX_CLOSE, ANY_PORT) as serving:
        yield serving


@pytest.fixture
def agent(server: PolicyServer) -> Iterator[OpenpiAgent]:
    with OpenpiAgent(server.address, "box_close") as acting:
        yield acting


# -- as it acts directly ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=list(LAYOUTS))
def test_the_same_chunk_through_the_socket(policy: FlowPolicy, layout: Layout) -> None:
    seen = batch(3)
    with (
        PolicyServer(policy, BOX_CLOSE, ServerConfig(port=0, layout=layout)) as server,
        OpenpiAgent(server.address, "box_close", OpenpiConfig(layout=layout)) as agent,
    ):
        assert isinstance(agent, Agent)
        found = agent.act(seen, [TEXT] * 3, np.array([-1.0, np.nan, 1.0]))
    drawing = torch.Generator().manual_seed(0)
    rows = [{name: column[row : row + 1] for name, column in seen.items()} for row in range(3)]
    asked = [-1.0, float("nan"), 1.0]
    wanted = [policy.act(row, [TEXT], one, generator=drawing)[0] for row, one in zip(rows, asked, strict=True)]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.stack(wanted))


def test_seeds_are_the_callers(server: PolicyServer, agent: OpenpiAgent) -> None:
    def drawn(*seeds: int) -> np.ndarray:
        rows = len(seeds)
        repeated = {name: column.repeat(rows, 0) for name, column in batch().items()}
        return agent.act(repeated, [TEXT] * rows, generator=[torch.Generator().manual_seed(seed) for seed in seeds])

    together = drawn(3, 4)
    assert np.abs(together[0] - together[1]).max() > 0.01
    np.testing.assert_array_equal(together[1], drawn(4)[0])
    agent.seed(5)
    first = act(agent)
    agent.seed(5)
    np.testing.assert_array_equal(act(agent), first)


def test_each_connection_has_its_own_noise(server: PolicyServer, agent: OpenpiAgent) -> None:
    first, second = act(agent), act(agent)
    assert np.abs(first - second).max() > 0.01
    with OpenpiAgent(server.address, "box_close") as other:
        np.testing.assert_array_equal(act(other), first)


def test_what_the_server_says_of_itself(server: PolicyServer, agent: OpenpiAgent) -> None:
    assert agent.metadata == server.metadata
    assert (agent.metadata["task"], agent.metadata["control_hz"], agent.chunk) == ("box_close", 10.0, 10)
    assert agent.metadata["units"] == (["rad"] * 6 + ["m"]) * 2
    with urllib.request.urlopen(server.address.replace("openpi", "http") + "/healthz", timeout=5) as answer:
        assert (answer.status, answer.read()) == (200, b"OK\n")


def test_two_processes(tiny_kwargs: dict[str, Any]) -> None:
    """`rise-gym serve`, an evaluation over it like one of the local policy (which draws nothing), and Ctrl-C."""
    code = "from rise_gym.cli import main; main()"
    serving = subprocess.Popen(
        [sys.executable, "-c", code, "serve", "--port", "0"],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background would ignore it
    )  # fmt: skip
    try:
        assert serving.stdout is not None
        address = re.search(r"openpi://\S+:\d+", serving.stdout.readline())
        assert address is not None

        def result(name: str) -> dict[str, Any]:
            found = evaluate(
                "rise_gym:RiseImagined-BoxClose-v0", agent_factory(name, BOX_CLOSE), 2, 100_000, policy="it",
                num_envs=1, env_arguments={**tiny_kwargs, "horizon_s": 3.0, "uncertainty_limit": float("inf")},
            )  # fmt: skip
            return {key: value for key, value in found.items() if key != "seconds"}

        assert result(address[0]) == result("bundled:box_close/base")
        with OpenpiAgent(address[0], "box_close") as idle:  # which doesn't keep it from ending
            serving.send_signal(signal.SIGINT)
            assert serving.wait(20) == 0
            with pytest.raises(RemoteFault, match="no policy answers"):
                act(idle)
        assert "ended" in serving.stdout.read()
    finally:
        serving.kill()
        serving.communicate()


def test_a_noisy_one_as_compare_plays_it(server: PolicyServer) -> None:
    noisy = NoisyAgent("box_close", server.address, 1.0, 1.0)
    chunk = noisy.act(batch(), [TEXT], generator=torch.Generator().manual_seed(0))
    assert chunk.shape == (1, 10, 14)


# -- what is asked ----------------------------------------------------------------------------------------------------


def test_openpi_servers_are_sent_what_they_know() -> None:
    heard: list[dict[str, Any]] = []
    home = DROID.to_wire(BOX_CLOSE.unscale_action(np.zeros((50, 14))), BOX_CLOSE)

    def answer(request: Any) -> bytes:
        heard.append(request)
        return pack({"actions": home.astype(np.float32), "policy_timing": {"infer_ms": 1.0}})

    with stub(answer) as address, OpenpiAgent(f"{address}?layout=droid&resize_px=32&chunk=7", "box_close") as agent:
        np.testing.assert_allclose(act(agent), np.zeros((1, 7, 14)), atol=1e-6)
        assert agent.chunk == 7
    assert set(heard[0]) == {
        "observation/exterior_image_1_left", "observation/wrist_image_left", "observation/wrist_image_right",
        "observation/joint_position", "observation/gripper_position", "prompt",
    }  # fmt: skip
    assert heard[0]["observation/wrist_image_left"].shape == (32, 32, 3)
    assert heard[0]["prompt"] == TEXT


def test_the_advantage_in_the_prompt() -> None:
    heard: list[str] = []

    def answer(request: Any) -> bytes:
        heard.append(request["prompt"])
        return pack({"actions": BOX_CLOSE.unscale_action(np.zeros((10, 14)))})

    with stub(answer) as address, OpenpiAgent(f"{address}?advantage_in_prompt=yes", "box_close") as agent:
        for advantage in (1.0, 0.0, -1.0, float("nan")):
            act(agent, advantage=advantage)
    assert heard == [f"{TEXT}, Advantage: {ten}" for ten in (10, 6, 1)] + [TEXT]


def test_the_advantage_is_told_once() -> None:
    """A server that takes it beside the prompt writes it there itself, if its policy wants that."""
    heard: list[dict[str, Any]] = []

    def answer(request: Any) -> bytes:
        heard.append(request)
        return pack({"actions": BOX_CLOSE.unscale_action(np.zeros((10, 14)))})

    says = {"accepts": ["advantage"]}
    with stub(answer, says) as address, OpenpiAgent(f"{address}?advantage_in_prompt=yes", "box_close") as agent:
        act(agent, advantage=0.5)
    assert (heard[0]["prompt"], heard[0]["advantage"]) == (TEXT, 0.5)


def test_addresses() -> None:
    url, config = read_address("openpi://robot:8000?layout=aloha&timeout_s=5")
    assert (url, config) == ("ws://robot:8000", OpenpiConfig(layout=ALOHA, link=LinkConfig(timeout_s=5)))
    assert read_address("wss://there/policy")[0] == "wss://there/policy"
    for wrong in ("openpi://", "http://robot", "openpi://robot?speed=9", "openpi://robot?layout=libero"):
        with pytest.raises(RemoteFault, match=r"openpi://host:port|there are layout"):
            read_address(wrong)


def test_it_only_acts(agent: OpenpiAgent) -> None:
    with pytest.raises(NotImplementedError, match="only acts"):
        agent.loss({})
