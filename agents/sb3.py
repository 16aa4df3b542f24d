"""Stable-Baselines3 in the dream: `rise_gym.make_sb3_env(id, num_envs)`, one model call a step for all rows.

SB3 does not take Gymnasium's vector envs, so this translates one to its `VecEnv`. Any registered id works; those
without a batched env of their own (the replica) run one after the other, as in SB3's `DummyVecEnv`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from numpy.typing import NDArray
from stable_baselines3 import A2C, DDPG, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import is_wrapped
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn
from torch import Tensor

from rise_gym.errors import InvalidCheckpoint, UnsuitableEnv
from rise_gym.spaces import task_of_actions
from rise_gym.tasks import TaskCard
from rise_gym.types import Observation

__all__ = ["BatchedVecEnv", "Sb3Agent", "UnsuitableEnv", "load_sb3", "make_sb3_env"]

ALGORITHMS: dict[str, type[BaseAlgorithm]] = {
    algorithm.__name__.lower(): algorithm for algorithm in (A2C, DDPG, PPO, SAC, TD3)
}
"""Those of Stable-Baselines3 that choose continuous actions."""


def make_sb3_env(env_id: str, num_envs: int = 8, *, seed: int | None = None, **arguments: Any) -> BatchedVecEnv:
    """A Stable-Baselines3 `VecEnv` over `num_envs` rows of a registered environment.

    Args:
        env_id: e.g. `RiseImagined-BoxClose-v0`; with `module:` before it, that is imported first.
        num_envs: how many rows; all are imagined in one model call.
        seed: row i begins with `seed + i`; None draws one.
        arguments: of the environment, as for `gymnasium.make_vec`; `wrappers` only where rows run one after the other.

    Raises:
        UnsuitableEnv: if its observations are not what SB3's `MultiInputPolicy` takes, or wrappers of single envs are
            to go around a batch.
    """
    if num_envs < 1:
        raise ValueError(f"num_envs must be at least 1, got {num_envs}")
    module, _, env_id = env_id.rpartition(":")
    if module:
        importlib.import_module(module)
    batched = gymnasium.spec(env_id).vector_entry_point is not None
    if batched and arguments.get("wrappers"):
        raise UnsuitableEnv(_instead_of_wrappers(env_id, num_envs, arguments["wrappers"]))
    same_step: dict[str, Any] = {"autoreset_mode": AutoresetMode.SAME_STEP}
    envs = gymnasium.make_vec(
        env_id,
        num_envs=num_envs,
        vectorization_mode="vector_entry_point" if batched else "sync",
        **(same_step if batched else {"vector_kwargs": same_step}),
        **arguments,
    )
    try:
        adapted = BatchedVecEnv(envs)
    except UnsuitableEnv:
        envs.close()
        raise
    adapted.seed(seed)
    return adapted


def _instead_of_wrappers(env_id: str, num_envs: int, wrappers: Sequence[object]) -> str:
    names = ", ".join(getattr(wrapper, "__name__", repr(wrapper)) for wrapper in wrappers)
    return (
        f"no wrappers were wanted: {env_id} takes all rows in one call, which those of single envs can't go around, got"
        f" {names}: put a VecEnvWrapper of Stable-Baselines3 around what make_sb3_env gives, or let rows go one by one,"
        f" rise_gym.agents.sb3.BatchedVecEnv(gymnasium.make_vec({env_id!r}, num_envs={num_envs}, wrappers=..., "
        'vectorization_mode="sync", vector_kwargs={"autoreset_mode": "SameStep"})); observations stay flat either way'
    )


class BatchedVecEnv(VecEnv):
    """A Gymnasium `VectorEnv` that resets rows in the step in which they end, as Stable-Baselines3 wants it.

    `infos` has one dict a row: what the env tells, `TimeLimit.truncated`, and where an episode ended
    `terminal_observation`. Rewards are float32.

    Raises:
        UnsuitableEnv: if the env resets otherwise, or nests its observations.
    """

    def __init__(self, envs: VectorEnv[Any, Any, Any]) -> None:
        mode = envs.metadata.get("autoreset_mode")
        if mode is not AutoresetMode.SAME_STEP:
            raise UnsuitableEnv(
                f"autoreset_mode SAME_STEP was wanted, got {mode}: Stable-Baselines3 expects a new observation in the "
                "step that ends an episode; use rise_gym.make_sb3_env"
            )
        space = envs.single_observation_space
        nested = isinstance(space, gymnasium.spaces.Dict) and [
            name for name, part in space.items() if isinstance(part, gymnasium.spaces.Dict | gymnasium.spaces.Tuple)
        ]
        if nested:
            raise UnsuitableEnv(
                f"flat observations were wanted, {', '.join(nested)} is nested, which Stable-Baselines3 refuses: "
                "leave out the wrapper that nests them"
            )
        self.envs: Any = envs  # vector envs take more in reset and render than gymnasium's base class declares
        self.render_mode = envs.render_mode
        self._actions: NDArray[np.float32] = np.zeros(0, np.float32)
        super().__init__(envs.num_envs, space, envs.single_action_space)

    def reset(self) -> VecEnvObs:
        """Begin all rows, with the seeds and options that `seed` and `set_options` left; they count once."""
        seeds, every = list(self._seeds), list(self._options)
        self._reset_seeds()
        self._reset_options()  # also if they are refused: what was wrong once would else be so in every reset
        options = every[0]
        if any(one != options for one in every):
            raise ValueError(f"all rows share their options (a list of starts is one of them), got {every}")
        observation, info = self.envs.reset(
            seed=None if all(seed is None for seed in seeds) else seeds, options=options
        )
        self.reset_infos = _rows_of(info, self.num_envs)
        return observation

    def step_async(self, actions: NDArray[np.float32]) -> None:
        """Remember the actions (N, *action shape)."""
        self._actions = np.asarray(actions, np.float32)

    def step_wait(self) -> VecEnvStepReturn:
        """Take them, all rows in one call."""
        observation, reward, terminated, truncated, info = self.envs.step(self._actions)
        done, infos = terminated | truncated, _rows_of(info, self.num_envs)
        for row in range(self.num_envs):
            if done[row]:
                infos[row], self.reset_infos[row] = self._ended(infos[row])
            infos[row]["TimeLimit.truncated"] = bool(truncated[row] and not terminated[row])
        return observation, reward.astype(np.float32), done, infos

    def _ended(self, info: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """What is told about the end, and about the episode that has begun in the same step."""
        last, final = info.pop("final_obs"), info.pop("final_info")
        return {**final, "terminal_observation": last}, info

    def close(self) -> None:
        self.envs.close()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        values = self._attribute(attr_name)
        return [values[row] for row in self._get_indices(indices)]

    def _attribute(self, name: str) -> Sequence[Any]:
        """One value a row: rows of a batch share theirs, rows that run one after the other have their own."""
        inner = self.envs.unwrapped
        if name in ("action_space", "observation_space"):  # its own, not that of all rows together
            return [getattr(self.envs, f"single_{name}")] * self.num_envs
        if isinstance(inner, SyncVectorEnv) and all(row.has_wrapper_attr(name) for row in inner.envs):
            return inner.get_attr(name)
        for envs in (self.envs, inner):
            if hasattr(envs, name):
                return [getattr(envs, name)] * self.num_envs
        if not isinstance(inner, SyncVectorEnv | AsyncVectorEnv):
            raise AttributeError(f"neither {self.envs} nor what it wraps has an attribute {name!r}")
        return inner.get_attr(name)

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        inner, chosen = self.envs.unwrapped, list(self._get_indices(indices))
        if isinstance(inner, SyncVectorEnv):
            for row in chosen:
                inner.envs[row].set_wrapper_attr(attr_name, value)
            return
        if len(chosen) != self.num_envs:
            raise ValueError(f"all rows share {attr_name}: set it for all {self.num_envs} of them")
        if isinstance(inner, AsyncVectorEnv):
            inner.set_attr(attr_name, value)
        else:
            setattr(self.envs, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any) -> list[Any]:
        inner = self.envs.unwrapped
        if isinstance(inner, SyncVectorEnv) and all(row.has_wrapper_attr(method_name) for row in inner.envs):
            rows = [inner.envs[row] for row in self._get_indices(indices)]
            return [row.get_wrapper_attr(method_name)(*args, **kwargs) for row in rows]
        found = getattr(self.envs, method_name)(*args, **kwargs)
        return [found for _ in self._get_indices(indices)]

    def env_is_wrapped(
        self, wrapper_class: type[gymnasium.Wrapper[Any, Any, Any, Any]], indices: VecEnvIndices = None
    ) -> list[bool]:
        inner = self.envs.unwrapped
        if not isinstance(inner, SyncVectorEnv):  # nothing goes around a row of a batch
            return [False for _ in self._get_indices(indices)]
        return [is_wrapped(inner.envs[row], wrapper_class) for row in self._get_indices(indices)]

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        shown = self.envs.render()
        return [None] * self.num_envs if shown is None else list(shown)


class Sb3Agent:
    """An `Agent`: what a model of Stable-Baselines3 does without chance, whose actions are whole chunks.

    Args:
        model: learnt on an env of the task, with its observations.
        task: whose cameras and actions.

    Raises:
        UnsuitableEnv: if it learnt on another kind of env.
    """

    def __init__(self, model: BaseAlgorithm, task: TaskCard) -> None:
        shape: tuple[int, ...] = model.action_space.shape or ()
        if len(shape) != 2 or shape[1] != len(task.action_names):
            raise UnsuitableEnv(
                f"actions (K, {len(task.action_names)}) of task {task.name!r} were wanted, the model's are {shape}"
            )
        told = task_of_actions(model.action_space)
        if told not in (None, task.name):
            raise UnsuitableEnv(
                f"a model that learnt task {task.name!r} was wanted, it learnt {told!r}: take one of {task.name!r}, or "
                f"an env of {told!r}"
            )
        spaces = dict(getattr(model.observation_space, "spaces", {}))
        self._seen = set(spaces)
        if not self._seen or self._seen - {*task.cameras, "proprio"}:
            raise UnsuitableEnv(
                f"a model that sees cameras and proprio of task {task.name!r} was wanted, it sees "
                f"{', '.join(sorted(self._seen)) or model.observation_space}"
            )
        check_shown(spaces, task)
        check_not_normalised(model.get_env())
        self.model, self.task, self.chunk = model, task, int(shape[0])

    def act(
        self, observation: Observation, instruction: Sequence[str], advantage: NDArray[np.floating] | float = 1.0
    ) -> NDArray[np.float32]:
        """Batched observation -> scaled actions float32 (B, K, A) in [-1, 1]; only the observation matters."""
        seen = {name: value for name, value in observation.items() if name in self._seen}
        return np.asarray(self.model.predict(seen, deterministic=True)[0], np.float32)

    def loss(self, batch: dict[str, Any]) -> Tensor:
        """Zero: it learns from rewards, not from recordings."""
        return torch.zeros(())


def check_shown(spaces: Mapping[str, gymnasium.Space[Any]], task: TaskCard) -> None:
    """Refuse what is not shown as the task's envs show it; SB3 itself puts the colours of pictures first.

    Raises:
        UnsuitableEnv: names the first that differs.
    """
    height, width = task.image_size
    for name, space in spaces.items():
        shapes = {(height, width, 3), (3, height, width)} if name in task.cameras else {(len(task.proprio_names),)}
        if space.shape not in shapes or (name in task.cameras and space.dtype != np.uint8):
            raise UnsuitableEnv(
                f"a model of observations as task {task.name!r} has them was wanted, of the shapes "
                f"{' or '.join(map(str, sorted(shapes)))}{', uint8' * (name in task.cameras)}; it sees {name} "
                f"{space.dtype} {space.shape}: leave out the wrapper that changes it"
            )


def check_not_normalised(envs: VecEnv | None) -> None:
    """Refuse SB3's `VecNormalize` of observations: whoever plays later is shown them as they are.

    Raises:
        UnsuitableEnv: if it is around the env.
    """
    found = None if envs is None else unwrap_vec_normalize(envs)
    if found is not None and found.norm_obs:
        raise UnsuitableEnv(
            "observations without VecNormalize were wanted, since what plays is not told its means; learn without, or "
            "with VecNormalize(..., norm_obs=False)"
        )


def load_sb3(name: str, task: TaskCard) -> Sb3Agent:
    """An agent from `<algorithm>:<file>`, `ppo:model.zip` say, as a model's `save` wrote it.

    Such files are pickles, which run code when they are read: take only your own. Means of a `VecNormalize` are not in
    them, nor whether there was one: what learnt on normalised proprioception plays badly here without a word.

    Raises:
        InvalidCheckpoint: if there is no such algorithm, or no such file, or it can't be read.
        UnsuitableEnv: if it learnt on another kind of env.
    """
    algorithm, _, path = name.partition(":")
    if algorithm not in ALGORITHMS:
        raise InvalidCheckpoint(
            f"sb3:<algorithm>:<file> was wanted with one of {', '.join(ALGORITHMS)}, got sb3:{name}"
        )
    try:
        model = ALGORITHMS[algorithm].load(path, device="cpu")
    except Exception as error:  # a file of another algorithm fails in any way, assertions among them
        raise InvalidCheckpoint(
            f"{path} is no model that {algorithm.upper()} of Stable-Baselines3 saved ({error}); name the zip file that "
            "its `save` wrote, and the algorithm that learnt it"
        ) from error
    return Sb3Agent(model, task)


def _rows_of(info: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Gymnasium's info of all rows, each name beside a mask of who has it, as one dict a row."""
    rows: list[dict[str, Any]] = [{} for _ in range(count)]
    for name, values in info.items():
        mask = info.get(f"_{name}")
        if mask is None:
            continue
        own: Any = _rows_of(values, count) if isinstance(values, dict) else values
        for row in np.flatnonzero(mask):
            rows[row][name] = own[row].item() if isinstance(own[row], np.generic) else own[row]
    return rows
