"""How the parts are joined: history, reward, advantage, state, batch. The parts here are arithmetic one can follow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator, Tensor, nn

from rise_gym.codec import FrameCodec
from rise_gym.dynamics import VideoDynamics
from rise_gym.errors import InvalidAction, InvalidCheckpoint, InvalidStart, UnavailableDevice
from rise_gym.pipeline import RisePipeline
from rise_gym.protocols import WorldModel
from rise_gym.starts import Starts
from rise_gym.tasks import BOX_CLOSE
from rise_gym.value import ProgressValue
from rise_gym.world_model import CompositionalWorldModel, WorldModelConfig

MakeWorld = Callable[..., Any]
CHUNK, WINDOW = 10, 7


def frames(*brightness: int) -> Tensor:
    """One window, uint8 (1, ticks, V, 64, 64, 3), each tick of one brightness."""
    return torch.tensor(brightness, dtype=torch.uint8)[None, :, None, None, None, None].expand(1, -1, 3, 64, 64, 3)


def still(ticks: int, batch: int = 1) -> Tensor:
    return torch.zeros(batch, ticks, 14)


def generators(count: int = 1, seed: int = 0) -> list[Generator]:
    return [Generator().manual_seed(seed + row) for row in range(count)]


def test_fits_the_protocol(counting_world: MakeWorld) -> None:
    assert isinstance(counting_world(), WorldModel)


def test_history_is_in_temporal_order_at_the_right_spacing(counting_world: MakeWorld) -> None:
    """The paper's released code feeds imagined history newest first and at double spacing; ours must not."""
    world = counting_world()
    state = world.begin(frames(10, 11, 12, 13, 14, 15, 16), torch.zeros(1, 14), ["close it"])
    assert state.latents.shape[1] == WINDOW
    state, _ = world.imagine(state, still(3), generator=generators())
    assert world.dynamics.history.tolist() == [[10, 12, 14, 16]]  # oldest first, `stride` ticks apart, the newest last
    world.imagine(state, still(3), generator=generators())
    assert world.dynamics.history.tolist() == [[13, 15, 17, 19]]  # the same rule where recorded and imagined ticks meet


@given(ticks=st.lists(st.integers(1, CHUNK), min_size=1, max_size=5))
@settings(deadline=None, max_examples=25)
def test_history_follows_any_sequence_of_chunks(counting_world: MakeWorld, ticks: list[int]) -> None:
    world = counting_world()
    state = world.begin(frames(*range(WINDOW)), torch.zeros(1, 14), ["close it"])
    newest = WINDOW - 1
    for count in ticks:
        state, _ = world.imagine(state, still(count), generator=generators())
        assert world.dynamics.history.tolist() == [[newest - 6, newest - 4, newest - 2, newest]]
        newest += count


def test_a_short_window_repeats_its_oldest_frame_and_a_long_one_is_cut(counting_world: MakeWorld) -> None:
    world = counting_world()
    short = world.begin(frames(5, 6), torch.zeros(1, 14), ["close it"])
    assert short.latents[0, :, 0, 0, 0, 0].tolist() == [5, 5, 5, 5, 5, 5, 6]
    long = world.begin(frames(*range(20)), torch.zeros(1, 14), ["close it"])
    assert long.latents[0, :, 0, 0, 0, 0].tolist() == list(range(13, 20))


def test_proprio_goes_on_from_the_last_predicted_one(counting_world: MakeWorld) -> None:
    world = counting_world()
    state = world.begin(frames(5), torch.ones(1, 14), ["close it"])
    state, imagined = world.imagine(state, torch.full((1, 4, 14), 0.25), generator=generators())
    torch.testing.assert_close(state.proprio, imagined.proprio[:, -1])
    torch.testing.assert_close(state.proprio, torch.full((1, 14), 1.25))


@given(start=st.integers(0, 90), ticks=st.lists(st.integers(1, CHUNK), min_size=1, max_size=4))
@settings(deadline=None, max_examples=25)
def test_the_return_is_last_progress_minus_first(counting_world: MakeWorld, start: int, ticks: list[int]) -> None:
    world = counting_world()
    begun = state = world.begin(frames(start), torch.zeros(1, 14), ["close it"])
    total = torch.zeros(1)
    for count in ticks:
        state, imagined = world.imagine(state, still(count), generator=generators())
        total += imagined.reward
        torch.testing.assert_close(imagined.progress[:, -1], state.progress)
    torch.testing.assert_close(total, state.progress.clamp(0, 1) - begun.progress.clamp(0, 1))


def test_what_is_lost_below_zero_is_no_progress(counting_world: MakeWorld) -> None:
    world = counting_world()
    state = world.begin(frames(50), torch.zeros(1, 14), ["all is lost"])
    after, imagined = world.imagine(state, still(5), generator=generators())
    assert imagined.reward.item() == 0
    assert after.progress.item() == pytest.approx(-0.55)
    assert imagined.advantage.item() < 0


def test_advantage_is_the_mean_over_the_chunk_minus_now_scaled_and_clamped(counting_world: MakeWorld) -> None:
    state = counting_world().begin(frames(50), torch.zeros(1, 14), ["close it"])
    _, imagined = counting_world().imagine(state, still(10), generator=generators())
    assert imagined.advantage.item() == pytest.approx(5 * (0.555 - 0.50), abs=1e-5)  # mean of .51 to .60
    _, imagined = counting_world(advantage_scale=100).imagine(state, still(10), generator=generators())
    assert imagined.advantage.item() == 1


@pytest.mark.parametrize(("share", "progress"), [(0.0, 0.60), (0.5, 0.65), (1.0, 0.70)])
def test_what_the_dynamics_expects_to_gain_counts_beside_what_the_value_reads(
    counting_world: MakeWorld, share: float, progress: float
) -> None:
    world = counting_world(expected_share=share)
    world.dynamics.gain = torch.linspace(0.02, 0.20, 10)[None]  # twice as fast as the frames brighten
    state = world.begin(frames(50), torch.zeros(1, 14), ["close it"])
    after, imagined = world.imagine(state, still(10), generator=generators())
    assert after.progress.item() == pytest.approx(progress)
    assert imagined.reward.item() == pytest.approx(progress - 0.5)


@pytest.mark.parametrize(("share", "gained"), [(0.0, 0.11), (0.75, 0.04625), (1.0, 0.025)])
def test_what_is_expected_later_counts_for_the_advantage_alone(
    counting_world: MakeWorld, share: float, gained: float
) -> None:
    world = counting_world(later_share=share, expected_share=0.5)
    world.dynamics.gain = torch.linspace(0.02, 0.20, 10)[None]
    world.dynamics.later = torch.tensor([[0.06, 0.08]])
    state = world.begin(frames(50), torch.zeros(1, 14), ["close it"])
    after, imagined = world.imagine(state, still(10), generator=generators())
    assert imagined.advantage.item() == pytest.approx(5 * gained, abs=1e-5)
    assert after.progress.item() == pytest.approx(0.65)


def test_an_outcome_counts_as_if_it_came_sooner(counting_world: MakeWorld) -> None:
    world = counting_world(later_share=1.0, outcome_ticks=25)
    world.dynamics.gain = torch.linspace(0.02, 0.20, 10)[None]
    world.dynamics.later = torch.tensor([[0.06, 0.08]])  # after 20 and 40 ticks
    state = world.begin(frames(50), torch.zeros(1, 14), ["close it"])
    _, imagined = world.imagine(state, still(10), generator=generators())
    assert imagined.advantage.item() == pytest.approx(5 * (0.06 / 2 + 0.08 / 2.5) / 2, abs=1e-5)


@pytest.mark.parametrize("gain", [True, False])
def test_the_slope_is_how_the_advantage_changes_with_the_actions(gain: bool) -> None:
    """By finite differences, with and without an expected gain, in more rows than one pass takes."""
    torch.manual_seed(0)
    shape = {"latent_channels": 2, "latent_size": 8}
    dynamics = VideoDynamics(**shape, widths=(8, 16, 32), embedding_width=16, map_channels=8, gain=gain, later=(20, 30))
    for parameter in dynamics.parameters():
        nn.init.normal_(parameter, std=0.1)
    codec = FrameCodec(latent_channels=2, width=8, encoder_blocks=(1, 1), decoder_blocks=(1, 1), patch=4)
    parts: dict[str, Any] = {"codec": codec, "dynamics": dynamics, "value": ProgressValue(**shape)}
    world = CompositionalWorldModel(
        **parts, task=BOX_CLOSE, config=WorldModelConfig(advantage_scale=0.1)
    )  # never clamped
    world.dynamics.rows_at_once = 2
    middle = torch.from_numpy(BOX_CLOSE.unscale_action(np.zeros((3, 14)))).float()
    state = world.begin(frames(50).expand(3, -1, -1, -1, -1, -1), middle, ["close it"] * 3)
    actions = torch.rand(3, 10, 14, generator=Generator().manual_seed(1)) - 0.5

    def advantage(chunks: Tensor) -> Tensor:
        return world.advantage_slope(state, chunks, generator=generators(3))[0]

    _, slope = world.advantage_slope(state, actions, generator=generators(3))
    assert slope.shape == actions.shape
    assert not any(parameter.grad is not None for part in parts.values() for parameter in part.parameters())
    way = torch.randn(actions.shape, generator=Generator().manual_seed(2))
    found = (advantage(actions + 1e-3 * way) - advantage(actions - 1e-3 * way)) / 2e-3
    torch.testing.assert_close(found, (slope * way).sum((1, 2)), rtol=0.05, atol=2e-4)


def test_an_expected_share_beyond_all_or_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        WorldModelConfig(expected_share=1.5)


def test_state_is_replaced_never_edited(counting_world: MakeWorld) -> None:
    world = counting_world()
    state = world.begin(frames(50), torch.zeros(1, 14), ["close it"])
    kept = state.latents.clone(), state.proprio.clone(), state.progress.clone()
    world.imagine(state, torch.full((1, 4, 14), 0.5), generator=generators())
    for now, before in zip((state.latents, state.proprio, state.progress), kept, strict=True):
        torch.testing.assert_close(now, before, rtol=0, atol=0)


def test_imagined_latents_may_enter_training(counting_world: MakeWorld) -> None:
    world = counting_world()
    state = world.begin(frames(50), torch.zeros(1, 14), ["close it"])
    _, imagined = world.imagine(state, still(4), generator=generators())
    layer = nn.Linear(1, 1)
    layer(imagined.latents.flatten()[:1]).sum().backward()  # a tensor born in inference mode would refuse
    assert layer.weight.grad is not None


def test_decoding_gives_frames(counting_world: MakeWorld) -> None:
    world = counting_world()
    state = world.begin(frames(50), torch.zeros(1, 14), ["close it"])
    state, imagined = world.imagine(state, still(4), generator=generators())
    assert world.decode(imagined.latents).shape == (1, 4, 3, 64, 64, 3)
    newest = world.decode_newest(state)
    assert newest.dtype == torch.uint8
    assert newest.unique().tolist() == [54]


@pytest.mark.parametrize("shape", [(1, 0, 14), (1, CHUNK + 1, 14), (2, 4, 14), (1, 4, 7), (4, 14)])
def test_actions_of_another_shape_are_refused(counting_world: MakeWorld, shape: tuple[int, ...]) -> None:
    world = counting_world()
    state = world.begin(frames(50), torch.zeros(1, 14), ["close it"])
    with pytest.raises(InvalidAction, match=r"\(1, 1 to 10, 14\)"):
        world.imagine(state, torch.zeros(shape), generator=generators())


def test_starts_that_do_not_fit_are_refused(counting_world: MakeWorld) -> None:
    world = counting_world()
    with pytest.raises(InvalidStart, match="one instruction a row"):
        world.begin(frames(50), torch.zeros(1, 14), [])
    with pytest.raises(InvalidStart, match="frames uint8"):
        world.begin(frames(50).float(), torch.zeros(1, 14), ["close it"])
    with pytest.raises(InvalidStart, match="frames uint8"):
        world.begin(frames(50)[:, :, :2], torch.zeros(1, 14), ["close it"])
    with pytest.raises(InvalidStart, match=r"proprio \(B, 14\)"):
        world.begin(frames(50), torch.zeros(1, 7), ["close it"])


@pytest.mark.parametrize("config", [{"advantage_scale": 0.0}, {"success_ticks": 0}])
def test_settings_without_meaning_are_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        WorldModelConfig(**config)


def test_dreams_begin_where_there_is_something() -> None:
    with pytest.raises(InvalidStart, match="start_kind is one of initial, mid_episode, any, got 'late'"):
        WorldModelConfig(start_kind="late")  # type: ignore[arg-type]


def test_saved_and_loaded_it_dreams_the_same(tiny_world: Path, tmp_path: Path, random_starts: Starts) -> None:
    world = CompositionalWorldModel.from_pretrained(tiny_world)
    world.save_pretrained(tmp_path / "again")
    again = CompositionalWorldModel.from_pretrained(str(tmp_path / "again"), task="box_close")
    assert again.task == world.task
    assert again.config == world.config
    for one, two in zip(dream(world, random_starts), dream(again, random_starts), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=0)


def dream(world: CompositionalWorldModel, starts: Starts) -> tuple[Tensor, ...]:
    state = world.begin(torch.from_numpy(starts.frames), torch.from_numpy(starts.proprio), starts.instruction)
    actions = torch.linspace(-0.5, 0.5, len(starts) * 5 * 14).view(len(starts), 5, 14)
    state, imagined = world.imagine(state, actions, generator=generators(len(starts)))
    return imagined.latents, imagined.proprio, imagined.progress, world.decode_newest(state)


def test_settings_are_part_of_the_checkpoint(tiny_world: Path, tmp_path: Path) -> None:
    world = CompositionalWorldModel.from_pretrained(tiny_world)
    world.config = WorldModelConfig(advantage_scale=3.0, uncertainty_limit=0.2)
    world.save_pretrained(tmp_path / "world", card="# Made by hand\n")
    assert CompositionalWorldModel.from_pretrained(tmp_path / "world").config == world.config
    assert (tmp_path / "world" / "README.md").read_text() == "# Made by hand\n"


def test_stored_in_half_precision_it_computes_in_full(tiny_world: Path, tmp_path: Path, random_starts: Starts) -> None:
    world = CompositionalWorldModel.from_pretrained(tiny_world)
    world.save_pretrained(tmp_path / "half", half_precision=True)
    half = CompositionalWorldModel.from_pretrained(tmp_path / "half")
    assert {parameter.dtype for parameter in half.dynamics.parameters()} == {torch.float32}
    weights = "dynamics/diffusion_pytorch_model.safetensors"
    assert (tmp_path / "half" / weights).stat().st_size < 0.7 * (tiny_world / weights).stat().st_size
    assert next(world.dynamics.parameters()).dtype == torch.float32
    torch.testing.assert_close(dream(half, random_starts)[0], dream(world, random_starts)[0], rtol=0.05, atol=0.05)


def test_a_world_model_of_another_task_is_refused(tiny_world: Path) -> None:
    with pytest.raises(InvalidCheckpoint, match="'brick_sort' was wanted"):
        CompositionalWorldModel.from_pretrained(tiny_world, task="brick_sort")


def test_the_folder_is_a_diffusers_pipeline(tiny_world: Path, random_starts: Starts) -> None:
    pipeline = RisePipeline.from_pretrained(tiny_world)
    pipeline.set_progress_bar_config(disable=True)
    assert {"dynamics", "autoencoder", "value", "scheduler"} <= set(pipeline.components)
    starts = random_starts.rows([0, 1])
    output = pipeline(
        torch.from_numpy(starts.frames),
        torch.from_numpy(starts.proprio),
        torch.zeros(2, 4, 14),
        generator=generators(2),
    )
    assert output.frames.shape == (2, 4, 3, 64, 64, 3)
    state = pipeline.world_model.begin(
        torch.from_numpy(starts.frames), torch.from_numpy(starts.proprio), starts.instruction
    )
    _, imagined = pipeline.world_model.imagine(state, torch.zeros(2, 4, 14), generator=generators(2))
    torch.testing.assert_close(output.progress, imagined.progress)
    assert torch.isfinite(output.advantage).all()


@pytest.mark.parametrize("device", ["tpu", "cuda:99"])
def test_a_device_that_is_not_there_is_named(tiny_world: Path, device: str) -> None:
    with pytest.raises(UnavailableDevice, match=rf"device '{device}' can't be used here .*use 'cpu'"):
        CompositionalWorldModel.from_pretrained(tiny_world, device=device)
