"""Wrappers for every backend: record episodes, film them, and speak LeRobot's observation format."""

from __future__ import annotations

import gc
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
        self._max_episode_steps: int = env.get_wrapper_attr("_max_episode_steps")

    def observation(self, observation: Observation) -> dict[str, Any]:
        return {
            "pixels": {camera: observation[camera] for camera in self._cameras},
            "agent_pos": observation["proprio"],
        }


class RecordImaginedVideo(
    gymnasium.Wrapper[Observation, NDArray[np.float32], Observation, NDArray[np.float32]], RecordConstructorArgs
):
    """Gymnasium's `RecordVideo` without MoviePy: films `render()` as mp4, in chosen episodes or from chosen steps on.

    It takes the same arguments in the same order, and films the same frames. One film is made at a time: where another
    begins, it ends. That of a whole episode is on disk at the episode's end, not only after the next reset.

    Args:
        env: built with `render_mode="rgb_array"`.
        video_folder: where `<name_prefix>-episode-<number>.mp4` and `<name_prefix>-step-<number>.mp4` go.
        episode_trigger: with which episodes a film begins, by number from 0; by default, where `step_trigger` is not
            given either, cubes up to 1000, then every thousandth.
        step_trigger: after which steps a film begins, by number from 0, counted over all episodes.
        video_length: frames of a film after its first, wherever episodes end; 0 films until the episode ends.
        name_prefix: how file names begin.
        fps: frames (env steps) a second; by default the env's `render_fps`, else 30.
        disable_logger: False has FFmpeg tell of its work on stderr, as there MoviePy does.
        gc_trigger: after which films garbage is collected, by the number of the episode in which they end; by default
            after none, where `RecordVideo`, to be rid of what MoviePy leaves, does so after each.

    Raises:
        ValueError: if the env renders no images, or for a length below 0.
    """

    def __init__(
        self,
        env: AnyEnv,
        video_folder: str | Path,
        episode_trigger: Callable[[int], bool] | None = None,
        step_trigger: Callable[[int], bool] | None = None,
        video_length: int = 0,
        name_prefix: str = "rl-video",
        fps: int | None = None,
        disable_logger: bool = True,
        gc_trigger: Callable[[int], bool] | None = None,
    ) -> None:
        RecordConstructorArgs.__init__(
            self, video_folder=str(video_folder), episode_trigger=episode_trigger, step_trigger=step_trigger,
            video_length=video_length, name_prefix=name_prefix, fps=fps, disable_logger=disable_logger,
            gc_trigger=gc_trigger,
        )  # fmt: skip
        gymnasium.Wrapper.__init__(self, env)
        if env.render_mode != "rgb_array":
            raise ValueError(f'filming needs render_mode="rgb_array", the env was made with {env.render_mode!r}')
        if video_length < 0:
            raise ValueError(f"a video_length from 0 was wanted, 0 for whole episodes, got {video_length}")
        self.video_folder, self.name_prefix, self.video_length = Path(video_folder), name_prefix, video_length
        self.fps = env.metadata.get("render_fps", 30) if fps is None else fps
        self._episode_trigger = _cubes if episode_trigger is None and step_trigger is None else episode_trigger
        self._step_trigger, self._gc_trigger = step_trigger, gc_trigger
        self._log_level = "warning" if disable_logger else "info"
        self._episode = self._step = -1
        self._film: str | None = None  # name of the one under way
        self._frames: list[NDArray[np.uint8]] = []

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        if not self.video_length:
            self._finish()  # of an episode that was left before its end
        result = self.env.reset(seed=seed, options=options)
        self._episode += 1
        if self._episode_trigger is not None and self._episode_trigger(self._episode):
            self._begin(f"episode-{self._episode}")
        self._look()
        return result

    def step(self, action: NDArray[np.float32]) -> tuple[Observation, Any, bool, bool, dict[str, Any]]:
        result = self.env.step(action)
        self._step += 1
        if self._step_trigger is not None and self._step_trigger(self._step):
            self._begin(f"step-{self._step}")
        self._look()
        if not self.video_length and (result[2] or result[3]):
            self._finish()
        return result

    def close(self) -> None:
        self._finish()
        super().close()

    def _begin(self, what: str) -> None:
        self._finish()
        self._film = f"{self.name_prefix}-{what}"

    def _look(self) -> None:
        """One frame more, if there is a film under way; it may be the last."""
        if self._film is None:
            return
        self._frames.append(np.asarray(self.env.render()))
        if 0 < self.video_length < len(self._frames):
            self._finish()

    def _finish(self) -> None:
        """Write the film under way, if there is one."""
        if self._film is None:
            return
        self.video_folder.mkdir(parents=True, exist_ok=True)
        path = self.video_folder / f"{self._film}.mp4"
        imageio.mimwrite(
            path, self._frames, fps=self.fps, macro_block_size=2, quality=9, ffmpeg_log_level=self._log_level
        )
        self._film, self._frames = None, []
        if self._gc_trigger is not None and self._gc_trigger(self._episode):
            gc.collect()


def _cubes(number: int) -> bool:
    """Gymnasium's default choice of episodes; its own module can't be imported without MoviePy."""
    return round(number ** (1 / 3)) ** 3 == number if number < 1000 else number % 1000 == 0
