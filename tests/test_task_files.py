"""Tasks of one's own: a file becomes a card, ids and, in a new process, an environment; nonsense is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from own_tasks import CARD, TOML, episode, forgetting_tasks

import rise_gym
from rise_gym.agents.cloning import PolicyTraining, train_policy
from rise_gym.agents.flow_policy import FlowPolicyConfig, load_policy, save_policy
from rise_gym.codec import CodecTraining, FrameCodecConfig, train_codec
from rise_gym.commands._shared import env_id_of, known_task
from rise_gym.dynamics import VideoDynamicsConfig
from rise_gym.dynamics_training import DynamicsTraining, train_dynamics
from rise_gym.envs.real.limits import Limits, SafetyFilter
from rise_gym.errors import InvalidRobot, InvalidTask, UnknownTask
from rise_gym.recordings import Recordings
from rise_gym.starts import Starts
from rise_gym.task_files import find_task, read_task
from rise_gym.tasks import BOX_CLOSE, TASKS, TaskCard, task_card
from rise_gym.training import TrainingConfig
from rise_gym.value import ProgressValueConfig
from rise_gym.value_training import ValueTraining, train_value
from rise_gym.world_model import CompositionalWorldModel


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    with forgetting_tasks():
        yield


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "cube.toml"
    path.write_text(TOML)
    return path


def test_a_file_is_a_card(file: Path, tmp_path: Path) -> None:
    assert read_task(file) == CARD
    for name, content in (("whole.json", CARD.to_dict()), ("box.json", BOX_CLOSE.to_dict())):
        (tmp_path / name).write_text(json.dumps(content))
        assert read_task(tmp_path / name) == TaskCard.from_dict(content)
    file.write_text(TOML + "[stages]\ngrasped = 4\ndone = 10\n")
    assert [(stage.name, stage.score) for stage in read_task(file).stages] == [("grasped", 4), ("done", 10)]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("image_size = [32, 32]", "image_size = [48, 64]"), "image_size: a square of a multiple of 16"),
        (("image_size = [32, 32]", "image_size = [40, 40]"), "multiple of 16 pixels"),
        (("joint2_rad = [-2, 2]", "joint2_rad = [2, -2]"), "a range from low to high"),
        (("joint2_rad = [-2, 2]", "joint2_rad = 2"), "a range .low, high. was wanted for joint2_rad, got 2"),
        (("joint2_rad", "joint2_deg"), "the unit at the end of every name"),
        (("joint2_rad = [-2, 2]", "joint2_rad = [-180, 180]"), "within 4 pi rad .*degrees.*got joint2_rad -180 to 180"),
        (("gripper_m = [0, 0.08]", "gripper_m = [0, 80]"), "or 2 m .*mm or per cent.* got gripper_m 0 to 80"),
        (("joint2_rad = [-2, 2]", "joint2_rad = [-inf, inf]"), "within 4 pi rad .*got joint2_rad -inf to inf"),
        (('["front", "wrist"]', '"front"'), "cameras: a list of names was wanted, got 'front'"),
        (('"front", "wrist"', '"front/left", "wrist"'), "names of letters, digits.*got .'front/left'"),
        (("name = ", "name = 3 #"), "name: a text was wanted, got 3"),
        (("instruction = ", "instruction = 3 #"), "instruction: a text was wanted, got 3"),
        (("image_size = [32, 32]", "image_size = 32"), r"image_size: \[height, width\] in pixels was wanted, got 32"),
        (("chunk = 10", "chunk = true"), "chunk: a number of ticks was wanted, got True"),
        (("chunk = 10", "chunk = 10\nrobot = 3"), "robot: the name of a robot file or card was wanted, got 3"),
        (("horizon_s = 20", "horizon_s = inf"), "horizon_s: at least one chunk's time was wanted, got inf"),
        (("control_hz = 10", "control_hz = inf"), "control_hz: a rate above 0 was wanted, got inf"),
        (("chunk = 10", ""), "missing entries: chunk"),
        (("chunk = 10", "chunk = 10\nchunks = 3"), "unknown entries: chunks"),
        (("control_hz = 10", "control_hz = 0"), "a rate above 0"),
        (('"front", "wrist"', '"front", "front"'), "one name a camera"),
        (("cube_in_bowl", "Cube in bowl"), "snake case"),
        (("chunk = 10", 'chunk = 10\nrobot = "two_pipers"'), "14 joints|7 joints"),
        (("chunk = 10", 'chunk = 10\nrobot = "r2"'), "one of two_pipers, or none was wanted, got r2"),
        (("[joints]", "[joints"), "can't be read"),
    ],
)
def test_a_wrong_file_is_refused_by_name(file: Path, change: tuple[str, str], told: str) -> None:
    file.write_text(TOML.replace(*change))
    with pytest.raises(InvalidTask, match=told) as raised:
        rise_gym.register_task(file)
    assert str(file) in str(raised.value)
    assert "cube_in_bowl" not in TASKS


def test_registering_gives_ids_once(file: Path) -> None:
    assert rise_gym.register_task(file) == CARD == rise_gym.register_task(CARD) == task_card("cube_in_bowl")
    assert {"RiseImagined-CubeInBowl-v0", "RiseReal-CubeInBowl-v0"} <= set(gymnasium.registry)
    with pytest.raises(InvalidTask, match=r"other horizon_s is known already \(horizon_s: 20.0, now 30.0\)"):
        rise_gym.register_task(replace(CARD, horizon_s=30.0))
    with pytest.raises(InvalidTask, match="is known already"):
        rise_gym.register_task(replace(CARD, name="box_close"))
    for title in (CARD.title, BOX_CLOSE.title):
        with pytest.raises(InvalidTask, match=f"has the title of task .*{title}.*another title"):
            rise_gym.register_task(replace(CARD, name="mine", title=title))
    with pytest.raises(UnknownTask, match="has no RiseMujoco-CubeInBowl-v0; there are RiseMujoco-BackpackPack"):
        env_id_of("Mujoco", "cube_in_bowl")


def test_commands_take_a_file_and_tell_their_workers(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RISE_GYM_TASKS", "")
    assert known_task("box_close") is BOX_CLOSE
    assert known_task(str(file)) == known_task(str(file)) == CARD
    assert os.environ["RISE_GYM_TASKS"] == str(file)
    code = "import rise_gym, gymnasium; print('RiseImagined-CubeInBowl-v0' in gymnasium.registry)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == "True"


def test_a_missing_file_of_the_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RISE_GYM_TASKS", "nowhere.toml")
    with pytest.raises(InvalidTask, match=r"nowhere\.toml can't be read"):
        rise_gym.registration.register_listed()


def test_a_robot_nobody_described_is_not_driven() -> None:
    limits = Limits.of(BOX_CLOSE)
    with pytest.raises(InvalidRobot, match="names no robot, without whose lengths"):
        SafetyFilter(limits, replace(BOX_CLOSE, robot=None), 0.02)


def brief(**changes: Any) -> TrainingConfig:
    return TrainingConfig(**{"steps": 2, "batch_size": 4, "warmup_steps": 1, **changes})


SHAPES = {
    "one camera, 7 actions, 96 px": replace(CARD, cameras=("front",), image_size=(96, 96)),
    "five cameras, 16 px, chunks of 6 at 20 Hz": replace(
        CARD, cameras=tuple("abcde"), image_size=(16, 16), chunk=6, control_hz=20.0
    ),
    "one joint": replace(
        CARD, action_names=("lift_m",), proprio_names=("lift_m",), action_low=(0.0,), action_high=(1.0,)
    ),
}


@pytest.mark.parametrize("card", SHAPES.values(), ids=SHAPES.keys())
def test_any_shape_trains_and_dreams(card: TaskCard, tmp_path: Path) -> None:
    rise_gym.register_task(card)
    episodes = [episode(card, n, success=n != 1) for n in range(3)]
    plain = Recordings.of(episodes, card)
    codec = train_codec(plain, CodecTraining(training=brief(), codec=FrameCodecConfig(width=8)), tmp_path / "c")
    recordings = plain.encoded(codec)
    small = ProgressValueConfig(widths=(8, 8), hidden=16)
    value = train_value(recordings, ValueTraining(training=brief(), value=small), tmp_path / "v")
    shape = replace(VideoDynamicsConfig.for_task(card), widths=(8, 16, 32), embedding_width=16, map_channels=8)
    dynamics = train_dynamics(
        recordings, DynamicsTraining(training=brief(), dynamics=shape, following_steps=2), tmp_path / "d", value=value
    )
    world = CompositionalWorldModel(codec=codec, dynamics=dynamics, value=value, task=card)
    window, random = world.history_ticks, torch.Generator().manual_seed(0)
    starts = Starts.from_episodes(episodes, card, window=window, mid_episode=1, generator=np.random.default_rng(0))
    folder = world.save_pretrained(tmp_path / "world", starts=starts)
    sizes = FlowPolicyConfig(channels=(8, 8, 8), grid_channels=4, context_width=16, head_width=16, head_blocks=1)
    learnt = train_policy(plain, torch.ones(len(plain)), PolicyTraining(training=brief(), policy=sizes), tmp_path / "p")
    policy = load_policy(save_policy(tmp_path / "policy", learnt), task=card.name)
    dream = gymnasium.make(f"RiseImagined-{card.title}-v0", world_model=str(folder))
    observation, info = dream.reset(seed=0)
    assert observation[card.cameras[-1]].shape == (*card.image_size, 3)
    batch = {name: array[None] for name, array in observation.items()}
    chunk = policy.act(batch, [info["instruction"]], generator=random)[0]
    assert chunk.shape == (card.chunk, len(card.action_names))
    assert dream.step(chunk)[0]["proprio"].shape == (len(card.action_names),)
    dream.close()


def test_a_checkpoint_brings_its_card(tmp_path: Path, tiny_world_for: Any) -> None:
    with forgetting_tasks():
        rise_gym.register_task(CARD)
        folder = tiny_world_for(CARD, tmp_path / "world")
    assert "cube_in_bowl" not in TASKS
    assert CompositionalWorldModel.from_pretrained(folder).task == CARD
    assert find_task(folder) == find_task(tmp_path / "world") == CARD
    rise_gym.register_task(folder)
    dream = gymnasium.make("RiseImagined-CubeInBowl-v0", world_model=str(folder))
    assert dream.reset(seed=0)[0]["wrist"].shape == (32, 32, 3)
    dream.close()
    with pytest.raises(InvalidTask, match="holds no task card"):
        find_task(tmp_path)
