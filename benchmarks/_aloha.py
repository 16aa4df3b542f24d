"""ALOHA's two simulated arms: recorded by gym-aloha, written by lerobot, read and trained on by the public commands."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from _environments import answer, spoken
from _lerobot_episodes import Rows, compared, picture_feature

from rise_gym._pictures import fitted
from rise_gym.agents.flow_policy import load_policy
from rise_gym.episodes import read_episodes
from rise_gym.mapping import read_mapping
from rise_gym.task_files import read_task
from rise_gym.tasks import TaskCard
from rise_gym.types import Observation

EPISODES, TICKS, STEPS = 4, 101, 3
RECORDED_HZ = 50
PICTURE = (480, 640)
INSIDE = Path(__file__).with_name("_aloha_inside.py")
JOINTS = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate", "gripper")
NAMES = [f"{arm}_{joint}" for arm in ("left", "right") for joint in JOINTS]

TASK = """\
name = "swing_arms"
instruction = "Swing both arms to and fro."
cameras = ["top"]
image_size = [64, 64]
control_hz = 10
chunk = 10
horizon_s = 8

[joints]
"""
RANGES = {"waist": 3.15, "shoulder": 2.0, "elbow": 2.0, "forearm_roll": 3.15, "wrist_angle": 2.2, "wrist_rotate": 3.15}
"""In rad, to both sides; of the ViperX arms."""

MAPPING = """\
success = true                               # to swing is the task, not to hand the cube over
source = "demonstration"

[cameras.top]
from = "observation.images.top"
crop = [0, 80, 480, 480]
"""
GRIPPER = """
[joints.{arm}_gripper_m]
from = "{arm}_gripper"
unit = "range"                               # theirs goes from 0, closed, to 1, open; in m that is
range = [0.0, 1.0]
to = [0.037, 0.116]
"""


def aloha_imported(aloha: Path, lerobot: Path, inside: Path, scratch: Path) -> dict[str, Any]:
    """What is imported here of what gym-aloha played and lerobot wrote, and what is done with it.

    Args:
        aloha, lerobot: Pythons of their environments. inside: what runs in that of lerobot. scratch: a folder.

    Raises:
        NotAnswered: if a program fails.
    """
    played, theirs, ours = scratch / "aloha_played", scratch / "aloha_theirs", scratch / "aloha"
    recorded = answer([aloha, INSIDE, played, str(EPISODES), str(TICKS)], minutes=60)
    (played / "dataset.json").write_text(json.dumps(_dataset()))
    told = answer([lerobot, inside, "write", played, theirs], minutes=60)
    task, mapping = scratch / "swing_arms.toml", scratch / "mapping.toml"
    task.write_text(task_text())
    mapping.write_text(mapping_text())
    command: list[str | Path] = [sys.executable, "-m", "rise_gym"]
    spoken([*command, "import", ours, "--data", theirs, "--task", task, "--mapping", mapping])
    card = read_task(task)
    found = [Rows.of(episode, card) for episode in read_episodes(ours)]
    result = {**recorded, "layout": told["layout"], "recorded_hz": RECORDED_HZ, "imported_hz": card.control_hz}
    result |= compared(found, _wanted(played, task, mapping))
    policy = scratch / "aloha_policy"
    training = [*command, "train", "policy", policy, "--data", ours, "--task", task, "--steps", str(STEPS)]
    spoken([*training, "--batch-size", "4"], minutes=60)
    return {**result, "inspect": _inspected(ours), "policy": _acts(policy / "checkpoint", found, card)}


def _acts(policy: Path, episodes: list[Rows], card: TaskCard) -> dict[str, Any]:
    """A chunk of the policy that was trained for some steps, at the beginning of each episode."""
    seen: Observation = {name: np.stack([one.frames[name][0] for one in episodes]) for name in card.cameras}
    seen["proprio"] = np.stack([one.state[0] for one in episodes]).astype(np.float32)
    chunks = load_policy(policy).act(seen, [card.instruction] * len(episodes))
    return {"steps_of_training": STEPS, "chunks": list(chunks.shape)}


def task_text() -> str:
    """The task's card as a file: seven joints an arm, grippers by their opening in m."""
    rows = [(name, RANGES.get(name.partition("_")[2])) for name in NAMES]
    joints = [f"{name}_m = [0.0, 0.15]" if end is None else f"{name}_rad = [-{end}, {end}]" for name, end in rows]
    return TASK + "\n".join(joints) + "\n"


def mapping_text() -> str:
    """How the recordings are read, as a file; what it does not say is told from their names."""
    return MAPPING + "".join(GRIPPER.format(arm=arm) for arm in ("left", "right"))


def _dataset() -> dict[str, Any]:
    """What lerobot is told of it, with names as in its own ALOHA datasets."""
    joints = {"dtype": "float32", "shape": [len(NAMES)], "names": {"motors": NAMES}}
    features = {"observation.images.top": picture_feature(PICTURE, "video"), "observation.state": joints}
    features |= {"action": joints, "next.reward": {"dtype": "float32", "shape": [1], "names": None}}
    features |= {name: {"dtype": "bool", "shape": [1], "names": None} for name in ("next.success", "next.done")}
    return {"fps": RECORDED_HZ, "robot_type": "aloha", "features": features}


def _wanted(played: Path, task: Path, mapping: Path) -> list[Rows]:
    """What an import should give, worked out from the arrays without its code: every fifth row, cut and shrunk."""
    card, every = read_task(task), round(RECORDED_HZ / read_task(task).control_hz)
    ends = read_mapping(mapping)["joints"]["left_gripper_m"]["to"]
    grippers = [index for index, name in enumerate(NAMES) if name.endswith("gripper")]
    wanted = []
    for path in sorted(played.glob("*.npz")):
        arrays = np.load(path)
        joints = {name: arrays[name][::every].astype(np.float64) for name in ("observation.state", "action")}
        for values in joints.values():
            values[:, grippers] = ends[0] + (ends[1] - ends[0]) * values[:, grippers]
        joints["action"][-1] = joints["action"][-2]  # the last row is what was seen at the end
        views = arrays["observation.images.top"][::every, :, 80:560]
        wanted.append(
            Rows(
                instruction=str(arrays["task"][0]), state=joints["observation.state"], action=joints["action"],
                frames={"top": np.stack([fitted(view, card.image_size) for view in views])},
                success=True,
            )
        )  # fmt: skip
    return wanted


def _inspected(folder: Path) -> dict[str, Any]:
    """What `rise-gym inspect` finds; it says so with its exit status too, which is no failure here."""
    report = folder.with_name("inspected.json")
    command = [sys.executable, "-m", "rise_gym", "inspect", str(folder), "--json", str(report)]
    status = subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode
    found = json.loads(report.read_text())
    findings = [f"{one['level']}: {one['field']}: {one['found']}" for one in found["findings"]]
    return {"exit_status": status, "findings": findings, **{name: found[name] for name in ("episodes", "successes")}}
