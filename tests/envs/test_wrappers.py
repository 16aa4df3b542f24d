"""Every backend records the same episode, and the wrappers speak the formats they promise."""

from __future__ import annotations

import gc
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import av
import gymnasium
import numpy as np
import pytest
from fake_env import HORIZON_TICKS, SINGLE_ID, FakeEnv

from rise_gym.envs.imagined import ImaginedEnv
from rise_gym.envs.wrappers import LeRobotObservation, RecordEpisodes, RecordImaginedVideo
from rise_gym.errors import RiseGymError
from rise_gym.types import Episode


def played(env: RecordEpisodes, *, speed: float = 0.3, seed: int = 3) -> list[np.ndarray]:
    """Plays to the end; returns the executed chunks."""
    env.reset(seed=seed)
    shape, chunks, over = env.action_space.shape, [], False
    random = np.random.default_rng(0)
    while not over:
        chunks.append(random.uniform(0.5 * speed, speed, shape).astype(np.float32))
        env.intend(chunks[-1] * 0.5)
        _, _, terminated, truncated, _ = env.step(chunks[-1])
        over = terminated or truncated
    return chunks


@pytest.mark.parametrize(("speed", "success"), [(0.9, True), (0.1, False)])
@pytest.mark.parametrize("chunk", [1, 4, 10])
def test_an_episode_has_every_tick_and_the_end(chunk: int, speed: float, success: bool) -> None:
    env = RecordEpisodes(FakeEnv(chunk=chunk, record_ticks=chunk > 1), source="correction", policy="someone")
    chunks = played(env, speed=speed)
    episode = env.episode
    assert isinstance(episode, Episode)
    rows = len(episode)
    executed = np.concatenate(chunks)[: rows - 1]  # the end may come within a chunk
    assert (episode.success, episode.seed, episode.source, episode.policy) == (success, 3, "correction", "someone")
    np.testing.assert_array_equal(episode.actions, [*executed, executed[-1]])
    np.testing.assert_allclose(episode.clean_actions, 0.5 * episode.actions)
    expected = np.clip(episode.progress[0] + np.cumsum([0, *(0.1 * executed[:, 0])]), 0, 1)
    np.testing.assert_allclose(episode.progress, expected, atol=1e-5)
    np.testing.assert_allclose(episode.physics_state[:, 0], expected, atol=1e-5)
    np.testing.assert_allclose(episode.proprio[:, 0], 0.05 * expected, atol=1e-5)
    for frames in episode.frames.values():
        np.testing.assert_allclose(frames[:, 0, 0, 0], 200 * expected + 20, atol=1)
    assert rows == HORIZON_TICKS + 1 or expected[-1] == pytest.approx(1)


def test_imagination_is_recorded_through_its_decoded_chunk() -> None:
    class Dream(FakeEnv):
        """Tells its ticks as imagined envs do: on demand, decoded together."""

        def __init__(self, **arguments: Any) -> None:
            super().__init__(record_ticks=True, **arguments)

        def step(self, action: Any) -> Any:
            *result, info = super().step(action)
            self.ticks = info.pop("ticks")
            return (*result, info)

        def chunk_frames(self) -> np.ndarray:
            return np.stack([self.ticks[camera] for camera in self.task.cameras], axis=1)

        def chunk_proprio(self) -> np.ndarray:
            return self.ticks["proprio"]

    found = [RecordEpisodes(Dream()), RecordEpisodes(FakeEnv(record_ticks=True))]
    for env in found:
        played(env)
    dream, replica = (env.episode for env in found)
    for name in ("actions", "proprio", "progress"):
        np.testing.assert_allclose(getattr(dream, name), getattr(replica, name), atol=1e-6, err_msg=name)
    np.testing.assert_array_equal(dream.frames["right_wrist"], replica.frames["right_wrist"])


def test_missing_ticks_are_refused() -> None:
    env = RecordEpisodes(FakeEnv(chunk=10))
    with pytest.raises(RiseGymError, match=r"10 ticks at a time.*record_ticks=True"):
        played(env)


def test_only_finished_episodes_are_handed_on() -> None:
    episodes: list[Episode] = []
    env = RecordEpisodes(FakeEnv(chunk=5, record_ticks=True), on_episode=episodes.append)
    env.reset(seed=0)
    env.step(np.zeros((5, 14), np.float32))
    assert env.episode is None
    played(env, seed=8)
    played(env, seed=9)
    assert [episode.seed for episode in episodes] == [8, 9]
    assert episodes[0].frames["head"] is not episodes[1].frames["head"]


def test_lerobots_nesting() -> None:
    env = LeRobotObservation(gymnasium.make(SINGLE_ID, chunk=5))
    observation, info = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    assert set(observation) == {"pixels", "agent_pos"}
    assert set(observation["pixels"]) == {"head", "left_wrist", "right_wrist"}
    assert info["is_success"] is False
    assert (env.task, env._max_episode_steps) == ("box_close", 5)
    assert env.task_description.startswith("Put the cup")


def test_chosen_episodes_are_filmed(tmp_path: Path) -> None:
    inner = FakeEnv(chunk=5, render_mode="rgb_array")
    env = RecordImaginedVideo(inner, tmp_path, episode_trigger=lambda n: n % 2 == 0, name_prefix="dream")
    for seed in range(3):
        env.reset(seed=seed)
        for _ in range(3):
            env.step(np.zeros((5, 14), np.float32))
    env.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dream-episode-0.mp4", "dream-episode-2.mp4"]
    with av.open(str(tmp_path / "dream-episode-2.mp4")) as video:
        assert video.streams.video[0].average_rate == 5
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert len(frames) == 4  # the beginning and three steps
    assert frames[0].shape == (64, 192, 3)


# What Gymnasium's own wrapper films of the same episodes, whatever is asked for.
WAYS: dict[str, dict[str, Any]] = {
    "by default": {},
    "odd episodes": {"episode_trigger": lambda n: n % 2 == 1},
    "from some steps on": {"step_trigger": lambda n: n % 7 == 2},
    "snippets from some steps on": {"step_trigger": lambda n: n % 7 == 2, "video_length": 2},
    "snippets that are cut off by the next": {"step_trigger": lambda n: n % 3 == 0, "video_length": 4},
    "beyond the ends of episodes": {"episode_trigger": lambda n: n == 0, "video_length": 8},
    "both triggers": {"episode_trigger": lambda n: True, "step_trigger": lambda n: n == 3},
    "snippets of the default's episodes": {"video_length": 3, "name_prefix": "dream", "fps": 7},
}


@pytest.fixture
def moviepys_clips(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, tuple[list[np.ndarray], int]]]:
    """Stands in for MoviePy, which is not installed: frames and rate that Gymnasium would write, by file name."""
    written: dict[str, tuple[list[np.ndarray], int]] = {}

    class ImageSequenceClip:
        def __init__(self, frames: list[np.ndarray], fps: int) -> None:
            self.film = (list(frames), fps)

        def write_videofile(self, path: str, logger: str | None) -> None:
            written[Path(path).name] = self.film

    for name in ("moviepy", "moviepy.video", "moviepy.video.io", "moviepy.video.io.ImageSequenceClip"):
        module: Any = ModuleType(name)
        module.ImageSequenceClip = ImageSequenceClip
        monkeypatch.setitem(sys.modules, name, module)
    yield written
    sys.modules.pop("gymnasium.utils.save_video", None)  # it holds on to what stands in


def filmed(path: Path) -> tuple[list[np.ndarray], int]:
    with av.open(str(path)) as video:
        rate = video.streams.video[0].average_rate
        return [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)], rate


def play_three_and_a_half(env: gymnasium.Env[Any, Any]) -> None:
    """Episodes of five steps that brighten; the last is closed in its third."""
    for steps in (5, 5, 5, 2):
        env.reset(seed=0)
        for _ in range(steps):
            env.step(np.full((5, 14), 0.3, np.float32))
    env.close()


@pytest.mark.parametrize("way", WAYS)
def test_films_are_what_gymnasium_films(way: str, tmp_path: Path, moviepys_clips: dict[str, Any]) -> None:
    inner = {"chunk": 5, "render_mode": "rgb_array"}
    play_three_and_a_half(gymnasium.wrappers.RecordVideo(FakeEnv(**inner), str(tmp_path / "theirs"), **WAYS[way]))
    play_three_and_a_half(RecordImaginedVideo(FakeEnv(**inner), tmp_path / "ours", **WAYS[way]))
    assert moviepys_clips.keys() == {path.name for path in (tmp_path / "ours").iterdir()}
    for name, (theirs, fps) in moviepys_clips.items():
        ours, rate = filmed(tmp_path / "ours" / name)
        assert (len(ours), rate) == (len(theirs), fps), name
        np.testing.assert_allclose([one.mean() for one in ours], [one.mean() for one in theirs], atol=2, err_msg=name)


def test_arguments_are_recordvideos_in_its_order() -> None:
    ours, theirs = (
        list(inspect.signature(wrapper).parameters) for wrapper in (RecordImaginedVideo, gymnasium.wrappers.RecordVideo)
    )
    assert ours == theirs


def test_a_film_of_some_length_goes_on_in_the_next_episode(tmp_path: Path) -> None:
    env = RecordImaginedVideo(
        FakeEnv(chunk=5, render_mode="rgb_array"), tmp_path, step_trigger=lambda n: n == 8, video_length=3
    )
    play_three_and_a_half(env)
    frames, _ = filmed(tmp_path / "rl-video-step-8.mp4")
    brightness = [float(frame.mean()) for frame in frames]
    assert len(brightness) == 4  # what was seen after step 8, then the end, a beginning, and a step from there
    assert brightness[0] < brightness[1] > brightness[2] < brightness[3]


def test_a_whole_episode_is_on_disk_at_its_end(tmp_path: Path) -> None:
    env = RecordImaginedVideo(FakeEnv(chunk=5, render_mode="rgb_array"), tmp_path)
    env.reset(seed=0)
    over = False
    while not over:
        assert not list(tmp_path.iterdir())
        _, _, terminated, truncated, _ = env.step(np.zeros((5, 14), np.float32))
        over = terminated or truncated
    assert [path.name for path in tmp_path.iterdir()] == ["rl-video-episode-0.mp4"]


def test_garbage_is_collected_after_a_film_where_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, collected = [], []
    monkeypatch.setattr(gc, "collect", lambda: collected.append(True))

    def trigger(number: int) -> bool:
        asked.append(number)
        return number == 1

    inner = FakeEnv(chunk=5, render_mode="rgb_array")
    play_three_and_a_half(
        RecordImaginedVideo(inner, tmp_path, episode_trigger=lambda n: n < 3, video_length=2, gc_trigger=trigger)
    )
    assert (asked, len(collected)) == ([0, 1, 2], 1)


@pytest.mark.parametrize("quiet", [True, False])
def test_the_encoder_tells_of_its_work_where_that_is_asked_for(
    quiet: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    env = RecordImaginedVideo(FakeEnv(chunk=5, render_mode="rgb_array"), tmp_path, disable_logger=quiet)
    env.reset(seed=0)
    env.close()
    assert ("rl-video-episode-0.mp4" in capfd.readouterr().err) is not quiet


def test_a_length_below_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="video_length from 0 was wanted, 0 for whole episodes, got -1"):
        RecordImaginedVideo(FakeEnv(render_mode="rgb_array"), tmp_path, video_length=-1)


def test_filming_needs_images(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='render_mode="rgb_array"'):
        RecordImaginedVideo(FakeEnv(), tmp_path)


def test_a_dream_becomes_an_episode(counting_world: Any, counting_starts: Any) -> None:
    dream = ImaginedEnv(world_model=counting_world(), starts=counting_starts, chunk=5)
    env = RecordEpisodes(dream, source="imagined", policy="someone")
    env.reset(seed=0, options={"start": 6})
    over = False
    while not over:
        _, _, terminated, truncated, _ = env.step(np.zeros((5, 14), np.float32))
        over = terminated or truncated
    episode = env.episode
    assert (episode.task, episode.source, episode.success) == ("box_close", "imagined", True)
    brightness = episode.frames["head"][:, 0, 0, 0]
    np.testing.assert_array_equal(brightness, 60 + np.arange(len(episode)))  # one brighter a tick, no tick missing
    np.testing.assert_allclose(episode.progress, brightness / 100, atol=1e-6)
