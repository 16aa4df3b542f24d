"""What goes wrong between an agent and the server of its policy is told, and hurts nobody else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("msgpack", reason="the extra `openpi` is not installed")

from own_tasks import CARD, forgetting_tasks
from served import ANY_PORT, HOME, TEXT, act, batch, stub
from websockets.sync.server import serve as serve_anything

import rise_gym
from rise_gym.agents.baselines import RandomAgent
from rise_gym.agents.openpi_client import OpenpiAgent, OpenpiConfig
from rise_gym.agents.openpi_layout import ALOHA, RISE, Layout
from rise_gym.agents.openpi_link import LinkConfig, PolicyLink
from rise_gym.agents.openpi_server import PolicyServer, ServerConfig
from rise_gym.agents.openpi_wire import pack
from rise_gym.commands.evaluate import agent_factory
from rise_gym.commands.serve import serve
from rise_gym.errors import InvalidMessage, RemoteFault, RiseGymError, UnsuitableEnv
from rise_gym.tasks import BOX_CLOSE, BRICK_SORT, TaskCard


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"actions": np.zeros((10, 32))}, r"actions \(horizon, 14\) were wanted.*\(10, 32\) came"),
        ({"actions": np.zeros(14)}, r"float64 \(14,\) came"),
        ({"actions": HOME[:4]}, "at least 10 ticks were wanted, 4 came.*chunk=4"),
        ({"actions": HOME * np.nan}, "NaN"),
        ({"actions": HOME * 57.3}, "left_joint2_rad has to be from 0 to 3.14, .* 89.96: is it .*in degrees"),
        ({"action": HOME}, r"'actions' was wanted, action \(ndarray\) came"),
        ({"actions": HOME.tolist()}, r"'actions' was wanted, actions \(list\) came"),
        ({"actions": HOME[:0]}, "10 ticks were wanted, an empty chunk came"),
        ([1, 2], "'actions' was wanted, list came"),
    ],
)
def test_answers_that_are_refused(answer: Any, message: str) -> None:
    with (
        stub(lambda _: pack(answer)) as address,
        OpenpiAgent(address, "box_close") as agent,
        pytest.raises(InvalidMessage, match=message),
    ):
        act(agent)


def test_a_little_beyond_the_limits_means_the_limits() -> None:
    beyond = BOX_CLOSE.unscale_action(np.full((10, 14), 1.1))
    with stub(lambda _: pack({"actions": beyond})) as address, OpenpiAgent(address, "box_close") as agent:
        np.testing.assert_array_equal(act(agent), np.ones((1, 10, 14)))


@pytest.mark.parametrize(
    "says", [{"task": "brick_sort"}, {"layout": "aloha"}, {"control_hz": 50.0}, {"action_names": ["x"]}]
)
def test_a_server_of_something_else(says: dict[str, Any]) -> None:
    with (
        stub(lambda _: None, metadata=says) as address,
        pytest.raises(InvalidMessage, match=f"{next(iter(says))} .* was wanted"),
    ):
        OpenpiAgent(address, "box_close")


def test_another_task_is_told_by_the_command_line() -> None:
    with PolicyServer(RandomAgent(BRICK_SORT), BRICK_SORT, ANY_PORT) as server:
        with pytest.raises(InvalidMessage, match="task 'box_close' was wanted"):
            agent_factory(server.address, BOX_CLOSE)
        assert agent_factory(server.address, BRICK_SORT).build().chunk == 10


def test_the_expert_is_not_served() -> None:
    with pytest.raises(RiseGymError, match="scripted expert looks at"):
        serve(policy="scripted", port=0)


def test_what_the_server_says_failed() -> None:
    class Broken:
        def act(self, observation: Any, instruction: Any, advantage: Any = 1.0) -> Any:
            raise ZeroDivisionError("no luck")

        loss = act

    with (
        PolicyServer(Broken(), BOX_CLOSE, ANY_PORT) as server,
        OpenpiAgent(server.address, "box_close") as agent,
    ):
        for _ in range(2):  # a failure ends its connection; the next question makes another
            with pytest.raises(RemoteFault, match="failed; it says:\nZeroDivisionError: no luck"):
                act(agent)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"advantage": 3.0}, "'advantage' has to be"),
        ({"advantage": [[1], [1, 2]]}, "'advantage' has to be"),
        ({"observation/head": [[1], [1, 2]]}, "'observation/head': a picture uint8 .* was wanted, list came"),
        ({"seed": -1}, "'seed' has to be"),
        ({"prompt": 1}, "'prompt'"),
    ],
)
def test_questions_that_are_refused(change: dict[str, Any], message: str) -> None:
    seen = {name: column[0] for name, column in batch().items()}
    question = pack({**RISE.request(seen, TEXT, BOX_CLOSE, None), **change})
    with PolicyServer(RandomAgent(BOX_CLOSE), BOX_CLOSE, ANY_PORT) as server:
        link = PolicyLink(server.address.replace("openpi", "ws"), LinkConfig())
        with pytest.raises(RemoteFault, match=message):
            link.ask(question)


@pytest.mark.parametrize(("layout", "unit"), [(RISE, 57.3), (ALOHA, 57.3), (RISE, 1e300)])
def test_a_state_in_other_units_is_refused(layout: Layout, unit: float) -> None:
    seen = {name: column[0] for name, column in batch().items()}
    question = layout.request(seen, TEXT, BOX_CLOSE, None)
    question["state"] = question["state"] * unit
    with PolicyServer(RandomAgent(BOX_CLOSE), BOX_CLOSE, ServerConfig(port=0, layout=layout)) as server:
        link = PolicyLink(server.address.replace("openpi", "ws"), LinkConfig())
        with pytest.raises(RemoteFault, match=r"joint\d_rad has to be from .* means .*in degrees"):
            link.ask(pack(question))
        link.close()


def test_a_slow_server() -> None:
    ready = threading.Event()

    def answer(_: Any) -> bytes:
        ready.wait(5)
        return pack({"actions": HOME})

    with stub(answer) as address, OpenpiAgent(f"{address}?timeout_s=0.1", "box_close") as agent:
        with pytest.raises(RemoteFault, match=r"did not answer in 0.1 s.*timeout_s="):
            act(agent)
        ready.set()


def test_a_lost_connection_is_made_anew_once() -> None:
    answers = iter([None, pack({"actions": HOME}), None, None])
    with stub(lambda _: next(answers)) as address, OpenpiAgent(address, "box_close") as agent:
        assert act(agent).shape == (1, 10, 14)
        with pytest.raises(RemoteFault, match="closed the connection twice"):
            act(agent)


def test_a_server_that_goes_in_the_middle_of_an_episode() -> None:
    with PolicyServer(RandomAgent(BOX_CLOSE), BOX_CLOSE, ANY_PORT) as server:
        agent = OpenpiAgent(server.address, "box_close")
        first = act(agent)
    with pytest.raises(RemoteFault, match=r"no policy answers at ws://127\.0\.0\.1:\d+ .*rise-gym serve"):
        act(agent)
    port = int(server.address.rsplit(":", 1)[1])
    with PolicyServer(RandomAgent(BOX_CLOSE), BOX_CLOSE, ServerConfig(port=port)) as again:
        np.testing.assert_array_equal(act(agent), first)
        with pytest.raises(RemoteFault, match="choose another with --port"):
            PolicyServer(RandomAgent(BOX_CLOSE), BOX_CLOSE, ServerConfig(port=port))
        assert again.address == server.address
    agent.close()


def test_another_server_at_the_same_port_is_asked_who_it_is() -> None:
    with PolicyServer(RandomAgent(BOX_CLOSE), BOX_CLOSE, ANY_PORT) as server:
        agent = OpenpiAgent(server.address, "box_close")
        act(agent)
    port = int(server.address.rsplit(":", 1)[1])
    other = ServerConfig(port=port, policy="another")
    with PolicyServer(RandomAgent(BRICK_SORT), BRICK_SORT, ServerConfig(port=port)):
        for _ in range(2):  # nor is it believed when it is asked again
            with pytest.raises(InvalidMessage, match=r"task 'box_close' was wanted, the server .* says 'brick_sort'"):
                act(agent)
    with PolicyServer(RandomAgent(BOX_CLOSE), BOX_CLOSE, other):
        assert act(agent).shape == (1, 10, 14)
        assert agent.metadata["policy"] == "another"
    agent.close()


def test_who_reads_nothing_is_not_waited_for_without_end() -> None:
    over = threading.Event()

    def deaf(connection: Any) -> None:
        connection.send(pack({}))
        with connection.protocol_mutex:  # so that its thread takes nothing more from the socket
            over.wait(5)

    with serve_anything(deaf, "127.0.0.1", 0, compression=None) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        link = PolicyLink(f"ws://127.0.0.1:{listening.socket.getsockname()[1]}", LinkConfig(timeout_s=0.2))
        with pytest.raises(RemoteFault, match=r"did not answer in 0.2 s"):
            link.ask(bytes(2**25))
        assert not over.is_set()
        over.set()


@pytest.mark.parametrize("place", ["127.0.0.1:99999", "127.0.0.1:abc", "[::1", ":8000"])
def test_addresses_that_are_none(place: str) -> None:
    with pytest.raises(RemoteFault, match="address is openpi://host:port"):
        OpenpiAgent(f"openpi://{place}", "box_close")


def test_a_host_that_has_no_such_name() -> None:
    with pytest.raises(RemoteFault, match="no policy answers"):
        OpenpiAgent("openpi://.:8000", "box_close")


@pytest.mark.parametrize("setting", ["chunk=-5", "chunk=0", "resize_px=0", "timeout_s=nan", "timeout_s=0"])
def test_settings_that_are_none(setting: str) -> None:
    with pytest.raises(RemoteFault, match=f"{setting} is no setting"):
        OpenpiAgent(f"openpi://127.0.0.1:1?{setting}", "box_close")


@pytest.mark.parametrize("chunk", [0, -3, True, "ten"])
def test_a_chunk_that_is_none_is_not_believed(chunk: Any) -> None:
    with stub(lambda _: pack({"actions": HOME}), {"chunk": chunk}) as address, OpenpiAgent(address, "box_close") as one:
        assert act(one).shape == (1, 10, 14)


def test_ports_and_advantages_that_are_none() -> None:
    for port in (99_999, -1):
        with pytest.raises(RemoteFault, match=f"port {port} of 127.0.0.1 can't be listened on"):
            PolicyServer(RandomAgent(BOX_CLOSE), BOX_CLOSE, ServerConfig(port=port))
    with pytest.raises(RiseGymError, match="advantage from -1 to 1, the best, was wanted, got 5"):
        serve(policy="random", port=0, advantage=5.0)


@pytest.fixture
def own_task() -> Iterator[TaskCard]:
    with forgetting_tasks():
        rise_gym.register_task(CARD)
        yield CARD


def test_a_task_with_other_cameras(own_task: TaskCard) -> None:
    seen = {camera: np.zeros((1, 32, 32, 3), np.uint8) for camera in own_task.cameras}
    with (
        PolicyServer(RandomAgent(own_task), own_task, ANY_PORT) as server,
        OpenpiAgent(server.address, own_task.name) as agent,
    ):
        assert agent.metadata["cameras"] == ["observation/front", "observation/wrist"]
        chunk = agent.act({**seen, "proprio": np.zeros((1, 7), np.float32)}, [own_task.instruction])
        assert chunk.shape == (1, 10, 7)
        with pytest.raises(UnsuitableEnv, match=r"layout 'aloha' has pictures of head, .* has front, wrist: .*Layout"):
            OpenpiAgent(server.address, own_task.name, OpenpiConfig(layout=ALOHA))
    with pytest.raises(UnsuitableEnv, match="layout 'aloha' has pictures of head"):
        PolicyServer(RandomAgent(own_task), own_task, ServerConfig(port=0, layout=ALOHA))
