"""Do the real policies of lerobot act as agents here, and does RISE train those that read?

    python benchmarks/lerobot_policies.py                           # builds an environment for lerobot, and keeps it
    python benchmarks/lerobot_policies.py --python ENV/bin/python   # one that is there already
    python benchmarks/lerobot_policies.py --release 0.4.4           # the last for Python 3.11

lerobot's environment is not this project's: 0.6.1 wants Python 3.12 and an earlier torch than is pinned here (6 GB;
what this project asks for fits beside it), 0.4.4 an earlier transformers (8 GB). Policies are small and have random
weights: what is shown is that the package's classes and processors fit, not what they can do. Language models are the
real classes too, as small as these can be, with a tokenizer made here, for no hub can be reached. One more ACT goes the
whole way: recordings of this project, two steps of lerobot's own training command, its checkpoint as an agent.

Of pi0 and pi0.5 in 0.4.4 it is written down what lerobot says when it is to build one: it refuses every release of
transformers, for its layers call norms and caches of a branch that no package index has.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro
from _environments import LEROBOT, LEROBOT_312, NotBuilt, ffmpeg_libraries, python_of
from _lerobot_episodes import made_episodes
from _lerobot_pi import put_tokenizer, small_pi
from _lerobot_training import training_command

from rise_gym.agents.improve import ImproveConfig, improve
from rise_gym.agents.lerobot_policy import LerobotAgent, load_lerobot
from rise_gym.agents.trainable import load_trainable, save_policy
from rise_gym.episodes import write_episodes
from rise_gym.evaluation import write_report_json
from rise_gym.recordings import Recordings
from rise_gym.tasks import BOX_CLOSE
from rise_gym.training import TrainingConfig
from rise_gym.types import Episode, Observation
from rise_gym.world_model import CompositionalWorldModel

ROOT = Path(__file__).parents[1]
KINDS = ("act", "diffusion", "smolvla", "act_of_lerobot_train", "pi0", "pi05")
RELEASES = {"0.6.1": LEROBOT_312, "0.4.4": LEROBOT}
TEXT = BOX_CLOSE.instruction
ROWS = 2


def main(
    *,
    release: Literal["0.6.1", "0.4.4"] = "0.6.1",
    policies: tuple[str, ...] = KINDS,
    python: Path | None = None,
    environments: Path = Path("runs/environments"),
    minutes: float = 20.0,
    output: Path | None = None,
    inside: bool = False,
) -> None:
    """Try each policy in lerobot's environment, in a process of its own, and write down what came of it.

    Args:
        release: of lerobot.
        policies: which; what is recorded of others stays.
        python: that of the environment; default: one is built.
        environments: where it is built, and kept.
        minutes: to give up building it after.
        output: the result; default: `benchmarks/results/lerobot_policies.json`. What it holds of other releases stays.
        inside: this is that environment (how the command calls itself).
    """
    if inside:
        print(json.dumps(tried(policies)))
        return
    if unknown := set(policies) - set(KINDS):
        raise SystemExit(f"no policy is called {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")
    try:
        python = python or python_of(RELEASES[release], environments, minutes)
    except NotBuilt as reason:
        sys.exit(str(reason))
    path = output or ROOT / "benchmarks/results/lerobot_policies.json"
    releases = json.loads(path.read_text())["releases"] if path.is_file() else {}
    for kind in policies:
        found = _asked(python.absolute(), kind)  # absolute, for links that are made from it
        print(json.dumps(found, indent=2))
        releases = {**releases, release: {**releases.get(release, {}), **found}}
        write_report_json(path, {"releases": releases})


def _asked(python: Path, kind: str) -> dict[str, Any]:
    """What a process of that Python says of a policy."""
    paths = os.pathsep.join(str(ROOT / name) for name in ("", "benchmarks", "tests"))
    with tempfile.TemporaryDirectory() as hub:
        variables = {"PYTHONPATH": paths, "HF_HUB_OFFLINE": "1", "HF_HOME": hub, **ffmpeg_libraries(python)}
        done = subprocess.run(
            [python, __file__, "--inside", "--policies", kind], env={**os.environ, **variables},
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
    if done.returncode:
        return {kind: f"failed, its process ended with {done.returncode}"}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def tried(policies: Sequence[str]) -> dict[str, Any]:
    """What each policy did, or why it did not."""
    packages = ("lerobot", "torch", "transformers", "huggingface_hub")
    found: dict[str, Any] = {name: version(name) for name in packages} | {"python": platform.python_version()}
    for kind in policies:
        try:
            found[kind] = _checked(_made(kind))
        except Exception as error:  # of lerobot, of a package that is missing or too new: whatever it is, it is told
            found[kind] = f"failed, {type(error).__name__}: {error}"
    return found


def _made(kind: str) -> LerobotAgent:
    match kind:
        case "act":
            return _act()
        case "diffusion":
            return _diffusion()
        case "smolvla":
            return _smolvla()
        case "act_of_lerobot_train":
            return _trained_by_lerobot()
        case _:
            return _pi(kind)


def _checked(agent: LerobotAgent) -> dict[str, Any]:
    """It acts, comes back from its folder and from a checkpoint of ours, and learns if it can."""
    seen = _seen(ROWS)
    acted = _acted(agent, seen)
    with tempfile.TemporaryDirectory() as folder:
        agent.save_pretrained(folder)
        again = _acted(LerobotAgent.from_pretrained(folder).eval(), seen)
    result: dict[str, Any] = {
        "parameters": sum(weights.numel() for weights in agent.parameters()),
        "chunks": list(acted.shape),
        "within_range": bool(np.abs(acted).max() <= 1),
        "reloaded_differs_by": float(np.abs(acted - again).max()),
        "stored_differs_by": _stored_differs_by(agent),
        "reads": agent.reads,
        "flows": agent.flows,
    }
    return {**result, "rise": _improved(agent)} if agent.reads and agent.flows else result


def _stored_differs_by(agent: LerobotAgent) -> float:
    """By how much a checkpoint of ours, whose weights are stored in half precision, acts otherwise."""
    with tempfile.TemporaryDirectory() as folder:
        save_policy(Path(folder) / "policy", agent)
        again = load_trainable(Path(folder) / "policy", task=agent.card.name)
    assert isinstance(again, LerobotAgent)
    seen = _seen(ROWS)
    return float(np.abs(_acted(agent, seen) - _acted(again, seen)).max())


def _acted(agent: LerobotAgent, seen: Observation) -> Any:
    agent.seed(0)
    return agent.act(seen, [TEXT] * ROWS)


def _improved(agent: LerobotAgent, steps: int = 4) -> dict[str, Any]:
    """A few steps of RISE in the bundled world model."""
    world = CompositionalWorldModel.from_pretrained("bundled:box_close/world_model")
    rng, task = np.random.default_rng(0), BOX_CLOSE
    episode = Episode(
        task=task.name, instruction=TEXT, success=True, score=10.0, source="rollout", policy="test", seed=0,
        frames={name: rng.integers(0, 256, (14, 64, 64, 3), dtype=np.uint8) for name in task.cameras},
        proprio=np.full((14, 14), 0.01, np.float32), actions=np.zeros((14, 14), np.float32),
    )  # fmt: skip
    recordings = Recordings.of([episode], BOX_CLOSE).encoded(world.codec)
    training = TrainingConfig(steps=steps, batch_size=4, learning_rate=1e-3, warmup_steps=1, log_every_steps=1)
    config, losses = ImproveConfig(training=training, rollout_batch=2, update_epochs=1), list[float]()
    before = [_fingerprint(weights) for weights in agent.parameters()]  # copies of all would be gigabytes
    with tempfile.TemporaryDirectory() as folder:
        done = improve(
            agent, world, recordings, torch.ones(len(recordings)), config, folder,
            on_progress=lambda _, figures: losses.append(figures["loss"]),
        )  # fmt: skip
    assert isinstance(done, LerobotAgent)
    changed = [was != _fingerprint(now) for was, now in zip(before, done.parameters(), strict=True)]
    frozen = [not weights.requires_grad for weights in agent.parameters()]
    return {
        "losses": [round(loss, 4) for loss in losses],
        "changed": sum(changed),
        "frozen": sum(frozen),
        "frozen_changed": sum(was and is_changed for was, is_changed in zip(frozen, changed, strict=True)),
        "stored_differs_by": _stored_differs_by(done),
    }


def _fingerprint(weights: torch.Tensor) -> int:
    return zlib.crc32(weights.detach().flatten().view(torch.uint8).numpy().data)


def _seen(rows: int) -> Observation:
    rng = np.random.default_rng(0)
    views: Observation = {name: rng.integers(0, 256, (rows, 64, 64, 3), dtype=np.uint8) for name in BOX_CLOSE.cameras}
    joints = rng.uniform(BOX_CLOSE.action_low, BOX_CLOSE.action_high, (rows, 14)).astype(np.float32)
    return {**views, "proprio": joints}


def _agent(policy: Any) -> LerobotAgent:
    from lerobot.policies.factory import make_pre_post_processors

    low, high = (
        torch.tensor(np.array(bound), dtype=torch.float32) for bound in (BOX_CLOSE.action_low, BOX_CLOSE.action_high)
    )
    joints = {"mean": (low + high) / 2, "std": (high - low) / 4, "min": low, "max": high, "q01": low, "q99": high}
    grey = {"mean": 0.5, "std": 0.25, "min": 0.0, "max": 1.0}
    picture = {name: torch.full((3, 1, 1), value) for name, value in grey.items()}
    stats = dict.fromkeys(policy.config.image_features, picture) | dict.fromkeys(
        ("observation.state", "action"), joints
    )
    preprocess, postprocess = make_pre_post_processors(policy.config, dataset_stats=stats)
    return LerobotAgent(policy, preprocess, postprocess, BOX_CLOSE).eval()


def _features() -> dict[str, Any]:
    from lerobot.configs.types import FeatureType, PolicyFeature

    views = {f"observation.images.{name}": PolicyFeature(FeatureType.VISUAL, (3, 64, 64)) for name in BOX_CLOSE.cameras}
    return {
        "input_features": {**views, "observation.state": PolicyFeature(FeatureType.STATE, (14,))},
        "output_features": {"action": PolicyFeature(FeatureType.ACTION, (14,))},
        "device": "cpu",
    }


def _act() -> LerobotAgent:
    from lerobot.policies.act.configuration_act import ACTConfig
    from lerobot.policies.act.modeling_act import ACTPolicy

    return _agent(ACTPolicy(ACTConfig(
        **_features(), chunk_size=10, n_action_steps=10, dim_model=32, n_heads=2, dim_feedforward=32,
        n_encoder_layers=1, n_vae_encoder_layers=1, pretrained_backbone_weights=None,
    )))  # fmt: skip


def _trained_by_lerobot() -> LerobotAgent:
    folder = Path(tempfile.mkdtemp())
    write_episodes(folder / "data", made_episodes(), BOX_CLOSE)
    command = training_command(Path(sys.executable), folder / "data", folder / "act")
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return load_lerobot(str(folder / "act/checkpoints/last/pretrained_model"), BOX_CLOSE)


def _diffusion() -> LerobotAgent:
    from lerobot.policies.diffusion.configuration_diffusion import DiffusionConfig
    from lerobot.policies.diffusion.modeling_diffusion import DiffusionPolicy

    return _agent(DiffusionPolicy(DiffusionConfig(
        **_features(), horizon=16, n_action_steps=10, drop_n_last_frames=5, crop_shape=None, down_dims=(16, 32),
        diffusion_step_embed_dim=16, n_groups=4, spatial_softmax_num_keypoints=4, num_inference_steps=2,
        pretrained_backbone_weights=None,
    )))  # fmt: skip


def _smolvla() -> LerobotAgent:
    from lerobot.policies.smolvla.configuration_smolvla import SmolVLAConfig
    from lerobot.policies.smolvla.modeling_smolvla import SmolVLAPolicy

    language = _language_model(Path(tempfile.mkdtemp()))
    return _agent(SmolVLAPolicy(SmolVLAConfig(
        **_features(), chunk_size=10, n_action_steps=10, vlm_model_name=str(language), load_vlm_weights=False,
        num_vlm_layers=2, num_steps=2, resize_imgs_with_padding=(64, 64), tokenizer_max_length=32,
    )))  # fmt: skip


def _language_model(folder: Path) -> Path:
    """What SmolVLA looks for on the hub: configuration, tokenizer, processor."""
    from transformers import AutoConfig, SmolVLMImageProcessor, SmolVLMProcessor, SmolVLMVideoProcessor

    settings = _tiny_vla().settings(layers=2, width=64)
    settings["text_config"] |= {"head_dim": 32, "vocab_size": 64}
    AutoConfig.for_model(**settings).save_pretrained(folder)
    special = {"image_token": "<image>", "fake_image_token": "<fake>", "global_image_token": "<global>"}
    SmolVLMProcessor(
        SmolVLMImageProcessor(), _tokenizer(extra_special_tokens=special), SmolVLMVideoProcessor(), image_seq_len=4,
        chat_template="{{ messages }}",
    ).save_pretrained(folder)  # fmt: skip
    return folder


def _pi(kind: str) -> LerobotAgent:
    put_tokenizer(_tokenizer())
    return _agent(small_pi(kind, _features()))


def _tokenizer(**more: Any) -> Any:
    from transformers import PreTrainedTokenizerFast

    made = _tiny_vla().tokenizer()
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unknown>", pad_token="<filler>", **more)


def _tiny_vla() -> Any:
    return importlib.import_module("tiny_vla")  # of the tests, which are on the path inside only


if __name__ == "__main__":
    tyro.cli(main)
