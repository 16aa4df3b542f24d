"""The real backend against a robot that is a separate process, well and misbehaving."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from shared_robot import ROBOT

import rise_gym
from rise_gym.agents.flow_policy import load_policy
from rise_gym.envs.mujoco.robot import home_joints
from rise_gym.envs.real.contract import Judgement, Robot
from rise_gym.envs.real.env import RealEnv
from rise_gym.envs.real.judges import ValueJudge
from rise_gym.envs.real.limits import LIMIT_NAMES, Limits
from rise_gym.envs.real.names import RobotNames
from rise_gym.envs.real.people import AskedPerson, Home, KeyboardOperator
from rise_gym.envs.real.replica_robot import ReplicaResetter, ReplicaRobot
from rise_gym.envs.wrappers import RecordEpisodes
from rise_gym.errors import InvalidDataset, InvalidRobot, RenderingUnavailable, RobotFault, StepOutOfOrder
from rise_gym.starts import Starts, save_starts
from rise_gym.tasks import BOX_CLOSE

ID = "RiseReal-BoxClose-v0"
REPLICA = "rise_gym.envs.real.replica_robot"
SHARED = {"robot": "shared_robot:make_robot", "resetter": f"{REPLICA}:make_resetter", "clock": "instant"}
CAMERAS = BOX_CLOSE.cameras
NOT_FOR_ROBOTS = ("test_snapshots_branch",)  # nobody can put a real scene back

_spec = importlib.util.spec_from_file_location("contracts", Path(__file__).with_name("test_contracts.py"))
assert _spec is not None
assert _spec.loader is not None
contracts = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(contracts)


@pytest.fixture(scope="module", autouse=True)
def _process() -> Iterator[None]:
    yield
    ROBOT.end()


@pytest.fixture(autouse=True)
def _well_behaved() -> Iterator[None]:
    yield
    if ROBOT.is_connected:
        ROBOT.misbehave()


def real(**arguments: Any) -> RealEnv:
    """On the shared robot, step-locked."""
    return RealEnv(**{"robot": ROBOT, "resetter": ReplicaResetter(), "clock": "instant", **arguments})


def hold(env: RealEnv, ticks: int | None = None) -> np.ndarray:
    """The chunk that stays where the robot starts."""
    return np.tile(env.task.scale_action(home_joints()), (ticks or env.chunk, 1))


def swing(env: RealEnv, turn_rad: float = 0.5) -> np.ndarray:
    """The chunk that turns both arms about the vertical."""
    return np.tile(env.task.scale_action(home_joints() + turn_rad * np.eye(14)[[0, 7]].sum(0)), (env.chunk, 1))


@pytest.mark.parametrize("name", [name for name in vars(contracts) if name.startswith("test_")])
def test_contract(name: str) -> None:
    if name in NOT_FOR_ROBOTS:
        return
    test = getattr(contracts, name)
    marks = [mark for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize"]
    for given in [{mark.args[0]: value} for mark in marks for value in mark.args[1]] or [{}]:
        made: list[gymnasium.Env[Any, Any]] = []

        def make(made: list[gymnasium.Env[Any, Any]] = made, **more: Any) -> gymnasium.Env[Any, Any]:
            made.append(gymnasium.make(ID, **{**SHARED, **more}))
            return made[-1]

        test(make, **given)
        for env in made:
            env.close()


def test_every_task_is_registered_and_a_robot_is_asked_for() -> None:
    for card in rise_gym.TASKS.values():
        with pytest.raises(InvalidRobot, match="replica_robot:make_robot"):
            gymnasium.make(f"RiseReal-{card.title}-v0")


def test_one_policy_folder_acts_in_dream_replica_and_robot_and_the_last_two_agree() -> None:
    policy = load_policy("bundled:box_close/rise")
    wide = {"velocity_rad_s": 100.0, "acceleration_rad_s2": 1e6, "gripper_velocity_m_s": 100.0}
    wide |= {"gripper_acceleration_m_s2": 1e6, "gripper_force_n": 1e3}
    robot = {"robot": f"{REPLICA}:make_robot", "resetter": f"{REPLICA}:make_resetter", "clock": "instant"}
    told: dict[str, list[Any]] = {}
    for env_id, arguments in (
        ("RiseImagined-BoxClose-v0", {}),
        ("RiseMujoco-BoxClose-v0", {}),
        (ID, {**robot, "limits": wide}),
    ):
        env = gymnasium.make(env_id, **arguments)
        try:
            observation, info = env.reset(seed=100_000)
        except RenderingUnavailable as error:
            env.close()
            pytest.skip(f"no OpenGL here: {error}")
        told[env_id] = [observation]
        for _ in range(2):
            batch = {name: value[None] for name, value in observation.items()}
            observation, *_ = env.step(policy.act(batch, [info.get("instruction", env.unwrapped.task.instruction)])[0])
            told[env_id].append(observation)
        env.close()
    for replica, same in zip(told["RiseMujoco-BoxClose-v0"], told[ID], strict=True):
        for name, value in replica.items():
            if name == "proprio":
                np.testing.assert_allclose(same[name], value, atol=1e-4)
            else:  # rounding on the way may tip a pixel at an edge over
                assert np.mean(np.abs(same[name].astype(int) - value) > 1) < 0.01


def test_what_was_asked_and_what_was_sent_are_reported_and_what_was_sent_is_recorded() -> None:
    env = RecordEpisodes(real(record_ticks=True, chunk=50, limits={"velocity_rad_s": 0.5}))
    env.reset(seed=1)
    far = swing(env.unwrapped, 2.0)  # type: ignore[arg-type]
    _, _, terminated, truncated, info = env.step(far)
    assert (terminated, truncated) == (False, False)
    np.testing.assert_array_equal(info["asked"], far)
    sent = env.unwrapped.task.unscale_action(info["sent"])  # type: ignore[attr-defined]
    assert np.abs(np.diff(sent, axis=0)).max() <= 0.05 + 1e-6
    assert info["limited"][0, LIMIT_NAMES.index("velocity")]
    for _ in range(4):
        *_, truncated, last = env.step(far)
    assert truncated
    assert last["truncation"] == "horizon"
    assert env.episode is not None
    np.testing.assert_allclose(env.episode.actions[:50], env.unwrapped.task.scale_action(sent), atol=1e-6)  # type: ignore[attr-defined]
    assert len(env.episode) == 251
    env.close()


@pytest.mark.parametrize(
    ("faults", "truncation", "word"),
    [
        ({"dead_camera": "head", "dead_how": "freezes"}, "camera", "'head' is frozen"),
        ({"dead_camera": "left_wrist", "dead_how": "stale"}, "camera", "'left_wrist' shows an old picture"),
        ({"dead_camera": "left_wrist", "dead_how": "black"}, "camera", "'left_wrist' shows a single colour"),
        ({"dead_camera": "right_wrist", "dead_how": "missing"}, "camera", "'right_wrist' sent no picture"),
        ({"stuck_joint": "left_joint1.pos"}, "stuck", "left_joint1_rad"),
        ({"degrees": True}, "robot", "degrees"),
    ],
)
def test_a_robot_that_fails_mid_episode_is_held_and_the_episode_cut(
    faults: dict[str, Any], truncation: str, word: str
) -> None:
    env = real(record_ticks=True)
    env.reset(seed=0)
    env.step(hold(env))
    ROBOT.misbehave(**faults)
    observation, _, terminated, truncated, info = env.step(swing(env))
    assert (terminated, truncated, info["truncation"]) == (False, True, truncation)
    assert word in info["fault"]
    assert 1 <= len(info["sent"]) == len(info["ticks"]["proprio"]) < env.chunk
    assert env.observation_space.contains(observation)
    assert not env.link.brake()  # at rest already
    with pytest.raises(StepOutOfOrder):
        env.step(hold(env))
    env.close()


def test_a_joint_may_trail_behind_as_far_as_it_is_allowed() -> None:
    env = real(stuck={"error_rad": 3.0})
    env.reset(seed=0)
    ROBOT.misbehave(stuck_joint="left_joint1.pos")
    assert env.step(swing(env))[4]["truncation"] == ""
    env.close()
    with pytest.raises(InvalidRobot, match="error_rad above 0"):
        real(stuck={"error_rad": 0.0})


def test_dropped_frames_are_bridged_up_to_a_number() -> None:
    env = real(chunk=60)
    env.reset(seed=0)
    ROBOT.misbehave(dropped=0.2, seed=3)
    assert env.step(swing(env))[4]["truncation"] == ""
    env.reset(seed=0)
    ROBOT.misbehave(dropped=1.0)
    assert env.step(swing(env))[4]["truncation"] == "camera"
    env.close()


def test_a_crash_mid_episode_ends_it_and_the_next_reset_starts_the_robot_again() -> None:
    env = real()
    env.reset(seed=0)
    ROBOT.misbehave(crash_after=3)
    *_, truncated, info = env.step(hold(env))
    assert truncated
    assert info["truncation"] == "robot"
    assert "send_action" in info["fault"]
    assert "Check power and cables" in info["fault"]
    assert len(info["sent"]) == 4
    env.reset(seed=0)
    assert env.step(hold(env))[4]["truncation"] == ""
    env.close()


def test_ctrl_c_in_the_terminal_reaches_us_and_not_the_robot() -> None:
    """It goes to all processes of the terminal's group; the robot's is in none with us."""
    ROBOT.connect()
    assert ROBOT._process is not None
    assert os.getpgid(ROBOT._process.pid) != os.getpgid(0)


def test_degrees_are_refused_before_anything_is_sent() -> None:
    env = real(resetter=None)
    ROBOT.connect()
    ROBOT.misbehave(degrees=True)
    with pytest.raises(InvalidRobot, match=r"left_joint2\.pos reads 5\d\..*degrees \(5\d\.\d\d° = [01]\.\d\d\d rad\)"):
        env.reset(seed=0)
    env.close()


def test_a_late_policy_is_braked_for_and_then_held() -> None:
    env = real(chunk=4, clock="system", limits={"acceleration_rad_s2": 5.0})
    env.reset(seed=0)
    env.step(swing(env, 1.5))
    time.sleep(1.5)  # the policy thinks
    assert env.link.filter.at_rest(env.link._motion)
    assert env.watchdog.late >= 1
    assert env.link.commanded[0] < 1.4  # it was on its way
    held = env.link.commanded
    time.sleep(0.3)
    np.testing.assert_array_equal(env.link.commanded, held)
    info = env.step(swing(env, 1.5))[4]
    assert info["late"] >= 1
    assert info["truncation"] == ""
    env.close()


def test_commands_never_follow_each_other_faster_than_the_limits_count_on() -> None:
    env = real()
    env.reset(seed=0)
    began_s = env.link.clock.now()
    for _ in range(5):
        env.link.send(home_joints())
    assert env.link.clock.now() - began_s >= 0.4 - 1e-9
    env.close()


def test_latency_and_jitter_make_ticks_later_never_hurried() -> None:
    env = real(chunk=5, clock="system")
    env.reset(seed=0)
    ROBOT.misbehave(latency_s=0.12, jitter_s=0.05)
    began = time.monotonic()
    info = env.step(swing(env))[4]
    assert time.monotonic() - began > 5 * 0.12
    assert info["truncation"] == ""
    ROBOT.misbehave(command_latency_s=0.12, command_jitter_s=0.05)
    began = time.monotonic()
    info = env.step(swing(env))[4]
    assert time.monotonic() - began > 5 * 0.12
    assert info["truncation"] == ""
    env.close()


def test_the_operator_stops_it_within_a_chunk_and_it_stays_stopped() -> None:
    env = real(chunk=50, clock="system")
    env.reset(seed=0)
    threading.Timer(0.3, env.stop).start()
    *_, truncated, info = env.step(swing(env, 1.5))
    assert (truncated, info["truncation"]) == (True, "operator")
    assert len(info["sent"]) < 25
    assert not env.link.brake()
    with pytest.raises(RobotFault, match="release"):
        env.reset(seed=0)
    env.release()
    env.reset(seed=0)
    env.close()


def test_a_keyboard_stops_even_between_steps_and_gives_verdicts() -> None:
    reading, writing = os.pipe()
    lines = os.fdopen(reading)  # nobody types yet
    keyboard = KeyboardOperator(lines)
    env = real(operator=keyboard, limits={"acceleration_rad_s2": 5.0})
    env.reset(seed=0)
    keyboard.hear("y")
    _, reward, terminated, _, info = env.step(hold(env))
    assert (terminated, reward, info["is_success"], info["score"]) == (True, 1.0, True, 10.0)
    assert len(info["progress"]) == 1
    env.reset(seed=0)
    keyboard.hear("n")
    _, reward, terminated, _, info = env.step(hold(env))
    assert (terminated, reward, info["is_success"]) == (True, 0.0, False)
    env.reset(seed=0)
    os.write(writing, b"\n")
    deadline = time.monotonic() + 5
    while not env.link.stopped.is_set() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert env.step(swing(env))[4]["truncation"] == "operator"
    env.close()
    os.close(writing)
    keyboard._terminal._thread.join(10)  # type: ignore[union-attr]
    lines.close()


@pytest.mark.parametrize(("word", "stop", "verdict"), [("", True, None), ("y", False, True), ("n", False, False)])
def test_keys(word: str, stop: bool, verdict: bool | None) -> None:
    operator = KeyboardOperator(Lines())  # type: ignore[arg-type]
    operator.hear(word)
    assert (operator.stop_requested(), operator.verdict()) == (stop, verdict)
    operator._terminal.lines.over.set()  # type: ignore[attr-defined]


class Lines:
    """A terminal in which nobody types."""

    def __init__(self) -> None:
        self.over = threading.Event()

    def __iter__(self) -> Iterator[str]:
        self.over.wait()
        return iter(())


def test_progress_is_the_value_models_and_an_operators_word_goes_before_it(counting_world: Any) -> None:
    world = counting_world()
    judge = ValueJudge(world)
    frames = np.full((3, 64, 64, 3), 95, np.uint8)
    judge.begin()
    assert [judge.look(frames, "close")[1] for _ in range(3)] == [None, None, True]
    assert judge.look(frames // 2, "close") == (pytest.approx(0.47), None)

    class Half:
        def begin(self) -> None: ...

        def look(self, frames: np.ndarray, instruction: str) -> Judgement:
            return Judgement(0.5, None)

    env = real(judge=Half())
    _, info = env.reset(seed=0)
    assert info["score"] == 5.0
    assert env.step(hold(env))[1] == 0.0
    env.close()


def test_a_world_model_folder_judges(tiny_world: Path) -> None:
    env = real(judge=str(tiny_world), chunk=2)
    env.reset(seed=0)
    progress = env.step(hold(env))[4]["progress"]
    assert progress.shape == (2,)
    assert np.all((progress >= 0) & (progress <= 1))
    env.close()


class Painted:
    """The shared robot, whose cameras show a gradient each, of its own direction."""

    def __getattr__(self, name: str) -> Any:
        return getattr(ROBOT, name)

    def get_observation(self) -> dict[str, Any]:
        fade = np.linspace(20, 220, 64, dtype=np.uint8)
        ways = (np.tile(fade, (64, 1)), np.tile(fade[:, None], (1, 64)), np.tile(fade[::-1], (64, 1)))
        painted = {camera: np.repeat(way[..., None], 3, axis=2) for camera, way in zip(CAMERAS, ways, strict=True)}
        return {**ROBOT.get_observation(), **painted}


def exchanged_names() -> dict[str, Any]:
    """The robot's keys, with those of the wrists' cameras exchanged."""
    kept = dataclasses.asdict(RobotNames.of(BOX_CLOSE))
    return {**kept, "cameras": ("head", "right_wrist", "left_wrist")}


def painted(**arguments: Any) -> np.ndarray:
    """The first pictures uint8 (V, H, W, 3) of an env on the robot whose cameras are told apart."""
    env = real(robot=Painted(), resetter=None, **arguments)
    try:
        seen, _ = env.reset(seed=0)
    finally:
        env.close()
    return np.stack([seen[camera] for camera in CAMERAS])


def test_cameras_that_look_exchanged_are_refused_at_reset(tmp_path: Path) -> None:
    file = tmp_path / "starts.npz"
    starts = Starts(
        task="box_close", frames=painted()[None, None], proprio=np.zeros((1, 14), np.float32), instruction=("close",),
        seeds=np.zeros(1, np.int64), tick=np.zeros(1, np.int64),
    )  # fmt: skip
    save_starts(starts, file)
    painted(starts=file)
    painted(names=exchanged_names(), starts=False)
    with pytest.raises(RobotFault, match=r"'left_wrist' shows what 'right_wrist' shows.*`names`.*`starts=False`"):
        painted(names=exchanged_names(), starts=str(file))
    with pytest.raises(InvalidDataset, match="no first pictures of 'box_close'"):
        painted(starts=tmp_path / "nothing.npz")


def test_a_script_and_a_person_reset() -> None:
    goal = home_joints() + 0.2 * np.eye(14)[0]
    env = real(resetter=Home(goal))
    observation, _ = env.reset(seed=0)
    np.testing.assert_allclose(observation["proprio"], goal, atol=0.03)
    env.close()
    asked: list[str] = []
    env = real(resetter=AskedPerson(lambda text: asked.append(text) or "q"))  # type: ignore[func-returns-value]
    with pytest.raises(RobotFault, match="person"):
        env.reset(seed=12)
    assert "12" in asked[0]
    env.close()


def test_an_exception_within_a_step_leaves_the_robot_at_rest() -> None:
    class Broken:
        def begin(self) -> None: ...

        def look(self, frames: np.ndarray, instruction: str) -> Judgement:
            if env.link.filter.at_rest(env.link._motion):
                return Judgement(0.0, None)
            raise KeyboardInterrupt

    env = real(judge=Broken(), limits={"acceleration_rad_s2": 5.0})
    env.reset(seed=0)
    with pytest.raises(KeyboardInterrupt):
        env.step(swing(env))
    assert env.link.filter.at_rest(env.link._motion)
    env.close()


def test_a_robot_without_the_right_features_is_refused_with_their_names() -> None:
    class OneArm(ReplicaRobot):
        @property
        def action_features(self) -> dict[str, Any]:
            return {key: kind for key, kind in super().action_features.items() if key.startswith("left")}

    assert isinstance(OneArm(), Robot)
    with pytest.raises(InvalidRobot, match=r"action right_joint1\.pos.*RobotNames"):
        RealEnv(robot=OneArm())
    with pytest.raises(InvalidRobot, match="LeRobot"):
        RealEnv(robot="builtins:dict")
    with pytest.raises(InvalidRobot, match="import string"):
        RealEnv(robot="my_lab.arms:make_robot")
    with pytest.raises(InvalidRobot, match="14 joints"):
        RealEnv(
            robot=ROBOT,
            limits=Limits(
                **dict.fromkeys(("joint_high", "velocity", "acceleration"), (1.0,)), joint_low=(0.0,), grippers=()
            ),
        )
