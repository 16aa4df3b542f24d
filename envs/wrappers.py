"""Wrappers for every backend: record episodes, film them, and speak LeRobot's observation format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import imageio.v2 as imageio
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray

from rise_gym._recorder import EpisodeRecorder
from rise_gym.types import Episode, Observation, Source

AnyEnv = gymnasium.Env[Any, Any]


class RecordEpisodes(gymnasium.Wrapper[Observation, NDArray[np.float32], Observation, NDArray[np.float32]]):
    """Records every finished episode, one row a control tick, the terminal observation included.

    An env whose step is longer than a tick has to report the ticks in between: build the replica with
    `record_ticks=True`; imagined envs always can. An episode that is reset before its end is forgotten. Wrappers that
    change actions (another rate, another scale) go outside of this one: what is recorded is what was executed.

    Args:
        env: any env of the registry.
        source: who acts, see `Episode`.
        policy: name of who acts.
        on_episode: called with each finished episode, e.g. `EpisodeWriter.append`.

    Raises:
        ValueError: if the actions are not those that the env executes.

    Attributes:
        episode: the last finished episode, or None.
    """

    def __init__(
        self,
        env: AnyEnv,
        *,
        source: Source = "rollout",
        policy: str = "unnamed",
        on_episode: Callable[[Episode], object] | None = None,
    ) -> None:
        super().__init__(env)
        if env.action_space != env.unwrapped.action_space:
            raise ValueError(
                f"episodes hold executed actions {env.unwrapped.action_space}, but a wrapper inside takes "
                f"{env.action_space}: put RecordEpisodes inside of it"
            )
        self.episode: Episode | None = None
        self._recorder = EpisodeRecorder(env, source=source, policy=policy)
        self._on_episode = on_episode
        self._intention: NDArray[np.float32] | None = None

    def intend(self, clean_actions: NDArray[np.float32]) -> None:
        """What the next step means to do, (K, A), where the executed chunk has noise added."""
        self._intention = clean_actions

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        observation, info = self.env.reset(seed=seed, options=options)
        self._recorder.begin(observation, info, seed)
        self._intention = None
        return observation, info

    def step(self, action: NDArray[np.float32]) -> tuple[Observation, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._recorder.add(action, self._intention, observation, info)
        self._intention = None
        if terminated or truncated:
            self.episode = self._recorder.finish(info)
            if self._on_episode is not None:
                self._on_episode(self.episode)
        return observation, reward, terminated, truncated, info


class LeRobotObservation(gymnasium.ObservationWrapper[dict[str, Any], NDArray[np.float32], Observation]):
    """LeRobot's nesting, and the attributes it reads.

    `{"pixels": {camera: uint8 (H, W, 3)}, "agent_pos": float32 (P,)}`: joint angles in rad, gripper openings in m.
    Stable-Baselines3 refuses nested observations; use this for LeRobot's evaluation only.
    """

    def __init__(self, env: AnyEnv) -> None:
        super().__init__(env)
        flat = env.observation_space
        assert isinstance(flat, spaces.Dict)
        self._cameras = tuple(name for name in flat.spaces if name != "proprio")
        pixels = spaces.Dict({camera: flat[camera] for camera in self._cameras})
        self.observation_space = spaces.Dict({"pixels": pixels, "agent_pos": flat["proprio"]})
        self.task_description: str = env.unwrapped.task.instruction  # type: ignore[attr-defined]
        self.task: str = env.unwrapped.task.name  # type: ignore[attr-defined]
        self._max_episode_steps: int = env.unwrapped._max_episode_steps  # type: ignore[attr-defined]

    def observation(self, observation: Observation) -> dict[str, Any]:
        return {
            "pixels": {camera: observation[camera] for camera in self._cameras},
            "agent_pos": observation["proprio"],
        }


class RecordImaginedVideo(
    gymnasium.Wrapper[Observation, NDArray[np.float32], Observation, NDArray[np.float32]], RecordConstructorArgs
):
    """Gymnasium's `RecordVideo` without MoviePy: films `render()` of chosen episodes as mp4.

    Args:
        env: built with `render_mode="rgb_array"`.
        video_folder: where `<name_prefix>-episode-<number>.mp4` go.
        episode_trigger: which episodes, by number from 0; by default cubes up to 1000, then every thousandth.
        name_prefix: how file names begin.
        fps: frames (env steps) a second; by default the env's `render_fps`.

    Raises:
        ValueError: if the env renders no images.
    """

    def __init__(
        self,
        env: AnyEnv,
        video_folder: str | Path,
        episode_trigger: Callable[[int], bool] | None = None,
        name_prefix: str = "rl-video",
        fps: int | None = None,
    ) -> None:
        RecordConstructorArgs.__init__(
            self, video_folder=str(video_folder), episode_trigger=episode_trigger, name_prefix=name_prefix, fps=fps
        )
        gymnasium.Wrapper.__init__(self, env)
        if env.render_mode != "rgb_array":
            raise ValueError(f'filming needs render_mode="rgb_array", the env was made with {env.render_mode!r}')
        self.video_folder, self.name_prefix = Path(video_folder), name_prefix
        self.fps = env.metadata.get("render_fps", 10) if fps is None else fps
        self._wanted = _cubes if episode_trigger is None else episode_trigger
        self._number = -1
        self._frames: list[NDArray[np.uint8]] = []

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        self._save()
        result = self.env.reset(seed=seed, options=options)
        self._number += 1
        self._film()
        return result

    def step(self, action: NDArray[np.float32]) -> tuple[Observation, Any, bool, bool, dict[str, Any]]:
        result = self.env.step(action)
        self._film()
        if result[2] or result[3]:
            self._save()
        return result

    def close(self) -> None:
        self._save()
        super().close()

    def _film(self) -> None:
        if self._wanted(self._number):
            self._frames.append(np.asarray(self.env.render()))

    def _save(self) -> None:
        if not self._frames:
            return
        self.video_folder.mkdir(parents=True, exist_ok=True)
        path = self.video_folder / f"{self.name_prefix}-episode-{self._number}.mp4"
        imageio.mimwrite(path, self._frames, fps=self.fps, macro_block_size=2, quality=9)
        self._frames = []


def _cubes(number: int) -> bool:
    """Gymnasium's default choice of episodes; its own module can't be imported without MoviePy."""
    return round(number ** (1 / 3)) ** 3 == number if number < 1000 else number % 1000 == 0
