"""Small policies in the shape of lerobot's, written from its documented interface: one flows and reads, two do neither.

As in lerobot a policy sees normalised states padded to a width, tokens instead of text, and plans in normalised units;
its processors do what comes before and after.
"""

from __future__ import annotations

import json
import sys
import zlib
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Self

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rise_gym.tasks import BOX_CLOSE, TaskCard

WIDTH, WORDS = 32, 97
MEAN, SPREAD = 0.2, 0.5  # of states and actions, in rad and m alike


def features(task: TaskCard, prefix: str = "observation.images.") -> dict[str, Any]:
    """Input and output features of a task, as a policy's configuration has them."""
    views = {f"{prefix}{name}": SimpleNamespace(type="VISUAL", shape=(3, *task.image_size)) for name in task.cameras}
    state = SimpleNamespace(type="STATE", shape=(len(task.proprio_names),))
    action = SimpleNamespace(type="ACTION", shape=(len(task.action_names),))
    return {
        "input_features": {**views, "observation.state": state}, "output_features": {"action": action},
    }  # fmt: skip


def preprocess(batch: dict[str, Any]) -> dict[str, Any]:
    """Normalise, and turn text into tokens."""
    ready = dict(batch)
    texts = ready.pop("task")
    assert all(isinstance(text, str) for text in texts)
    for name in ("observation.state", "action"):
        if name in ready:
            ready[name] = (ready[name] - MEAN) / SPREAD
    ready["tokens"] = [torch.tensor([zlib.crc32(word.encode()) % WORDS for word in text.split()]) for text in texts]
    return ready


def postprocess(actions: Tensor) -> Tensor:
    """Back to rad and m."""
    return actions * SPREAD + MEAN


class Processor:
    """A pipeline of lerobot's: called, and saved beside its policy."""

    def __init__(self, call: Callable[[Any], Any], file: str) -> None:
        self.call, self.file = call, file

    def __call__(self, given: Any) -> Any:
        return self.call(given)

    def save_pretrained(self, folder: str | Path) -> None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / self.file).write_text("{}")


def processors() -> tuple[Processor, Processor]:
    """The two of a policy."""
    return Processor(preprocess, "policy_preprocessor.json"), Processor(postprocess, "policy_postprocessor.json")


class _Saved(nn.Module):
    """As lerobot's policies are stored: a configuration, and weights as safetensors."""

    config: SimpleNamespace

    def save_pretrained(self, folder: str | Path) -> None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        settings = json.dumps({"type": type(self).__name__, **vars(self.config)}, default=vars)
        (Path(folder) / "config.json").write_text(settings)
        save_file(self.state_dict(), Path(folder) / "model.safetensors")

    @classmethod
    def from_pretrained(cls, folder: str, *, config: SimpleNamespace) -> Self:
        policy = cls(chunk_size=config.chunk_size)
        policy.load_state_dict(load_file(Path(folder) / "model.safetensors"))
        return policy


def install_stand_in(patch: pytest.MonkeyPatch) -> None:
    """Makes `import lerobot` find as much of it as loading a policy takes."""
    kinds = {kind.__name__: kind for kind in (ReadingFlow, PlainChunks)}

    def from_pretrained(folder: str) -> SimpleNamespace:
        return SimpleNamespace(device="cpu", **json.loads((Path(folder) / "config.json").read_text()))

    def pair(config: Any, pretrained_path: str, preprocessor_overrides: Any) -> tuple[Processor, Processor]:
        made = processors()
        for one in made:
            assert (Path(pretrained_path) / one.file).is_file()
        return made

    contents: dict[str, dict[str, Any]] = {
        "lerobot": {}, "lerobot.configs": {}, "lerobot.policies": {},
        "lerobot.configs.policies": {"PreTrainedConfig": SimpleNamespace(from_pretrained=from_pretrained)},
        "lerobot.policies.factory": {
            "get_policy_class": kinds.__getitem__, "make_pre_post_processors": pair,
        },
    }  # fmt: skip
    for name, inside in contents.items():
        module = ModuleType(name)
        vars(module).update(inside)
        patch.setitem(sys.modules, name, module)


class ReadingFlow(_Saved):
    """Like SmolVLA: a frozen eye, words, a state padded to `WIDTH`, and a flow over a chunk."""

    def __init__(self, task: TaskCard = BOX_CLOSE, chunk_size: int = 12, **changed: Any) -> None:
        super().__init__()
        self.config = SimpleNamespace(
            **{**features(task), "chunk_size": chunk_size, "n_action_steps": chunk_size, "max_action_dim": WIDTH,
               "tokenizer_max_length": 48, "n_obs_steps": 1, **changed}
        )  # fmt: skip
        self.eye = nn.Linear(3, WIDTH).requires_grad_(False)
        self.words = nn.Embedding(WORDS, WIDTH)
        self.velocity = nn.Sequential(nn.Linear(3 * WIDTH + 1, 64), nn.SiLU(), nn.Linear(64, WIDTH))

    def reset(self) -> None:
        raise AssertionError("a policy whose chunks can be asked for is not reset")

    def _context(self, batch: dict[str, Any]) -> Tensor:
        seen = torch.stack([batch[name].mean((2, 3)) for name in self.config.input_features if "images" in name])
        assert 0 <= float(seen.min()) <= float(seen.max()) <= 1
        said = torch.stack([self.words(tokens).mean(0) for tokens in batch["tokens"]])
        state = nn.functional.pad(batch["observation.state"], (0, WIDTH - batch["observation.state"].shape[1]))
        return torch.cat([self.eye(seen.mean(0)) + said, state], dim=1)

    def _velocity(self, noisy: Tensor, time: Tensor, context: Tensor) -> Tensor:
        told = torch.cat([context[:, None].expand(-1, noisy.shape[1], -1), time.expand(-1, noisy.shape[1], 1)], dim=2)
        predicted: Tensor = self.velocity(torch.cat([noisy, told], dim=2))
        return predicted

    def predict_action_chunk(self, batch: dict[str, Any], noise: Tensor | None = None) -> Tensor:
        self.eval()
        context = self._context(batch)
        sample = torch.randn(len(context), self.config.chunk_size, WIDTH) if noise is None else noise
        for step in range(4):
            time = torch.full((len(sample), 1, 1), 1 - step / 4)
            sample = sample - self._velocity(sample, time, context) / 4
        return sample[:, :, : self.config.output_features["action"].shape[0]]

    def select_action(self, batch: dict[str, Any]) -> Tensor:
        return self.predict_action_chunk(batch)[:, 0]

    def forward(self, batch: dict[str, Any], reduction: str = "mean") -> tuple[Tensor, dict[str, float]]:
        width = batch["action"].shape[2]
        clean = nn.functional.pad(batch["action"], (0, WIDTH - width))
        noise, time = torch.randn_like(clean), torch.rand(len(clean), 1, 1)
        error = self._velocity(torch.lerp(clean, noise, time), time, self._context(batch)) - (noise - clean)
        kept = error[:, :, :width].square() * ~batch["actions_id_pad"][..., None]
        rows = kept.mean((1, 2))
        return (rows if reduction == "none" else rows.mean()), {}


class PlainChunks(_Saved):
    """Like ACT: neither words nor noise; it plans to stay where the arm is."""

    def __init__(self, task: TaskCard = BOX_CLOSE, chunk_size: int = 12, **changed: Any) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))
        self.config = SimpleNamespace(
            **{**features(task), "chunk_size": chunk_size, "n_action_steps": chunk_size, "n_obs_steps": 1, **changed}
        )

    def reset(self) -> None:
        raise AssertionError("a policy whose chunks can be asked for is not reset")

    def predict_action_chunk(self, batch: dict[str, Any]) -> Tensor:
        state = batch["observation.state"] * self.gain
        return state[:, None].expand(-1, self.config.chunk_size, -1)

    def select_action(self, batch: dict[str, Any]) -> Tensor:
        return self.predict_action_chunk(batch)[:, 0]

    def forward(self, batch: dict[str, Any]) -> tuple[Tensor, dict[str, float]]:
        return (batch["action"] - self.predict_action_chunk(batch)).square().mean(), {}


class LooksBack(nn.Module):
    """Like diffusion: a history in queues, and a plan that is drawn and then handed out action by action."""

    def __init__(self, task: TaskCard = BOX_CLOSE, n_action_steps: int = 10) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))
        self.config = SimpleNamespace(**features(task), n_obs_steps=2, n_action_steps=n_action_steps)
        self.history, self.plan = deque[Tensor](maxlen=2), deque[Tensor]()

    def reset(self) -> None:
        self.history.clear()
        self.plan.clear()

    def predict_action_chunk(self, batch: dict[str, Any]) -> Tensor:
        before, now = self.history
        drawn = 0.1 * torch.randn(len(now), self.config.n_action_steps, now.shape[1])
        return (now + (now - before))[:, None] * self.gain + drawn

    def select_action(self, batch: dict[str, Any]) -> Tensor:
        while len(self.history) < 2:
            self.history.append(batch["observation.state"])
        if not self.plan:
            self.plan.extend(self.predict_action_chunk(batch).unbind(1))
        return self.plan.popleft()

    def forward(self, batch: dict[str, Any]) -> tuple[Tensor, None]:
        raise AssertionError("it is not trained here")
