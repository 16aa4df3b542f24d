"""`rise-gym serve`: a policy behind openpi's websocket protocol."""

from __future__ import annotations

from typing import Literal

from rise_gym.commands._shared import known_task, require_advantage
from rise_gym.errors import RiseGymError


def serve(
    *,
    policy: str | None = None,
    task: str = "box_close",
    host: str = "127.0.0.1",
    port: int = 8000,
    layout: Literal["rise", "aloha", "droid"] = "rise",
    advantage: float = 1.0,
    seed: int = 0,
) -> None:
    """Serve a policy over openpi's websocket protocol, until Ctrl-C; openpi clients and `--policy openpi://` use it.

    Args:
        policy: a folder, `bundled:<task>/<name>`, `lerobot:<folder or hub id>` (a policy as lerobot wrote it, which has
            to be installed), or `random`; default: the task's bundled base.
        task: name of the task, or its file.
        host: where to listen: 127.0.0.1 is this machine only, 0.0.0.0 whoever can reach it; there is no password.
        port: where to listen; 0 is any free one.
        layout: keys, order and units of observations and actions: those of this package, or as openpi names them for
            ALOHA's or DROID's robot.
        advantage: what the policy is asked for, -1 to 1, unless an observation says it itself.
        seed: where the noise of each connection starts from, unless an observation says it itself.
    """
    from rise_gym.agents.named import named_agent
    from rise_gym.agents.openpi_layout import LAYOUTS
    from rise_gym.agents.openpi_server import PolicyServer, ServerConfig
    from rise_gym.agents.openpi_wire import require_packages

    require_packages()  # before a policy is loaded, which may take minutes
    card = known_task(task)
    if policy == "scripted":
        raise RiseGymError("the scripted expert looks at the replica's physics, which no client sends; serve a policy")
    require_advantage(advantage)
    policy = policy or f"bundled:{card.name}/base"
    config = ServerConfig(
        host=host, port=port, layout=LAYOUTS[layout], advantage=advantage, seed=seed, policy=policy
    )  # fmt: skip
    server = PolicyServer(named_agent(policy, task=card.name), card, config)
    print(f"{policy} for {card.name} is served at {server.address}; Ctrl-C ends it", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print("\nended", flush=True)
    finally:
        server.close()
