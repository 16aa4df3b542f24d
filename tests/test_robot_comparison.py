"""Dream, replica and robot in one report, and evaluations on a robot: one env, one episode after the other."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fake_env
import numpy as np
import pytest
import recording_robot
import torch
from robot_ids import WIDE, FakeRobot, SeenRobot

from rise_gym.agents.flow_policy import FlowPolicy, FlowPolicyConfig, save_policy
from rise_gym.commands import _shared as commands
from rise_gym.commands._robots import AS_USUAL, NO_ROBOT, ExecutionOptions, RobotOptions, driving
from rise_gym.commands.compare import compare
from rise_gym.commands.evaluate import evaluate
from rise_gym.comparison import means, ranked
from rise_gym.envs.real.asynchronous import AsynchronousActor
from rise_gym.errors import InvalidCheckpoint, InvalidRobot, RenderingUnavailable, RiseGymError, RobotFault
from rise_gym.evaluation import EpisodeResult, Factory, RobotEpisode, play
from rise_gym.metrics import rate_difference_interval
from rise_gym.report import TrustFigures, write_trust_report
from rise_gym.robot_comparison import robot_doubts, robot_figures, robot_row, success_difference
from rise_gym.robot_envs import RobotFacts, one_at_a_time
from rise_gym.tasks import BOX_CLOSE

NARROW = FlowPolicyConfig(channels=(2, 4, 4), grid_channels=2, context_width=16, head_width=32, head_blocks=1)
SEED = 130_000
HAND, SEEDED = RobotFacts(judged_by="the operator"), RobotFacts(judged_by="the operator", as_replica=True)


@pytest.fixture(autouse=True)
def _fresh_robot() -> Iterator[None]:
    FakeRobot.forget()
    yield
    FakeRobot.forget()


@pytest.fixture
def fake_replica(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake env in the replica's place: no physics, no pictures."""
    monkeypatch.setattr("rise_gym.commands.compare.env_id_of", fake_id)


def fake_id(backend: str, task: str) -> str:
    return fake_env.SINGLE_ID if backend == "Mujoco" else commands.env_id_of(backend, task)


def episodes(outcomes: str, first_seed: int = SEED) -> list[EpisodeResult]:
    """`+` succeeds, `-` fails."""
    return [
        EpisodeResult(
            seed=first_seed + n, is_success=one == "+", score=10.0 * (one == "+"), episode_return=0.5, steps=3
        )
        for n, one in enumerate(outcomes)
    ]


def on_robot(outcomes: str, facts: RobotFacts, stopped: str = "") -> list[RobotEpisode]:
    return [RobotEpisode(**vars(one), facts=facts, stopped=stopped) for one in episodes(outcomes)]


def rows_of(policies: list[tuple[str, str, str]], facts: RobotFacts) -> list[dict[str, Any]]:
    """Rows of policies whose dreamt, true and robot's outcomes are given."""
    return [
        {
            "policy": f"policy <{number}>",
            "imagined": means(episodes(imagined)),
            "true": means(episodes(true)),
            **robot_row(episodes(true), episodes(imagined), on_robot(robot, facts)),
        }
        for number, (imagined, true, robot) in enumerate(policies)
    ]


def compared(policies: list[tuple[str, str, str]], facts: RobotFacts) -> dict[str, Any]:
    """What `compare` finds of them."""
    rows, everything = rows_of(policies, facts), [one for _, _, robot in policies for one in on_robot(robot, facts)]
    found = {"policies": rows, "agreement": ranked(rows), "episodes": len(policies[0][0]), "doubts": []}
    return {**found, "robot": robot_figures(rows, everything, "my_lab.envs:MyBoxClose-v0")}


# -- one policy, three places -----------------------------------------------------------------------------------------


def test_one_policy_folder_in_dream_replica_and_a_robot_of_another_process(tiny_world: Path, tmp_path: Path) -> None:
    """The robot is the replica behind LeRobot's interface; the page and the JSON have all three."""
    torch.manual_seed(0)
    save_policy(tmp_path / "policy", FlowPolicy.of(NARROW, BOX_CLOSE).eval())
    try:
        compare(
            [str(tmp_path / "policy")], world_model=str(tiny_world), episodes=2, json_file=tmp_path / "found.json",
            report=tmp_path / "page", robot_env="robot_ids:SeenBoxClose-v0", robot_episodes=1, processes=1,
        )  # fmt: skip
    except RenderingUnavailable as error:
        pytest.skip(f"no OpenGL here: {error}")
    found = json.loads((tmp_path / "found.json").read_text())
    robot, row = found["robot"], found["policies"][0]
    assert (robot["env_id"], robot["episodes"], robot["matched"]) == ("robot_ids:SeenBoxClose-v0", 1, True)
    assert (robot["judged_by"], robot["stopped"]) == ("Physics", {})
    assert "1 episode on the robot is uncertain by up to 100 points" in robot["doubts"][0]
    assert [one["seed"] for one in row["robot_episodes"]] == [SEED]
    low, high = row["intervals"]["true"]["episode_return"]  # of two episodes they are the ends
    gained = row["robot"]["episode_return"]
    assert min(abs(gained - low), abs(gained - high)) < 0.02  # it began where one of these did
    assert set(row["intervals"]) == {"imagined", "true", "robot"}
    for side in ("imagined", "true"):
        assert row["robot_less"][side]["pairs"] == 1
        assert set(robot["agreement"][side]) == {"success", "score", "episode_return"}
    assert row["robot_less"]["true"]["same_outcome"] == 1
    page = (tmp_path / "page" / "report.html").read_text()
    for text in (
        "Do dream, replica and robot agree?",
        "1 episode on the robot robot_ids:SeenBoxClose-v0, and 2 each in dream and replica",
        "judged by: Physics",
        "episodes of the same seed are paired",
        "One policy makes no ranking",
        "success: dream",
        "success: robot",
        "1 of 1",
        "Careful: a success rate of 1 episode on the robot",
    ):
        assert text in page
    assert len(SeenRobot.made) == 1  # one robot, and it was let go of
    assert not SeenRobot.made[0].is_connected
    assert not list(tmp_path.glob("*.jsonl"))


def test_where_seeds_mean_nothing_nothing_is_paired_and_the_page_says_so(tmp_path: Path) -> None:
    outcomes = [("++-", "+--", "+-"), ("+++", "+++", "++"), ("---", "---", "--")]
    found = compared(outcomes, HAND)
    apart = write_trust_report(tmp_path, BOX_CLOSE, TrustFigures(compared=found)).read_text()
    matched = {"policies": rows_of(outcomes, SEEDED), "robot": {**found["robot"], "matched": True}}
    paired_figures = TrustFigures(compared={**found, **matched})
    paired = write_trust_report(tmp_path / "paired", BOX_CLOSE, paired_figures).read_text()
    assert "cannot begin where dream and replica do" in apart
    assert "no episode is paired" in apart
    assert "same outcome" not in apart
    assert "same outcome as the dream" in paired
    for page in (apart, paired):
        assert "Success in the dream against that on the robot: Pearson 0.9" in page
        assert "Success in the replica against that on the robot: Pearson 0." in page
        assert "policy &lt;1&gt;" in page
        assert "+0 points" in page
        assert "34% to 100%" in page  # two of two


def test_the_page_of_dream_and_replica_alone_is_what_it_was(
    tiny_world: Path, tmp_path: Path, fake_replica: None
) -> None:
    how: dict[str, Any] = {"world_model": str(tiny_world), "episodes": 2, "processes": 1}
    compare(["random"], json_file=tmp_path / "found.json", report=tmp_path / "page", **how)
    found = json.loads((tmp_path / "found.json").read_text())
    assert "robot" not in found
    assert set(found["policies"][0]) == {"policy", "noise", "true", "imagined"}
    assert "robot" not in (tmp_path / "page" / "report.html").read_text()
    assert FakeRobot.played == []


# -- figures ----------------------------------------------------------------------------------------------------------


def test_difference_of_independent_rates_is_newcombes() -> None:
    """56 of 70 against 48 of 80, example (a) of Newcombe 1998."""
    first, second = np.arange(70) < 56, np.arange(80) < 48
    low, high = rate_difference_interval(first, second, paired=False)
    assert (low, high) == (pytest.approx(0.0524, abs=1e-4), pytest.approx(0.3339, abs=1e-4))
    few = rate_difference_interval(np.zeros(5, bool), np.zeros(5, bool), paired=False)
    assert few[0] < -0.4
    assert few[1] > 0.4
    with pytest.raises(ValueError, match="got 70 and 80"):
        rate_difference_interval(first, second, paired=True)


def test_pairs_that_end_alike_narrow_the_difference() -> None:
    robot, replica = on_robot("++++----+-", SEEDED), episodes("++++-----+" + "+" * 20)
    pairs = success_difference(robot, replica, matched=True)
    apart = success_difference(robot, replica[:10], matched=False)
    assert (pairs["pairs"], pairs["same_outcome"], pairs["value"]) == (10, 8, 0)
    assert (apart["pairs"], apart["value"]) == (0, 0)
    assert "same_outcome" not in apart
    assert pairs["ci95"][1] - pairs["ci95"][0] < apart["ci95"][1] - apart["ci95"][0]
    assert success_difference(robot, replica, matched=False)["value"] == pytest.approx(0.5 - 25 / 30)


def test_doubts_of_a_robots_column() -> None:
    found = compared([("+" * 50, "+" * 50, "-" * 50)], RobotFacts(judged_by=""))["robot"]
    assert [doubt[:13] for doubt in found["doubts"]] == ["nobody judges"]
    cut = {**found, "judged_by": "the operator", "stopped": {"operator": 1, "camera": 2}}
    assert robot_doubts(1, cut) == [
        "3 of the robot's 50 episodes were cut short (camera 2, operator 1); they count as they ended"
    ]
    spread = {"pearson": {"value": 0.5, "ci95": [-0.1, 0.9]}}
    unsure = {**found, "judged_by": "x", "agreement": {side: {"success": spread} for side in ("imagined", "true")}}
    assert len(robot_doubts(8, unsure)) == 2
    assert "in the replica with that on the robot may be anything from -0.10 to 0.90" in robot_doubts(8, unsure)[1]


# -- evaluations ------------------------------------------------------------------------------------------------------


def test_a_robot_plays_one_episode_after_the_other_in_one_env(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "found.json"
    evaluate("robot_ids:FakeRobot-v0", policy="random", episodes=4, processes=8, json_file=path)
    found = json.loads(path.read_text())
    assert FakeRobot.played == [100_000, 100_001, 100_002, 100_003]  # in this process
    assert (FakeRobot.most_held, FakeRobot.held) == (1, 0)
    assert (found["episodes"], found["env_id"]) == (4, "robot_ids:FakeRobot-v0")
    assert found["robot"] == {
        "judged_by": "the operator",
        "as_replica": False,
        "stopped": {},
        "execution": "synchronous",
    }
    assert "nobody judges" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("env_id", "turns"),
    [
        ("robot_ids:FakeRobot-v0", True),
        ("robot_ids:FakeRobotByFunction-v0", True),
        ("robot_ids:SimulatorByFunction-v0", True),  # who knows what a function makes
        ("robot_ids:Simulator-v0", False),
        ("RiseReal-BoxClose-v0", True),
        ("RiseMujoco-BoxClose-v0", False),
        ("rise_gym:RiseImagined-BoxClose-v0", False),
    ],
)
def test_which_envs_are_played_one_at_a_time(env_id: str, turns: bool) -> None:
    assert one_at_a_time(env_id) == turns


def test_the_function_behind_an_id_may_make_a_robot_or_not() -> None:
    agent = Factory(target="fake_env:FakeAgent")
    robot = list(play("robot_ids:FakeRobotByFunction-v0", agent, range(SEED, SEED + 3), num_envs=3, processes=2))
    assert FakeRobot.most_held == 1
    assert all(isinstance(one, RobotEpisode) for one in robot)
    other = list(play("robot_ids:SimulatorByFunction-v0", agent, range(SEED, SEED + 3), num_envs=3, processes=2))
    assert [vars(one) for one in other] == [
        {name: value for name, value in vars(one).items() if name not in ("facts", "stopped")} for one in robot
    ]
    assert not any(isinstance(one, RobotEpisode) for one in other)


def test_what_a_robot_has_played_is_told_when_it_fails(tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    FakeRobot.forget(fails_after=2, facts=RobotFacts(judged_by=""))
    with pytest.raises(RobotFault, match="operator"):
        evaluate("robot_ids:FakeRobot-v0", policy="random", episodes=4, json_file=path)
    found = json.loads(path.read_text())
    assert (found["episodes"], found["ended_early"]) == (2, "the operator has stopped the robot")
    assert FakeRobot.held == 0
    FakeRobot.forget(fails_after=0)
    with pytest.raises(RobotFault):
        evaluate("robot_ids:FakeRobot-v0", policy="random", episodes=4, json_file=tmp_path / "none.json")
    assert not (tmp_path / "none.json").exists()


def test_a_robot_of_either_kind_of_id_is_driven_ahead_and_its_episodes_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An id of one's own, and the package's with options; the third episode is interrupted."""
    begun: list[int] = []

    class Interrupted(AsynchronousActor):
        def reset(self, env: Any, seed: int) -> None:
            begun.append(seed)
            if len(begun) == 3:
                raise KeyboardInterrupt
            super().reset(env, seed)

    monkeypatch.setattr("rise_gym.envs.real.asynchronous.AsynchronousActor", Interrupted)
    people = RobotOptions(robot="recording_robot:make_robot", operator="recording_robot:make_operator")
    for env_id, robot in (("robot_ids:RecordedBoxClose-v0", NO_ROBOT), ("RiseReal-BoxClose-v0", people)):
        begun.clear()
        recording_robot.MADE.clear()
        path = tmp_path / "found.json"
        with pytest.raises(KeyboardInterrupt):
            evaluate(env_id, policy="random", episodes=4, robot=robot, json_file=path)
        found = json.loads(path.read_text())
        assert (found["episodes"], found["ended_early"], found["success_rate"]) == (2, "interrupted", 1)
        assert found["robot"]["judged_by"] == "the operator"
        (made,) = recording_robot.MADE
        assert not made.is_connected


@pytest.mark.parametrize(
    ("name", "ahead"),
    [("Recorded", True), ("Seen", False), ("Counted", False)],
)
def test_a_policy_thinks_ahead_where_time_passes_by_itself(name: str, ahead: bool) -> None:
    plain = Factory(target="fake_env:FakeAgent")
    how = driving(f"robot_ids:{name}BoxClose-v0", robot=RobotOptions(velocity_rad_s=0.5))
    assert (how.by(plain, "random") != plain) == ahead
    assert how.told["execution"] == ("asynchronous" if ahead else "synchronous")
    registered = {} if name == "Recorded" else WIDE  # what else was registered stays
    assert how.arguments == {"limits": {**registered, "velocity_rad_s": 0.5}}


def test_a_robot_can_be_told_how_plans_are_executed() -> None:
    """The same options, recorded in the same words, in each command."""
    plain, env_id = Factory(target="fake_env:FakeAgent"), "robot_ids:RecordedBoxClose-v0"
    waited = driving(env_id, execution=ExecutionOptions(execution="synchronous"))
    assert (waited.by(plain, "random"), waited.chunk(10), waited.told) == (plain, 10, {"execution": "synchronous"})
    short = driving(env_id, execution=ExecutionOptions(execute_ticks=2))
    with short.by(plain, "random", advantage=0.5).build() as actor:
        assert isinstance(actor, AsynchronousActor)
        assert (actor.execute_ticks, actor.fade_ticks) == (2, 3)
    assert short.chunk(10) == 1
    assert short.told == {"execution": "asynchronous", "execute_ticks": 2, "fade_ticks": 3}
    assert AS_USUAL.told(True) == {"execution": "asynchronous", "execute_ticks": None, "fade_ticks": 3}


@pytest.mark.parametrize("how", [ExecutionOptions(execution="asynchronous"), ExecutionOptions(fade_ticks=1)])
@pytest.mark.parametrize("name", ["SeenBoxClose", "CountedBoxClose", "FakeRobot", "FakeRobotByFunction"])
def test_where_time_stands_still_nobody_thinks_ahead(name: str, how: ExecutionOptions) -> None:
    with pytest.raises(RiseGymError, match=r"whose time passes by itself.*--execution synchronous"):
        driving(f"robot_ids:{name}-v0", execution=how)


def test_an_evaluation_records_how_the_robot_was_driven(tmp_path: Path) -> None:
    how = ExecutionOptions(execute_ticks=4)
    evaluate(
        "robot_ids:RecordedBoxClose-v0", policy="random", episodes=1, json_file=tmp_path / "found.json", execution=how
    )
    robot = json.loads((tmp_path / "found.json").read_text())["robot"]
    assert (robot["execution"], robot["execute_ticks"], robot["fade_ticks"]) == ("asynchronous", 4, 3)


def test_a_comparison_drives_a_robot_as_an_evaluation_does_and_says_so(
    tiny_world: Path, tmp_path: Path, fake_replica: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned: list[int] = []

    class Watched(AsynchronousActor):
        def reset(self, env: Any, seed: int) -> None:
            planned.append(seed)
            super().reset(env, seed)

    monkeypatch.setattr("rise_gym.envs.real.asynchronous.AsynchronousActor", Watched)
    path, kept = tmp_path / "found.json", tmp_path / "found.robot_episodes.jsonl"
    how: dict[str, Any] = {"world_model": str(tiny_world), "episodes": 1, "processes": 1, "json_file": path}
    how |= {"noise": (0.0, 1.0), "robot_env": "robot_ids:RecordedBoxClose-v0", "robot_episodes": 2}
    recording_robot.MADE.clear()
    compare(["random"], report=tmp_path / "page", **how)
    assert planned == [SEED, SEED + 1] * 2
    (made,) = recording_robot.MADE  # one connection for all policies
    assert not made.is_connected
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("rise_gym")]
    robot = json.loads(path.read_text())["robot"]
    assert (robot["execution"], robot["execute_ticks"], robot["fade_ticks"]) == ("asynchronous", None, 3)
    page = (tmp_path / "page" / "report.html").read_text()
    assert "drove the robot asynchronously: shown something new after half of each plan" in page
    # what was driven in another way is none of it
    monkeypatch.setattr("rise_gym.commands.compare._rows", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        compare(["random"], **how)
    monkeypatch.undo()
    assert len(kept.read_text().splitlines()) == 4
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rise_gym.commands.compare.env_id_of", fake_id)
        compare(["random"], **how, execution=ExecutionOptions(execution="synchronous"))
    assert len(recording_robot.MADE) == 3
    assert json.loads(path.read_text())["robot"]["execution"] == "synchronous"


def test_an_interrupted_comparison_keeps_the_robots_episodes(
    tiny_world: Path, tmp_path: Path, fake_replica: None
) -> None:
    path, kept = tmp_path / "found.json", tmp_path / "found.robot_episodes.jsonl"
    how: dict[str, Any] = {"world_model": str(tiny_world), "episodes": 2, "processes": 1, "json_file": path}
    how |= {"noise": (0.0, 1.0), "robot_env": "robot_ids:FakeRobot-v0", "robot_episodes": 3}
    FakeRobot.forget(fails_after=4)
    with pytest.raises(RobotFault, match=r"kept in .*found\.robot_episodes\.jsonl; the same command goes on"):
        compare(["random"], **how)
    lines = kept.read_text()
    assert len(lines.splitlines()) == 4
    kept.write_text(lines[:-20])
    with pytest.raises(RiseGymError, match="put it away"):
        compare(["random"], **how)
    kept.write_text(lines)
    assert (FakeRobot.held, FakeRobot.most_held) == (0, 1)
    FakeRobot.forget()
    compare(["random"], **how)
    assert FakeRobot.played == [SEED + 1, SEED + 2]  # of the second policy; the others are known
    found = json.loads(path.read_text())
    assert [len(row["robot_episodes"]) for row in found["policies"]] == [3, 3]
    assert found["robot"]["matched"] is False
    assert found["policies"][0]["robot_less"]["true"]["pairs"] == 0
    assert not kept.exists()


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "kind", "told"),
    [
        ({"robot_env": "robot_ids:OtherTask-v0"}, InvalidRobot, "of the task brick_sort, compared is box_close"),
        ({"robot_env": "robot_ids:Simulator-v0"}, InvalidRobot, "is no robot's environment"),
        ({"robot_env": "robot_ids:SimulatorByFunction-v0"}, InvalidRobot, "is no robot's environment"),
        ({"robot_env": "RiseMujoco-BoxClose-v0"}, InvalidRobot, "is no robot's environment"),
        ({"robot_env": "robot_ids:UnreachableBoxClose-v0"}, RobotFault, r"`connect`.*no answer from 192\.168\.1\.10"),
        ({"robot_env": "RiseReal-BoxClose-v0"}, InvalidRobot, r"my_lab\.envs:MyBoxClose-v0"),
        ({"robot_env": "robot_ids:NoTask-v0"}, RiseGymError, "does not say which task"),
        ({"robot_env": "robot_ids:Nothing-v0"}, RiseGymError, "no environment is called"),
        ({"robot_env": "no_lab.envs:Box-v0"}, RiseGymError, "no_lab.*PYTHONPATH"),
        ({"robot_env": "robot_ids:FakeRobot-v0", "robot_episodes": 0}, RiseGymError, "--robot-episodes of 1 or more"),
        ({"episodes": 0}, RiseGymError, "an episode of each policy or more"),
        ({"execution": ExecutionOptions(execute_ticks=2)}, RiseGymError, "name one, --robot-env"),
        (
            {"robot_env": "robot_ids:FakeRobot-v0", "execution": ExecutionOptions(execution="asynchronous")},
            RiseGymError,
            "--execution synchronous",
        ),
    ],
)
def test_a_comparison_refuses(
    arguments: dict[str, Any], kind: type[Exception], told: str, fake_replica: None, tiny_world: Path
) -> None:
    """Before anything is dreamt or played."""
    with pytest.raises(kind, match=told):
        compare(["random"], **{"episodes": 1, "world_model": str(tiny_world), **arguments})


def test_nothing_moves_where_a_policy_or_the_dream_is_wrong(fake_replica: None, tiny_world: Path) -> None:
    how: dict[str, Any] = {"episodes": 1, "robot_env": "robot_ids:FakeRobot-v0"}
    with pytest.raises(InvalidCheckpoint, match="nowhere"):
        compare(["random", "nowhere/policy.d"], world_model=str(tiny_world), **how)
    with pytest.raises(InvalidCheckpoint, match="nowhere"):
        compare(["random"], world_model="nowhere/dream.d", **how)
    assert FakeRobot.played == []


@pytest.mark.parametrize(
    ("env_id", "arguments", "kind", "told"),
    [
        ("robot_ids:UnreachableBoxClose-v0", {}, RobotFault, "Check power and cables"),
        ("RiseReal-BoxClose-v0", {}, InvalidRobot, "needs a robot"),
        ("robot_ids:FakeRobot-v0", {"episodes": 0}, RiseGymError, "at least one episode"),
        ("robot_ids:FakeRobot-v0", {"policy": "scripted"}, RiseGymError, "sees physics"),
        ("robot_ids:RecordedBoxClose-v0", {"policy": "scripted"}, RiseGymError, "sees physics"),
        ("robot_ids:Simulator-v0", {"robot": RobotOptions(judge="a:b")}, RiseGymError, "is no robot's"),
        ("RiseMujoco-BoxClose-v0", {"robot": RobotOptions(robot="a:b")}, RiseGymError, "is no robot's"),
        ("robot_ids:UnreachableBoxClose-v0", {"robot": RobotOptions(robot="a:b")}, RiseGymError, "--operator keyboard"),
        ("no_lab.envs:Box-v0", {}, RiseGymError, "can't be imported"),
        ("robot_ids:Misspelt-v0", {}, RiseGymError, "robot_ids:FakeRobt.*entry_point"),
        (
            "robot_ids:Simulator-v0",
            {"execution": ExecutionOptions(fade_ticks=0)},
            RiseGymError,
            "--fade-ticks say noth",
        ),
    ],
)
def test_an_evaluation_refuses(env_id: str, arguments: dict[str, Any], kind: type[Exception], told: str) -> None:
    with pytest.raises(kind, match=told):
        evaluate(env_id, **{"policy": "random", **arguments})


def test_a_real_env_tells_who_judges(counting_world: Callable[..., Any]) -> None:
    from rise_gym.envs.real.env import RealEnv
    from rise_gym.envs.real.replica_robot import ReplicaResetter, ReplicaRobot

    class Verdict:
        def begin(self) -> None: ...

        def stop_requested(self) -> bool:
            return False

        def verdict(self) -> None: ...

    def facts(**arguments: Any) -> RobotFacts:
        return RealEnv(robot=ReplicaRobot(), clock="instant", **arguments).robot_facts

    from rise_gym.envs.real.judges import ValueJudge

    value = ValueJudge(counting_world())
    assert facts() == RobotFacts(judged_by="", as_replica=False)
    assert facts(operator=Verdict()).judged_by == "the operator"
    assert facts(judge=value, resetter=ReplicaResetter()) == RobotFacts(judged_by="the value model", as_replica=True)
    assert facts(judge=value, operator=Verdict()).judged_by == "the operator, else the value model"
