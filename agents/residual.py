"""A residual on a flow policy that stays as it is: Stable-Baselines3 learns by how much to bend its chunks.

`ResidualVecEnv` shows a `VecEnv` to a learner so: the observation is what the frozen policy made of the pictures, the
action bends the chunk that the policy would play; 0 plays it as it is. `ResidualPolicy` is what comes out of it: the
flow policy and the small network that bends it, together an `Agent`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import gymnasium
import numpy as np
import torch
from diffusers.configuration_utils import register_to_config
from numpy.typing import NDArray
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn
from torch import Tensor, nn

from rise_gym._one_task import task_if_told
from rise_gym.agents.flow_policy import FlowPolicy
from rise_gym.agents.interaction import check_card, check_chunk, row_of
from rise_gym.agents.sb3 import check_not_normalised
from rise_gym.agents.steering import AugmentedPolicy, features_of, small_network
from rise_gym.collection import ExplorationNoise
from rise_gym.errors import InvalidAction, StepOutOfOrder, UnsuitableEnv
from rise_gym.tasks import TaskCard
from rise_gym.types import Observation

Squash = Literal["tanh", "clip"]
Pay = Literal["progress", "advantage", "gain"]


def bends(knots: Tensor, chunk: int, task: TaskCard, reach: float) -> Tensor:
    """What is added to scaled actions: knots (B, n · A) in [-1, 1] -> (B, K, A).

    The n knots lie evenly over the chunk, the last at its end; between them, and from nothing before the first tick on,
    it is linear. A knot of 1 is `reach` standard deviations of `ExplorationNoise()`.
    """
    spread = torch.from_numpy(ExplorationNoise().scaled(task)).to(knots)
    placed = knots.unflatten(1, (-1, len(spread))) * (reach * spread)
    placed = torch.cat([torch.zeros_like(placed[:, :1]), placed], dim=1).mT  # (B, A, n + 1)
    line = nn.functional.interpolate(placed, size=chunk + 1, mode="linear", align_corners=True)
    return line.mT[:, 1:]


def check_bends(knots: int, reach: float, chunk: int) -> None:
    """Refuse what bends nothing.

    Raises:
        ValueError: says why.
    """
    if not 1 <= knots <= chunk or not 0 < reach < math.inf:
        raise ValueError(f"1 to {chunk} knots and a positive, finite reach were wanted, got {knots} and {reach}")


class ResidualVecEnv(VecEnvWrapper):
    """A `VecEnv` whose action bends what a frozen policy does: Box(-1, 1, (knots · A,)), see `bends`.

    Observations are a dict, for `MultiInputPolicy`: `seen`, Box (D + P,), see `rise_gym.agents.steering.features_of`.
    Ends and infos are the env's own. The policy is asked for the best advantage, at `temperature` 0.

    The reward is the env's own, progress gained, or the chunk's `advantage`, or its "gain": by how much that exceeds
    the advantage of the policy's own chunk, dreamt from the same state with the same noise. Nearly all of an advantage
    is the state's, and hides what the bend does. Each is less `charge` times the sum of the squared knots. An advantage
    counts what is expected after the chunk as well, so both want a discount of 0: one decision, one reward. Charged
    for, a bend grows with what it gains: where an advantage rises by g a knot, it is best at g / (2 · charge).

    With `tries`, so many bends of every state are judged before the dream moves on with the last of them: to judge
    takes a quarter of the time that moving takes.

    Args:
        venv: as `rise_gym.make_sb3_env` gives it, of the policy's task and chunk.
        policy: stays as it is.
        knots: at how many places of a chunk it is bent. reach: how far at most, in standard deviations of exploration.
        pay: what is rewarded. charge: what a knot at its end costs.
        tries: bends of each state, the last of which is played.

    Raises:
        UnsuitableEnv: if the env is another task's or tells none, has other cameras or changes what they show, takes
            other chunks, or tells no advantage where that is paid.
        ValueError: for knots or a reach that bend nothing, a negative charge, another pay, or tries of what only
            playing tells.
    """

    def __init__(
        self,
        venv: VecEnv,
        policy: FlowPolicy,
        *,
        knots: int = 2,
        reach: float = 1.5,
        pay: Pay = "progress",
        charge: float = 0.0,
        tries: int = 1,
    ) -> None:
        check_bends(knots, reach, policy.chunk)
        _check_pay(pay, charge, tries)
        _check_fits(venv, policy)
        self.policy, self.knots, self.reach = policy, knots, reach
        self.pay, self.charge, self.tries = pay, charge, tries
        count = int(policy.config.context_width) + len(policy.card.proprio_names)
        seen = gymnasium.spaces.Box(-np.inf, np.inf, (count,), np.float32)
        bend = gymnasium.spaces.Box(-1.0, 1.0, (knots * policy.actions,), np.float32)
        super().__init__(venv, gymnasium.spaces.Dict({"seen": seen}), bend)
        self._shown, self._own = torch.zeros(0), torch.zeros(0)
        self._worth = np.zeros(venv.num_envs, np.float32)  # of the policy's own chunks, where gains are paid
        self._chunks: NDArray[np.float32] = np.zeros(0, np.float32)
        self._cost: NDArray[Any] = np.zeros(0, np.float32)
        self._tried = 0

    def reset(self) -> VecEnvObs:
        return self._noticed(self.venv.reset())

    def step_async(self, actions: NDArray[np.float32]) -> None:
        """Bend the chunks of all rows by actions (N, knots · A), and play them if they are the last to be tried.

        Raises:
            InvalidAction: for another shape.
            StepOutOfOrder: before `reset`.
        """
        if not len(self._own):
            raise StepOutOfOrder("`reset` was wanted before the first step")
        knots = torch.as_tensor(np.asarray(actions, np.float32)).clamp(-1, 1)
        wanted = (self.num_envs, *(self.action_space.shape or ()))
        if tuple(knots.shape) != wanted:  # fewer would be taken for fewer knots
            raise InvalidAction(
                f"bends {wanted}, knots times joints of each row, were wanted, got {tuple(knots.shape)}"
            )
        self._cost = (self.charge * knots.square().sum(1)).numpy()
        bent = self._own + bends(knots, self.policy.chunk, self.policy.card, self.reach)
        self._chunks = bent.clamp(-1, 1).numpy()
        self._tried += 1
        if self._tried == self.tries:
            self.venv.step_async(self._chunks)

    def step_wait(self) -> VecEnvStepReturn:
        if self._tried < self.tries:
            found = self._judged(self._chunks) - self._worth - self._cost
            return self._view(), found, np.zeros(self.num_envs, np.bool_), [{} for _ in range(self.num_envs)]
        observation, reward, done, infos = self.venv.step_wait()
        if self.pay != "progress":
            reward = _advantages(infos) - self._worth
        reward = reward - self._cost
        for row in np.flatnonzero(done):
            last = infos[row]["terminal_observation"]
            infos[row]["terminal_observation"] = {"seen": self._seen(row_of(last))[0][0].numpy()}
        return self._noticed(observation), reward, done, infos

    def _noticed(self, observation: Any) -> VecEnvObs:
        """What a learner sees; what the policy would do now, and what that is worth, is remembered."""
        self._shown, self._own = self._seen(observation)
        self._tried = 0
        if self.pay == "gain":
            self._worth = self._judged(self._own.clamp(-1, 1).numpy())
        return self._view()

    def _view(self) -> dict[str, NDArray[np.float32]]:
        return {"seen": self._shown.numpy().copy()}

    def _judged(self, chunks: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the dream holds of chunks (N, K, A), while nothing moves: advantages float32 (N,)."""
        try:
            found: NDArray[np.float32] = self.venv.env_method("advantages_of", chunks)[0]
        except AttributeError as error:
            raise UnsuitableEnv(
                "an env that judges chunks before it plays them was wanted, as RiseImagined-… do; this one has no "
                'advantages_of: use pay="progress", or "advantage" with one try'
            ) from error
        return found

    @torch.no_grad()
    def _seen(self, observation: Observation) -> tuple[Tensor, Tensor]:
        """Features (N, D + P) and the policy's own chunks (N, K, A)."""
        rows = len(observation["proprio"])
        context, proprio = self.policy.perceived(observation, [self.policy.card.instruction] * rows)
        own = _own_chunks(self.policy, context, proprio)
        return features_of(self.policy, context, proprio).cpu(), own.cpu()


def _own_chunks(policy: FlowPolicy, context: Tensor, proprio: Tensor) -> Tensor:
    return policy.flowed(context.new_zeros(len(context), policy.chunk, policy.actions), context, proprio)


def _check_pay(pay: str, charge: float, tries: int) -> None:
    if pay not in get_args(Pay) or not 0 <= charge < math.inf:
        raise ValueError(f"pay for {', '.join(get_args(Pay))} and a charge from 0 were wanted, got {pay}, {charge}")
    if tries < 1 or tries % 1 or (tries > 1 and pay == "progress"):
        raise ValueError(f"tries from 1 were wanted, and 1 for progress, which only playing tells; got {tries}, {pay}")


def _advantages(infos: list[dict[str, Any]]) -> NDArray[np.float32]:
    try:
        return np.array([info["advantage"] for info in infos], np.float32)
    except KeyError as error:
        raise UnsuitableEnv(
            f"an env that tells the advantage of chunks was wanted, as RiseImagined-… do; this one tells "
            f'{", ".join(infos[0])}: use pay="progress"'
        ) from error


def _check_fits(venv: VecEnv, policy: FlowPolicy) -> None:
    for card in _cards(venv):
        check_card(policy, card)
    check_chunk(policy, venv.action_space.shape)
    names = set(venv.observation_space) if isinstance(venv.observation_space, gymnasium.spaces.Dict) else set()
    if missing := {*policy.card.cameras, "proprio"} - names:
        raise UnsuitableEnv(f"observations with {', '.join(sorted(missing))} were wanted; the env has {sorted(names)}")
    wanted = (*policy.card.image_size, 3)
    for camera in policy.card.cameras:
        space = venv.observation_space[camera]
        if space.shape != wanted or space.dtype != np.uint8:
            raise UnsuitableEnv(
                f"{camera} uint8 {wanted}, as the policy looks at it, was wanted; the env has {space.dtype} "
                f"{space.shape}: put wrappers that change pictures around this one"
            )
    check_not_normalised(venv)


def _cards(venv: VecEnv) -> list[TaskCard | None]:
    """The task card of every row."""
    try:
        return [task_if_told(task) for task in venv.get_attr("task")]
    except AttributeError:
        return [None]


class ResidualPolicy(AugmentedPolicy):
    """An `Agent`: a frozen flow policy, and the network that bends its chunks. It acts without chance.

    The network's knots are tanh(MLP(features)), or the MLP's output clipped to [-1, 1], as the algorithm that taught it
    has it. Untrained, its output is zero, so that it acts as the flow policy does at `temperature` 0.

    Args:
        policy_config: of the `FlowPolicy`.
        widths: hidden layers. squash: how outputs are kept in [-1, 1].
        knots, reach: see `ResidualVecEnv`.
    """

    @register_to_config
    def __init__(
        self,
        policy_config: Mapping[str, Any],
        widths: Sequence[int] = (256, 256),
        squash: Squash = "tanh",
        knots: int = 2,
        reach: float = 1.5,
    ) -> None:
        super().__init__(policy_config)
        check_bends(knots, reach, self.chunk)
        self.bending = small_network(self.policy, widths, knots * self.policy.actions)

    @classmethod
    def learnt(cls, model: PPO | SAC, env: ResidualVecEnv) -> ResidualPolicy:
        """What a model of Stable-Baselines3 learnt on `env`: the mean of its actor on the policy.

        Raises:
            ValueError: if its networks are not as `residual_networks` makes them.
            UnsuitableEnv: if it learnt on normalised observations.
        """
        check_not_normalised(model.get_env())
        layers = _actor_layers(model)
        widths = [layer.out_features for layer in layers[:-1]]
        agent = cls.on(
            env.policy, widths=widths, squash="clip" if isinstance(model, PPO) else "tanh", knots=env.knots,
            reach=env.reach,
        )  # fmt: skip
        mine = [layer for layer in agent.bending if isinstance(layer, nn.Linear)]
        shapes = [tuple(layer.weight.shape) for layer in layers]
        if shapes != [tuple(layer.weight.shape) for layer in mine]:
            raise ValueError(f"an actor that reads {mine[0].in_features} features was wanted, its layers are {shapes}")
        for layer, taught in zip(mine, layers, strict=True):
            layer.load_state_dict({name: value.cpu() for name, value in taught.state_dict().items()})
        return agent

    @torch.no_grad()
    def act(
        self, observation: Observation, instruction: Sequence[str], advantage: NDArray[np.floating] | float = 1.0
    ) -> NDArray[np.float32]:
        """Batched observation -> scaled actions float32 (B, K, A) in [-1, 1]; see `FlowPolicy.act`."""
        context, proprio = self.policy.perceived(observation, instruction, advantage)
        output = self.bending(features_of(self.policy, context, proprio))
        knots = output.tanh() if self.config.squash == "tanh" else output.clamp(-1, 1)
        bend = bends(knots, self.chunk, self.card, self.config.reach)
        chunks: NDArray[np.float32] = (_own_chunks(self.policy, context, proprio) + bend).clamp(-1, 1).cpu().numpy()
        return chunks


def residual_networks(*widths: int) -> dict[str, Any]:
    """`policy_kwargs` of a PPO or SAC that `ResidualPolicy.learnt` takes: hidden layers of actor and critic, ReLU."""
    return {"net_arch": list(widths), "activation_fn": nn.ReLU}


def still_at_first(model: PPO | SAC) -> None:
    """Let an actor begin where the policy's chunks stay as they are."""
    last = _actor_layers(model)[-1]
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)


def _actor_layers(model: PPO | SAC) -> list[nn.Linear]:
    if isinstance(model, PPO):
        parts: tuple[nn.Module, ...] = (model.policy.mlp_extractor.policy_net, model.policy.action_net)
    else:
        parts = (model.actor.latent_pi, model.actor.mu)
    hidden = [layer for part in parts for layer in part.modules() if not isinstance(layer, nn.Sequential)]
    if wrong := [layer for layer in hidden if not isinstance(layer, nn.Linear | nn.ReLU)]:
        raise ValueError(f"layers that are linear or ReLU were wanted, got {wrong[0]}; use residual_networks")
    return [layer for layer in hidden if isinstance(layer, nn.Linear)]
