"""The full-size world model, tiny: its codec and dynamics step behind `gym.make` as any other's do."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from conftest import coloured_noise
from own_tasks import forgetting_tasks
from tiny_ltx import CONFIG, tiny_codec, tiny_dynamics, tiny_world

from rise_gym.codec import FrameCodec
from rise_gym.errors import InvalidAction, InvalidCheckpoint, InvalidTask
from rise_gym.ltx_codec import LTXCodec
from rise_gym.ltx_dynamics import LTXDynamics, LTXDynamicsConfig
from rise_gym.ltx_size import LTXSize
from rise_gym.pipeline import RisePipeline
from rise_gym.protocols import ClipDynamics, Codec, Dynamics
from rise_gym.tasks import BOX_CLOSE, TaskCard, add_task

PAPER = replace(
    BOX_CLOSE, name="box_close_full", title="BoxCloseFull", image_size=(192, 256), control_hz=30.0, chunk=50
)


@pytest.fixture
def paper_task() -> Iterator[TaskCard]:
    """Three views of 192 x 256 pixels, chunks of 50 actions at 30 Hz."""
    with forgetting_tasks():
        yield add_task(PAPER)


def generators(count: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in range(count)]


def random_window(dynamics: LTXDynamics, rows: int, ticks: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    shape = (rows, dynamics.config.history, dynamics.views, dynamics.network.channels, *dynamics.config.latent_size)
    actions = torch.rand(rows, ticks, 14, generator=draw) * 2 - 1
    return torch.randn(shape, generator=draw), torch.zeros(rows, 14), actions


# -- codec ------------------------------------------------------------------------------------------------------------


def test_frames_are_encoded_one_by_one_and_clips_as_clips() -> None:
    codec = tiny_codec()
    assert isinstance(codec, Codec)
    frames = torch.randint(0, 256, (2, 9, 3, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    alone, clip = codec.encode(frames), codec.encode_clip(frames)
    assert alone.shape == (2, 9, 3, 8, 4, 4)
    assert clip.shape == (2, 2, 3, 8, 4, 4)
    torch.testing.assert_close(clip[:, 0], alone[:, 0])  # the first of a clip stands alone
    torch.testing.assert_close(codec.encode(frames[:, 3]), alone[:, 3])
    assert codec.decode(alone).shape == frames.shape
    assert codec.decode_clip(clip).shape == (2, 9, 3, 3, 64, 64)
    assert codec.frames_of(clip).shape == alone.shape


def test_what_diffusers_would_drop_is_refused() -> None:
    frames = torch.zeros(1, 12, 3, 64, 64, 3, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"8·k \+ 1 frames was wanted.*got 12; take 9 or 17"):
        tiny_codec().encode_clip(frames)
    with pytest.raises(ValueError, match="got 10; take 9 or 17"):
        LTXDynamics.of(replace(CONFIG, chunk=10, stride=1), BOX_CLOSE)


def test_pictures_that_cannot_be_cut_into_latents_are_refused() -> None:
    with pytest.raises(InvalidTask, match=r"multiples of 32 x 32 pixels.*\[48, 64\]"):
        LTXDynamicsConfig().fitted(replace(BOX_CLOSE, image_size=(48, 64)))


def test_a_decoder_that_draws_noise_shows_the_same_each_time() -> None:
    torch.manual_seed(0)
    plain = dict(tiny_codec().config.settings)
    noisy = {**plain, "timestep_conditioning": True, "decoder_inject_noise": [True] * 5}
    codec = LTXCodec(settings=noisy).eval()
    for parameter in codec.autoencoder.decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    latents = torch.randn(1, 1, 3, 8, 4, 4)
    before = torch.random.get_rng_state()
    first = codec.decode(latents)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first, codec.decode(latents))


# -- dynamics ---------------------------------------------------------------------------------------------------------


def test_at_the_papers_shape_fifty_actions_make_twenty_five_frames(paper_task: TaskCard) -> None:
    shape = LTXDynamicsConfig().fitted(paper_task)
    assert (shape.history, shape.stride, shape.chunk, shape.latent_size) == (4, 2, 50, (6, 8))
    assert shape == LTXDynamicsConfig()
    codec = tiny_codec()
    dynamics = tiny_dynamics(codec, paper_task)
    dynamics.use_codec(codec)
    assert isinstance(dynamics, Dynamics)
    assert isinstance(dynamics, ClipDynamics)
    assert (dynamics.frames, dynamics.latent_frames) == (25, 4)
    history, proprio, actions = random_window(dynamics, 1, 50)
    found = dynamics.sample(history, proprio, actions, generator=generators(1))
    assert found.latents.shape == (1, 50, 3, 8, 12, 16)
    torch.testing.assert_close(found.latents[:, ::2], found.latents[:, 1::2])  # a frame every other tick
    assert not torch.equal(found.latents[:, 1], found.latents[:, 2])
    low, high = torch.tensor(paper_task.action_low), torch.tensor(paper_task.action_high)
    torch.testing.assert_close(found.proprio, low + (actions + 1) / 2 * (high - low))  # the last commanded target


def test_a_dream_follows_its_seed_and_its_actions_whatever_its_batch() -> None:
    codec = tiny_codec()
    dynamics = tiny_dynamics(codec)
    dynamics.use_codec(codec)
    history, proprio, actions = random_window(dynamics, 3, 10)
    found = dynamics.sample(history, proprio, actions, generator=generators(3))
    again = dynamics.sample(history[1:2], proprio[1:2], actions[1:2], generator=generators(3)[1:2])
    torch.testing.assert_close(again.latents[0], found.latents[1], rtol=1e-4, atol=1e-4)
    other = dynamics.sample(history, proprio, -actions, generator=generators(3))
    assert float((other.latents - found.latents).abs().mean()) > 1e-4
    assert found.latents.shape[1] == 10
    with pytest.raises(InvalidAction, match="1 to 17 ticks"):
        dynamics.sample(history, proprio, actions.repeat(1, 2, 1), generator=generators(3))


def test_views_see_each_other_in_every_third_block() -> None:
    dynamics = tiny_dynamics(tiny_codec())
    history, _, actions = random_window(dynamics, 2, 17)
    noisy, level = torch.zeros(2, 3, 3, 8, 4, 4), torch.ones(2)
    sequences: list[tuple[int, ...]] = []
    for block in dynamics.network.ltx.transformer_blocks:
        block.register_forward_pre_hook(lambda _, inputs: sequences.append(tuple(inputs[0].shape[:2])))
    with torch.no_grad():
        before = dynamics(history, noisy, level, actions)
        assert sequences == [(2, 3 * 112), (6, 112), (6, 112), (2, 3 * 112)]
        history[:, :, 2] += 1.0
        assert not torch.equal(dynamics(history, noisy, level, actions)[:, :, 0], before[:, :, 0])


def test_the_slope_of_the_advantage_reaches_through_the_codec() -> None:
    world = tiny_world()
    starts = coloured_noise(BOX_CLOSE)
    state = world.begin(torch.from_numpy(starts.frames[:2]), torch.from_numpy(starts.proprio[:2]), ["close"] * 2)
    actions = torch.zeros(2, 10, 14)
    advantage, slope = world.advantage_slope(state, actions, generator=generators(2))
    assert advantage.shape == (2,)
    assert float(slope.abs().max()) > 0


def test_a_clip_needs_its_codec_and_only_its_own() -> None:
    codec = tiny_codec()
    dynamics = tiny_dynamics(codec)
    history, proprio, actions = random_window(dynamics, 1, 10)
    with pytest.raises(InvalidCheckpoint, match="CompositionalWorldModel"):
        dynamics.sample(history, proprio, actions, generator=generators(1))
    with pytest.raises(InvalidCheckpoint, match="FrameCodec"):
        dynamics.use_codec(FrameCodec())  # type: ignore[arg-type]
    dynamics.use_codec(codec)
    twin = copy.deepcopy(dynamics)
    assert twin._borrowed.codec is codec  # lent, not copied
    assert not any("codec" in name for name in twin.state_dict())


# -- joined -----------------------------------------------------------------------------------------------------------


def test_it_is_saved_loaded_and_stepped_behind_gym_make(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = tiny_world()
    folder = world.save_pretrained(tmp_path / "world", starts=coloured_noise(BOX_CLOSE))
    assert capsys.readouterr().err == ""
    env = gymnasium.make("RiseImagined-BoxClose-v0", world_model=str(folder), disable_env_checker=True)
    told = capsys.readouterr().err
    for name, part in (("dynamics", world.dynamics), ("codec", world.codec)):
        assert f"{name}: {sum(weights.numel() for weights in part.parameters()):,} parameters" in told
    assert "to dream: 0.0 GiB of weights" in told
    assert "to train" not in told
    observation, _ = env.reset(seed=0)
    assert env.action_space.shape == (10, 14)
    chunk = np.full((10, 14), 0.3, np.float32)
    following, reward, _, _, info = env.step(chunk)
    assert following["head"].shape == (64, 64, 3)
    assert not np.array_equal(following["head"], observation["head"])
    assert info["progress"].shape == (10,)
    assert np.isfinite(reward)
    assert np.isfinite(info["uncertainty"])
    again, _ = env.reset(seed=0)
    assert np.array_equal(again["head"], observation["head"])
    assert np.array_equal(env.step(chunk)[0]["head"], following["head"])
    env.close()
    assert RisePipeline.from_pretrained(folder).dynamics._borrowed.codec is not None


def test_history_keeps_its_order_and_spacing_at_the_papers_shape(paper_task: TaskCard) -> None:
    world = tiny_world(paper_task)
    assert (world.history_ticks, world.longest_chunk) == (7, 50)
    frames = torch.zeros(1, 7, 3, 192, 256, 3, dtype=torch.uint8)
    state = world.begin(frames, torch.zeros(1, 14), ["close"])
    newest, imagined = world.imagine(state, torch.zeros(1, 50, 14), generator=generators(1))
    read = newest.latents[:, :: world.dynamics.config.stride]
    torch.testing.assert_close(read, imagined.latents[:, [43, 45, 47, 49]])  # the last four frames, oldest first


# -- size -------------------------------------------------------------------------------------------------------------


def test_the_papers_size_is_told_without_taking_memory(paper_task: TaskCard) -> None:
    size = LTXSize.of(LTXDynamicsConfig(), paper_task)
    # what RISE's code logs, less a layer that it never uses: 16 · 4096 weights and 4096 biases
    assert size.dynamics == 1_990_672_572 - 17 * 4096
    assert size.tokens == 3 * 8 * 6 * 8
    assert size.dreaming_gib() == pytest.approx(4 * (size.dynamics + size.codec) / 2**30)
    whole, shared = size.training_gib(8), size.training_gib(8, processes=8, sharded=True)
    assert shared["optimiser"] == pytest.approx(whole["optimiser"] / 8)
    assert shared["activations"] == whole["activations"]
    assert size.training_gib(8, checkpointing=False)["activations"] > 5 * whole["activations"]
    assert "1,990,602,940 parameters" in size.told(8, processes=8, sharded=True)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_memory_of_activations_is_about_what_is_told(checkpointing: bool) -> None:
    codec, layers = tiny_codec(), 6
    wide = {"num_attention_heads": 2, "attention_head_dim": 32, "cross_attention_dim": 64, "num_layers": layers}
    shape = replace(CONFIG, transformer={**CONFIG.transformer, **wide}).fitted(BOX_CLOSE, codec.compression)
    model = LTXDynamics.of(shape, BOX_CLOSE).train()
    model.set_gradient_checkpointing(checkpointing)
    history, _, actions = random_window(model, 2, 17)
    weights = {parameter.data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        held = model(history, torch.randn(2, 3, 3, 8, 4, 4), torch.rand(2), actions)
    told = LTXSize.of(shape, BOX_CLOSE, codec.config.settings)
    gib = told.training_gib(2, half=False, checkpointing=checkpointing)["activations"]
    one_block = 38 * 2 * told.tokens * told.width * 4 if checkpointing else 0  # computed anew later, not kept now
    assert held.requires_grad
    assert sum(kept.values()) + one_block == pytest.approx(gib * 2**30, rel=0.33)
