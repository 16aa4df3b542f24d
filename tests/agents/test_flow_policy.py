"""The compact policy: it learns chunks, samples them within range, obeys the advantage, and saves and loads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from rise_gym.agents.flow_policy import FlowPolicy, FlowPolicyConfig, load_policy, save_policy
from rise_gym.agents.trainable import load_trainable
from rise_gym.checkpoints import save_checkpoint
from rise_gym.errors import InvalidCheckpoint, RiseGymError, UnsuitableEnv
from rise_gym.protocols import Agent
from rise_gym.tasks import BOX_CLOSE

NARROW = FlowPolicyConfig(  # absolute targets: the random ones here have nothing to do with the random joints
    channels=(4, 8, 8), grid_channels=4, context_width=48, head_width=64, head_blocks=2, shift_px=0, light_jitter=0.0,
    relative=False, temperature=1.0,
)  # fmt: skip
TEXT = BOX_CLOSE.instruction


def narrow_policy(config: FlowPolicyConfig = NARROW, seed: int = 0) -> FlowPolicy:
    torch.manual_seed(seed)
    return FlowPolicy.of(config, BOX_CLOSE)


def random_batch(rows: int, seed: int = 0) -> dict:
    generator = torch.Generator().manual_seed(seed)
    views = {
        camera: torch.randint(0, 256, (rows, 64, 64, 3), generator=generator, dtype=torch.uint8)
        for camera in BOX_CLOSE.cameras
    }
    return {
        "observation": {**views, "proprio": torch.rand(rows, 14, generator=generator)},
        "instruction": [TEXT] * rows,
        "actions": torch.rand(rows, BOX_CLOSE.chunk, 14, generator=generator) - 0.5,
        "advantage": torch.ones(rows),
    }


def fitted(policy: FlowPolicy, batch: dict, steps: int, rate: float = 3e-3) -> FlowPolicy:
    optimizer = torch.optim.AdamW(policy.parameters(), lr=rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(0)
    policy.train()
    for _ in range(steps):
        optimizer.zero_grad()
        policy.loss(batch, generator=generator).backward()
        optimizer.step()
        schedule.step()
    return policy.eval()


def observation(batch: dict, rows: slice | Tensor = slice(None)) -> dict:
    return {name: column[rows].numpy() for name, column in batch["observation"].items()}


def test_is_an_agent_of_the_promised_size() -> None:
    policy = FlowPolicy.of(FlowPolicyConfig(), BOX_CLOSE)
    assert isinstance(policy, Agent)
    assert 3e6 < sum(p.numel() for p in policy.parameters()) < 5e6


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"head": np.zeros((2, 64, 64, 3), np.float32)}, r"'head' uint8 \(B, H, W, 3\) .* wanted, float32 .*0 to 255"),
        ({"head": np.zeros((64, 64, 3), np.uint8)}, r"'head' uint8 .* wanted, uint8 \(64, 64, 3\) came"),
        ({"head": np.zeros((2, 3, 64, 64), np.uint8)}, r"'head' uint8 .* wanted, uint8 \(2, 3, 64, 64\) came"),
        ({camera: np.zeros((2, 48, 48, 3), np.uint8) for camera in BOX_CLOSE.cameras}, r"64 x 64 .* wanted, 48 x 48"),
        ({"proprio": np.zeros((1, 14), np.float32)}, r"'proprio' \(2, 14\) was wanted, \(1, 14\) came"),
        ({"head": None}, "'head' was wanted, left_wrist, right_wrist, proprio came"),
    ],
)
def test_observations_that_are_none_are_refused(changed: dict, message: str) -> None:
    given = {**observation(random_batch(2)), **changed}
    given = {name: given[name] for name in given if given[name] is not None}
    with pytest.raises(UnsuitableEnv, match=message):
        narrow_policy().eval().act(given, [TEXT] * 2)


def test_every_row_has_its_instruction() -> None:
    policy, seen = narrow_policy().eval(), observation(random_batch(2))
    for asked in (policy.act, policy.perceived):
        with pytest.raises(UnsuitableEnv, match="2 instructions were wanted, one for each row, 1 came"):
            asked(seen, [TEXT])


def test_overfits_eight_samples() -> None:
    batch = random_batch(8)
    start = narrow_policy()
    start.scales.action_spread.fill_(batch["actions"].std())
    policy = fitted(start, batch, steps=300)
    policy.seed(0)
    error = np.abs(policy.act(observation(batch), batch["instruction"]) - batch["actions"].numpy())
    assert error.mean() < 0.05


@pytest.mark.parametrize("relative", [False, True])
def test_acts_within_range_and_finite(relative: bool) -> None:
    policy = narrow_policy(FlowPolicyConfig(**{**vars(NARROW), "relative": relative})).eval()
    chunks = policy.act(observation(random_batch(5)), [TEXT] * 5, advantage=np.linspace(-1, 1, 5))
    assert chunks.shape == (5, BOX_CLOSE.chunk, 14)
    assert chunks.dtype == np.float32
    assert np.abs(chunks).max() <= 1


def test_same_seed_same_chunks_whatever_the_batch() -> None:
    policy, batch = narrow_policy().eval(), random_batch(4)

    def acted(rows: slice) -> list[np.ndarray]:
        policy.seed(7)
        seen = observation(batch, rows)
        return [policy.act(seen, [TEXT] * len(seen["proprio"])) for _ in range(2)]

    first, again, alone = acted(slice(None)), acted(slice(None)), acted(slice(0, 1))
    np.testing.assert_array_equal(first, again)
    for whole, single in zip(first, alone, strict=True):
        np.testing.assert_allclose(whole[:1], single, atol=1e-5)
    assert not np.array_equal(first[0], first[1])  # a second call draws fresh noise


@pytest.mark.parametrize("temperature", [-0.1, 3.0, float("nan")])
def test_a_temperature_that_there_is_not_is_refused(temperature: float) -> None:
    with pytest.raises(RiseGymError, match=r"a temperature from 0 .* to 1 .* was wanted, got"):
        load_trainable("bundled:box_close/base", temperature=temperature)


def test_without_temperature_the_noise_does_not_matter() -> None:
    policy, batch = narrow_policy(FlowPolicyConfig(**{**vars(NARROW), "temperature": 0.0})).eval(), random_batch(2)
    policy.seed(1)
    chunks = [policy.act(observation(batch), [TEXT] * 2) for _ in range(2)]
    np.testing.assert_array_equal(*chunks)
    pixels = torch.stack([batch["observation"][camera] for camera in BOX_CLOSE.cameras], dim=1)
    proposed = policy.propose(
        pixels, batch["observation"]["proprio"], [TEXT] * 2, torch.ones(2), generator=torch.Generator().manual_seed(0)
    )
    assert not np.allclose(proposed, chunks[0])  # what imagination chooses from varies all the same


def test_a_generator_a_row_gives_each_row_its_own_noise() -> None:
    policy, batch = narrow_policy().eval(), random_batch(3)
    seen = observation(batch)

    def acted(seeds: list[int]) -> np.ndarray:
        return policy.act(seen, [TEXT] * 3, generator=[torch.Generator().manual_seed(seed) for seed in seeds])

    one, other = acted([1, 2, 3]), acted([1, 9, 3])
    np.testing.assert_array_equal(one[[0, 2]], other[[0, 2]])
    assert not np.array_equal(one[1], other[1])
    with pytest.raises(ValueError, match="3 rows was wanted, got 2"):
        acted([1, 2])


def test_the_advantage_asked_for_decides_where_the_data_does() -> None:
    batch = random_batch(32)
    batch["observation"] = {name: column[:1].expand_as(column) for name, column in batch["observation"].items()}
    advantage = torch.where(torch.arange(32) % 2 == 0, 1.0, -1.0)
    batch["advantage"] = advantage
    batch["actions"] = (0.5 * advantage)[:, None, None].expand(-1, BOX_CLOSE.chunk, 14)
    policy = fitted(narrow_policy(), batch, steps=120, rate=1e-2)
    policy.seed(0)
    seen = observation(batch)
    best = policy.act(seen, batch["instruction"], advantage=1.0)
    worst = policy.act(seen, batch["instruction"], advantage=-1.0)
    assert best.mean() > 0.3
    assert worst.mean() < -0.3


def test_an_untold_advantage_is_allowed() -> None:
    policy, batch = narrow_policy().eval(), random_batch(2)
    batch["advantage"] = torch.tensor([float("nan"), 1.0])
    assert policy.losses(batch, generator=torch.Generator().manual_seed(0)).isfinite().all()


def test_actions_that_did_not_happen_teach_nothing() -> None:
    policy, batch = narrow_policy().eval(), random_batch(3)
    batch["mask"] = torch.arange(BOX_CLOSE.chunk)[None] < torch.tensor([10, 4, 0])[:, None]
    torch.nn.init.normal_(policy.head.leave[1].weight)

    def losses(filler: float) -> Tensor:
        filled = batch["actions"].masked_fill(~batch["mask"][..., None], filler)
        return policy.losses({**batch, "actions": filled}, generator=torch.Generator().manual_seed(0))

    assert losses(0.0)[2] == 0
    assert losses(0.0)[0] == losses(0.7)[0]


def test_augmentation_is_drawn_from_the_generator_and_only_in_training() -> None:
    policy = narrow_policy(
        FlowPolicyConfig(**{**vars(NARROW), "shift_px": 2, "light_jitter": 0.2, "proprio_noise": 0.1})
    )
    policy.head.leave[1].weight.data.normal_(generator=torch.Generator().manual_seed(0))
    for block in policy.head.blocks:
        block.modulation.weight.data.normal_(generator=torch.Generator().manual_seed(0))
    batch = random_batch(2)

    def loss() -> float:
        return policy.loss(batch, generator=torch.Generator().manual_seed(3)).item()

    trained, again, plain = policy.train() and loss(), loss(), policy.eval() and loss()
    assert trained == again
    assert trained != plain


def test_saves_and_loads_close_to_what_it_was(tmp_path: Path) -> None:
    policy, batch = narrow_policy().eval(), random_batch(2)
    policy.scales.action_mean.fill_(0.25)
    save_policy(tmp_path / "policy", policy, card="# how it was made", extra={"steps": 3})
    loaded = load_policy(tmp_path / "policy", task="box_close")
    assert (tmp_path / "policy" / "README.md").read_text() == "# how it was made"
    assert not loaded.training
    policy.seed(1)
    loaded.seed(1)
    seen = observation(batch)
    np.testing.assert_allclose(policy.act(seen, [TEXT] * 2), loaded.act(seen, [TEXT] * 2), atol=0.01)


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    save_policy(tmp_path / "policy", narrow_policy())
    with pytest.raises(InvalidCheckpoint, match="task 'brick_sort' was wanted"):
        load_policy(tmp_path / "policy", task="brick_sort")
    save_checkpoint(tmp_path / "world", kind="world_model", task=BOX_CLOSE, components={"policy": narrow_policy()})
    with pytest.raises(InvalidCheckpoint, match="a policy was wanted"):
        load_policy(tmp_path / "world")
    with pytest.raises(InvalidCheckpoint, match="no folder"):
        load_policy(tmp_path / "nowhere")
