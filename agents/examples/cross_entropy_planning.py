"""Planning by the cross-entropy method: branch one dreamt moment many times, and try around what went best.

A plan begins with what a policy proposes. All rows are one world, as they begin with one seed.
Run it by `python -m rise_gym.agents.examples.cross_entropy_planning --decisions 3`.
"""

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import tyro
from numpy.typing import NDArray

from rise_gym.agents.flow_policy import load_policy
from rise_gym.errors import RenderingUnavailable


@dataclass(frozen=True, kw_only=True)
class Planning:
    """Each of `decisions` is tried in `rounds` of `candidates`; the `elites` of one are what the next tries around."""

    env_id: str = "RiseImagined-BoxClose-v0"
    world_model: str | None = None  # the bundled one
    policy: str = "bundled:box_close/base"
    seed: int = 0
    candidates: int = 16
    elites: int = 4
    rounds: int = 4
    decisions: int = 3
    spread: float = 0.03  # of where chunks end, at first: standard deviation in scaled targets


def shifted(chunk: NDArray[np.float32], offsets: NDArray[np.floating]) -> NDArray[np.float32]:
    """A chunk (K, A), bent so that it ends `offsets` (N, A) away: (N, K, A)."""
    share = np.linspace(1 / len(chunk), 1, len(chunk))[:, None]
    return (chunk + share * offsets[:, None]).clip(-1, 1).astype(np.float32)


def planned(dreams: Any, proposal: NDArray[np.float32], config: Planning, random: np.random.Generator) -> Any:
    """The chunk (K, A) that cross-entropy finds from where the dreams stand; they are brought back there."""
    root = dreams.get_state()
    mean, spread = np.zeros(proposal.shape[1]), np.full(proposal.shape[1], config.spread)
    for _ in range(config.rounds):
        offsets = random.normal(mean, spread, (config.candidates, len(mean)))
        offsets[0] = mean
        dreams.set_state(root, seed=int(random.integers(2**31)))  # other futures than what is to come: no clairvoyance
        *_, info = dreams.step(shifted(proposal, offsets))
        best = offsets[np.argsort(-info["advantage"])[: config.elites]]
        mean, spread = best.mean(0), best.std(0) + 0.1 * config.spread
    dreams.set_state(root)
    return shifted(proposal, mean[None])[0]


def episode(dreams: Any, policy: Any, config: Planning, *, plans: bool) -> tuple[Any, list[Any], int]:
    """Mean advantage and progress gained, both imagined; the executed chunks; the replica seed of the start."""
    random = np.random.default_rng(config.seed)
    observation, info = dreams.reset(seed=[config.seed] * dreams.num_envs)
    start_seed, gained, executed = int(info["start_seed"][0]), [], []
    for _ in range(config.decisions):
        first = {name: array[:1] for name, array in observation.items()}
        proposal = policy.act(first, [dreams.task.instruction])[0, : dreams.chunk]
        executed.append(planned(dreams, proposal, config, random) if plans else proposal)
        observation, reward, terminated, truncated, info = dreams.step(np.stack([executed[-1]] * dreams.num_envs))
        gained.append((info["advantage"][0], reward[0]))
        if terminated[0] or truncated[0]:
            break
    return np.array(gained), executed, start_seed


def in_physics(env_id: str, seed: int, chunks: list[NDArray[np.float32]]) -> str:
    """The progress that the same chunks gain in the replica, from the moment that the dream began with."""
    try:
        replica = gymnasium.make(env_id.replace("Imagined", "Mujoco"), chunk=len(chunks[0]))
        replica.reset(seed=seed)
        return f"{sum(float(replica.step(chunk)[1]) for chunk in chunks):+.3f}"
    except RenderingUnavailable:
        return "not measured: no OpenGL"


def main(config: Planning) -> None:
    dreams: Any = gymnasium.make_vec(config.env_id, num_envs=config.candidates, world_model=config.world_model)
    policy = load_policy(config.policy, task=dreams.task.name)
    for who, plans in (("the policy alone", False), ("planned around it", True)):
        gained, chunks, seed = episode(dreams, policy, config, plans=plans)
        advantage, progress = f"{gained[:, 0].mean():+.3f}", f"{gained[:, 1].sum():+.3f}"
        print(
            f"{who}: {len(chunks)} chunks of imagined advantage {advantage}, imagined progress {progress}", flush=True
        )
        print(f"    progress by the same chunks in physics: {in_physics(config.env_id, seed, chunks)}", flush=True)


if __name__ == "__main__":
    main(tyro.cli(Planning, description=__doc__))
