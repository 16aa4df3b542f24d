"""The RISE loop: what it learns from is what the world model evaluated, from real moments, in the right order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import Generator, Tensor, nn

from rise_gym.agents.flow_policy import FlowPolicy, FlowPolicyConfig
from rise_gym.agents.improve import ImproveConfig, improve
from rise_gym.agents.rollouts import imagine_samples
from rise_gym.collection import ExplorationNoise
from rise_gym.errors import InvalidDataset, UnsuitableEnv
from rise_gym.recordings import Recordings, eventful_moments
from rise_gym.tasks import BOX_CLOSE, BRICK_SORT
from rise_gym.training import TrainingConfig
from rise_gym.types import Episode, Imagination, WorldState

CHUNK = 2
NARROW = FlowPolicyConfig(
    channels=(2, 4, 4),
    grid_channels=2,
    context_width=16,
    head_width=48,
    head_blocks=1,
    flow_steps=3,
    noise_draws=2,
    relative=False,
    shift_px=0,
    light_jitter=0.0,
)
OFFLINE_MARK = -0.35  # an advantage that only recorded rows carry


class DreamDouble:
    """A world model whose evaluated advantage is a known function of the actions; it remembers what came."""

    history_ticks = 7
    device = torch.device("cpu")

    def __init__(self, slope: float = 1.0) -> None:
        self.slope = slope
        self.weight = nn.Parameter(torch.ones(()))
        self.value = self
        self.states: list[WorldState] = []
        self.chunks: list[Tensor] = []
        self.drawn: list[bool] = []

    def progress(self, latents: Tensor, instruction: Any) -> Tensor:
        assert len(instruction) == len(latents)
        return torch.zeros(len(latents))

    def advantage_of(self, actions: Tensor) -> Tensor:
        return (2 * self.slope * actions.mean((1, 2))).clamp(-1, 1)

    def imagine(
        self, state: WorldState, actions: Tensor, *, generator: Generator, drawn: bool = True
    ) -> tuple[WorldState, Imagination]:
        self.drawn.append(drawn)
        self.states.append(state)
        self.chunks.append(actions)
        ticks = actions.shape[1]
        latents = (state.latents[:, -1:] + 1000.0).expand(-1, ticks, -1, -1, -1, -1) * self.weight
        following = replace(
            state,
            latents=torch.cat([state.latents, latents], 1)[:, -self.history_ticks :],
            proprio=state.proprio + 1,
            progress=state.progress + 1,
        )
        imagined = Imagination(
            latents=latents,
            proprio=state.proprio[:, None].expand(-1, ticks, -1),
            progress=state.progress[:, None].expand(-1, ticks),
            reward=torch.zeros(len(state)),
            advantage=self.advantage_of(actions) * self.weight,
            uncertainty=actions[..., 0].mean(1).abs(),
        )
        return following, imagined

    def advantage_slope(self, state: WorldState, actions: Tensor, *, generator: Any) -> tuple[Tensor, Tensor]:
        self.chunks.append(actions)
        return self.advantage_of(actions), torch.full_like(actions, 2 * self.slope / actions[0].numel())

    def decode_newest(self, state: WorldState) -> Tensor:
        return torch.full((len(state), 3, 64, 64, 3), 200, dtype=torch.uint8)


class WatchedPolicy(FlowPolicy):
    """A policy that remembers what reached its loss, and what it was asked to propose with which weights."""

    batches: list[dict[str, Any]]
    prompts: list[tuple[Tensor, float]]

    def losses(self, batch: dict[str, Any], *, generator: Generator | None = None) -> Tensor:
        type(self).batches.append(batch)
        return super().losses(batch, generator=generator)

    def propose(self, pixels: Tensor, proprio: Tensor, instruction: Any, advantage: Tensor, **rest: Any) -> Tensor:
        type(self).prompts.append((advantage, self.head.enter.weight.sum().item()))
        return super().propose(pixels, proprio, instruction, advantage, **rest)


def episode(length: int, source: Any, shade: int) -> Episode:
    frames = {camera: np.full((length, 64, 64, 3), shade, np.uint8) for camera in BOX_CLOSE.cameras}
    middle = np.asarray(BOX_CLOSE.unscale_action(np.zeros(14)), np.float32)
    return Episode(
        task="box_close",
        instruction=BOX_CLOSE.instruction,
        frames=frames,
        proprio=np.tile(middle, (length, 1)),
        actions=np.zeros((length, 14), np.float32),
        success=True,
        score=10.0,
        source=source,
        policy="test",
        seed=0,
    )


@pytest.fixture
def recordings() -> Recordings:
    """Two episodes; the latent of row n is n."""
    flat = Recordings.of([episode(12, "demonstration", 50), episode(9, "rollout", 100)], BOX_CLOSE)
    return replace(flat, latents=torch.arange(21.0).half().view(-1, 1, 1, 1, 1).expand(-1, 3, 1, 1, 1))


def policy(kind: type[FlowPolicy] = FlowPolicy) -> Any:
    torch.manual_seed(0)
    if kind is WatchedPolicy:
        WatchedPolicy.batches, WatchedPolicy.prompts = [], []
    return kind.of(NARROW, BOX_CLOSE, chunk=CHUNK)


def config(steps: int = 4, **changes: Any) -> ImproveConfig:
    training = {"batch_size": 8, "learning_rate": 1e-2, "warmup_steps": 1, "log_every_steps": 1, "ema_decay": 0.5}
    training |= {name: changes.pop(name) for name in list(changes) if name in TrainingConfig.__dataclass_fields__}
    return ImproveConfig(
        training=TrainingConfig(steps=steps, **training), **{"rollout_batch": 4, "update_epochs": 2, **changes}
    )


def offline_labels(recordings: Recordings) -> Tensor:
    return torch.full((len(recordings),), OFFLINE_MARK)


def test_the_paper_s_constants_are_the_defaults() -> None:
    paper = ImproveConfig()
    assert (paper.offline_ratio, paper.max_imagined_chunks, paper.rollout_decay) == (0.6, 2, 0.995)
    assert (paper.update_epochs, paper.prompt_advantage, paper.training.batch_size) == (4, 1.0, 64)
    assert (paper.training.learning_rate, paper.training.learning_rate_floor) == (1e-4, 0.1)


@pytest.mark.parametrize("slope", [1.0, -1.0])
def test_trains_on_the_evaluated_advantage_not_on_the_prompt(
    recordings: Recordings, tmp_path: Path, slope: float
) -> None:
    """The bug of the paper's code until 2026-06: the prompt's 1.0 reached the loss, so that all looked optimal."""
    dream = DreamDouble(slope)
    improve(policy(WatchedPolicy), dream, recordings, offline_labels(recordings), config(offline_ratio=0.0), tmp_path)
    assert len(WatchedPolicy.batches) == 4
    for batch in WatchedPolicy.batches:
        torch.testing.assert_close(batch["advantage"], dream.advantage_of(batch["actions"]))
        assert not torch.any(batch["advantage"] == 1.0)
    assert all((asked == 1.0).all() for asked, _ in WatchedPolicy.prompts)
    proposed = torch.cat(dream.chunks)
    for row in torch.cat([batch["actions"] for batch in WatchedPolicy.batches]):
        assert (proposed == row).all(dim=(1, 2)).any()  # and on the chunk that was proposed


def test_changing_the_evaluation_changes_the_learned_policy(recordings: Recordings, tmp_path: Path) -> None:
    def improved(slope: float) -> Tensor:
        done = improve(
            policy(),
            DreamDouble(slope),
            recordings,
            offline_labels(recordings),
            config(offline_ratio=0.0),
            tmp_path / str(slope),
        )
        return done.advantage.weight.detach()

    assert not torch.equal(improved(1.0), improved(-1.0))


def test_imagines_at_most_two_chunks_from_a_recorded_moment(recordings: Recordings, tmp_path: Path) -> None:
    dream = DreamDouble()
    improve(policy(), dream, recordings, offline_labels(recordings), config(6, offline_ratio=0.0), tmp_path)
    depths = [int(state.progress.max()) for state in dream.states]
    assert depths == [0, 1] * (len(depths) // 2)


def test_history_is_in_temporal_order_one_tick_apart(recordings: Recordings) -> None:
    dream = DreamDouble()
    moments = torch.tensor([8, 2, 14])  # the second episode begins at row 12
    imagine_samples(policy(), dream, recordings, moments, config(), Generator().manual_seed(0))
    recorded, imagined = (state.latents[:, :, 0, 0, 0, 0].tolist() for state in dream.states)
    assert recorded == [[2, 3, 4, 5, 6, 7, 8], [0, 0, 0, 0, 0, 1, 2], [12, 12, 12, 12, 12, 13, 14]]
    assert imagined[0] == [4, 5, 6, 7, 8, 1008, 1008]  # the imagined ticks follow, newest last


def test_the_second_chunk_is_seen_from_where_the_first_one_led(recordings: Recordings) -> None:
    dream, moments = DreamDouble(), torch.tensor([3, 5])
    samples = imagine_samples(policy(), dream, recordings, moments, config(), Generator().manual_seed(0))
    assert samples.moment.tolist() == [3, 5, 3, 5]
    assert samples.pixels[:2].eq(50).all()
    assert samples.pixels[2:].eq(200).all()
    commanded = BOX_CLOSE.unscale_action(samples.actions[:2, -1].numpy())
    np.testing.assert_allclose(samples.proprio[2:].numpy(), commanded, atol=1e-5)


def test_next_proprioception_can_be_the_predicted_one(recordings: Recordings) -> None:
    moments = torch.tensor([3, 5])
    samples = imagine_samples(
        policy(), DreamDouble(), recordings, moments, config(next_proprio="predicted"), Generator().manual_seed(0)
    )
    torch.testing.assert_close(samples.proprio[2:], recordings.proprio[moments] + 1)


def test_the_offline_ratio_is_kept(recordings: Recordings, tmp_path: Path) -> None:
    fractions: list[float] = []
    improve(
        policy(WatchedPolicy),
        DreamDouble(),
        recordings,
        offline_labels(recordings),
        config(12, batch_size=64),
        tmp_path,
        on_progress=lambda step, figures: fractions.append(figures["batch/offline_fraction"]),
    )
    marked = [(batch["advantage"] == OFFLINE_MARK).float().mean().item() for batch in WatchedPolicy.batches]
    assert marked == pytest.approx(fractions)
    assert 0.5 < np.mean(fractions) < 0.7
    assert len(set(fractions)) > 1  # drawn row by row


def test_offline_only_imagines_nothing(recordings: Recordings, tmp_path: Path) -> None:
    dream = DreamDouble()
    improve(policy(), dream, recordings, offline_labels(recordings), config(offline_ratio=1.0), tmp_path)
    assert not dream.chunks


def test_imagined_samples_are_used_update_epochs_times_on_average() -> None:
    settings = ImproveConfig()
    rows = settings.updates_per_rollout * settings.training.batch_size * (1 - settings.offline_ratio)
    assert rows / settings.imagined_samples == pytest.approx(settings.update_epochs, rel=0.05)


@pytest.mark.parametrize(("decay", "follows"), [(1.0, False), (0.5, True)])
def test_the_proposing_copy_follows_slowly(recordings: Recordings, tmp_path: Path, decay: float, follows: bool) -> None:
    start = policy(WatchedPolicy)
    before = start.head.enter.weight.sum().item()
    settings = config(6, offline_ratio=0.0, rollout_decay=decay)
    after = improve(start, DreamDouble(), recordings, offline_labels(recordings), settings, tmp_path)
    assert start.head.enter.weight.sum().item() == before  # what is handed over is left as it is
    assert WatchedPolicy.prompts[0][1] == before
    last = WatchedPolicy.prompts[-1][1]
    assert (last != before) == follows
    assert after.head.enter.weight.sum().item() not in (before, last)


def test_the_world_model_gets_no_gradient(recordings: Recordings, tmp_path: Path) -> None:
    dream = DreamDouble()
    improve(policy(WatchedPolicy), dream, recordings, offline_labels(recordings), config(), tmp_path)
    assert dream.weight.grad is None
    assert not any(batch["advantage"].requires_grad for batch in WatchedPolicy.batches)


def test_untrusted_dreams_are_not_learnt_from(recordings: Recordings, tmp_path: Path) -> None:
    settings = config(offline_ratio=0.0, uncertainty_limit=0.3)
    improve(policy(WatchedPolicy), DreamDouble(), recordings, offline_labels(recordings), settings, tmp_path)
    learnt = torch.cat([batch["actions"] for batch in WatchedPolicy.batches])
    assert learnt[..., 0].mean(1).abs().max() <= 0.3


CLIMB: dict[str, Any] = {
    "proposals_per_state": 8,
    "ascent": 0.5,
    "proposal_temperature": 0.0,
    "exploration": ExplorationNoise(),
    "max_imagined_chunks": 1,
}


def own_chunks(dream: DreamDouble, states: int) -> Tensor:
    """What the policy itself proposed in the first rollout stage: the first of the 8 tries of each state."""
    return dream.chunks[0].unflatten(0, (states, 8))[:, 0]


def test_a_climb_learns_a_chunk_that_is_better_than_the_own(recordings: Recordings) -> None:
    dream, moments, settings = DreamDouble(), torch.tensor([3, 5]), config(**CLIMB)
    samples = imagine_samples(policy(), dream, recordings, moments, settings, Generator().manual_seed(0))
    assert samples.moment.tolist() == [3, 5]
    assert (samples.evaluated > dream.advantage_of(own_chunks(dream, 2))).all()
    assert samples.advantage.tolist() == [1.0, 1.0]


def test_frames_are_drawn_only_for_a_chunk_that_another_follows(recordings: Recordings) -> None:
    world = DreamDouble()
    settings = config(max_imagined_chunks=3)
    imagine_samples(policy(), world, recordings, torch.tensor([3]), settings, Generator().manual_seed(0))
    assert world.drawn == [True, True, False]


def test_what_a_climb_makes_worse_is_learnt_as_the_worst(recordings: Recordings) -> None:
    class Misled(DreamDouble):
        def advantage_slope(self, state: WorldState, actions: Tensor, *, generator: Any) -> tuple[Tensor, Tensor]:
            advantage, slope = super().advantage_slope(state, actions, generator=generator)
            return advantage, -slope

    dream, moments = Misled(), torch.tensor([3, 5])
    samples = imagine_samples(policy(), dream, recordings, moments, config(**CLIMB), Generator().manual_seed(0))
    assert (samples.evaluated < dream.advantage_of(own_chunks(dream, 2))).all()
    assert samples.advantage.tolist() == [-1.0, -1.0]


@given(seed=st.integers(0, 99), ascent=st.floats(0.1, 2.0))
@hypothesis_settings(deadline=None, max_examples=10)
def test_a_climb_goes_as_far_as_it_is_told_and_no_way_is_steeper(seed: int, ascent: float) -> None:
    class Slope(DreamDouble):
        def advantage_slope(self, state: WorldState, actions: Tensor, *, generator: Any) -> tuple[Tensor, Tensor]:
            self.chunks.append(actions)
            own = Generator().manual_seed(seed)
            slope = torch.randn(1, *actions.shape[1:], generator=own).expand_as(actions)
            return torch.zeros(len(actions)), slope

    flat = Recordings.of([episode(12, "demonstration", 50)], BOX_CLOSE)
    flat = replace(flat, latents=torch.arange(12.0).half().view(-1, 1, 1, 1, 1).expand(-1, 3, 1, 1, 1))
    settings = config(**{**CLIMB, "ascent": ascent})
    dream = Slope()
    samples = imagine_samples(policy(), dream, flat, torch.tensor([3]), settings, Generator().manual_seed(0))
    moved = (samples.actions - own_chunks(dream, 1))[0].double()  # (K, A)
    noise, ticks = ExplorationNoise(), torch.arange(CHUNK)
    across = noise.kept(BOX_CLOSE) ** (ticks[:, None] - ticks).abs().double()
    scaled = moved / torch.from_numpy(noise.scaled(BOX_CLOSE))
    length = torch.einsum("ka,kl,la->", scaled, torch.linalg.inv(across), scaled).sqrt()
    assert float(length) == pytest.approx(ascent, rel=1e-3)  # in standard deviations of the exploration
    slope = torch.randn(1, CHUNK, 14, generator=Generator().manual_seed(seed))[0].double()
    random = np.random.default_rng(seed)
    for _ in range(20):
        other = torch.from_numpy(noise.offsets(random.standard_normal(14), CHUNK, BOX_CLOSE, random))
        size = torch.einsum("ka,kl,la->", other, torch.linalg.inv(across), other).sqrt()
        step = other / size * ascent * torch.from_numpy(noise.scaled(BOX_CLOSE))
        assert (slope * step).sum() < (slope * moved).sum()


def test_a_climb_hardly_moves_what_gains_little(recordings: Recordings) -> None:
    class Slope(DreamDouble):
        def advantage_slope(self, state: WorldState, actions: Tensor, *, generator: Any) -> tuple[Tensor, Tensor]:
            self.chunks.append(actions)
            steepness = torch.tensor([1.0, 2.0, 9.0, 0.0]).repeat_interleave(8)[:, None, None]
            return torch.zeros(len(actions)), steepness.expand_as(actions)

    moments = torch.tensor([3, 4, 5, 6])
    dream = Slope()
    samples = imagine_samples(policy(), dream, recordings, moments, config(**CLIMB), Generator().manual_seed(0))
    moved = (samples.actions - own_chunks(dream, 4)).flatten(1).norm(dim=1)
    torch.testing.assert_close(
        moved / moved[2], torch.tensor([1.0, 2.0, 21.5**0.5, 0.0]) / 21.5**0.5, atol=1e-4, rtol=0
    )


def test_moments_after_which_nothing_happens_are_not_imagined_from() -> None:
    flat = Recordings.of([episode(12, "rollout", 50), episode(8, "rollout", 50)], BOX_CLOSE)
    progress = torch.tensor([0.0] * 5 + [0.2] + [0.4] * 6 + [0.4] * 8)  # rises at row 5, never in the second episode
    moments = torch.tensor([0, 1, 2, 3, 4, 5, 6, 10, 12, 15])
    found = eventful_moments(flat, moments, progress, ticks=3, least=0.1)
    assert found.tolist() == [2, 3, 4]
    assert eventful_moments(flat, moments, progress, ticks=3, least=0.3).tolist() == [3]
    assert eventful_moments(flat, moments, progress, ticks=3, least=0.9).tolist() == moments.tolist()


def test_settings_are_changed_by_name_those_of_the_training_too() -> None:
    climbing = ImproveConfig.climbing()
    changed = climbing.changed(steps=7, ascent=0.1)
    assert (changed.training.steps, changed.ascent) == (7, 0.1)
    assert changed.changed(steps=climbing.training.steps, ascent=climbing.ascent) == climbing
    with pytest.raises(TypeError, match="ascending"):
        climbing.changed(ascending=2)


def test_a_climb_needs_to_know_how_far_is_far() -> None:
    with pytest.raises(ValueError, match="standard deviations of exploration"):
        config(ascent=1.0)
    with pytest.raises(ValueError, match="standard deviations of exploration"):
        config(ascent=-1.0, exploration=ExplorationNoise())


class NoiseDouble(DreamDouble):
    """Its verdict is nothing but the dream's own noise."""

    def imagine(
        self, state: WorldState, actions: Tensor, *, generator: Any, drawn: bool = True
    ) -> tuple[WorldState, Imagination]:
        following, imagined = super().imagine(state, actions, generator=Generator(), drawn=drawn)
        verdict = torch.cat([torch.rand(1, generator=own) for own in generator])
        return following, replace(imagined, advantage=verdict)

    def advantage_slope(self, state: WorldState, actions: Tensor, *, generator: Any) -> tuple[Tensor, Tensor]:
        return torch.cat([torch.rand(1, generator=own) for own in generator]), torch.zeros_like(actions)


def test_what_a_climb_compares_shares_the_noise_of_the_dream(recordings: Recordings) -> None:
    settings, random = config(**{**CLIMB, "max_imagined_chunks": 2}), Generator().manual_seed(0)
    samples = imagine_samples(policy(), NoiseDouble(), recordings, torch.tensor([3, 5]), settings, random)
    assert len(samples.evaluated.unique()) == 4  # two moments, two chunks of each
    assert samples.advantage.tolist() == [0.0] * 4  # as good as the own chunk


def test_a_lower_temperature_proposes_chunks_that_are_more_alike(recordings: Recordings) -> None:
    def spread(temperature: float) -> float:
        settings = config(proposals_per_state=8, proposal_temperature=temperature, max_imagined_chunks=1)
        random = Generator().manual_seed(0)
        samples = imagine_samples(policy(), DreamDouble(), recordings, torch.tensor([3]), settings, random)
        return float(samples.actions.std(0).mean())

    assert spread(0.3) < 0.6 * spread(1.0)
    with pytest.raises(ValueError, match="proposal_temperature"):
        config(proposal_temperature=1.5)
    with pytest.raises(ValueError, match="all proposals are the same"):
        config(proposal_temperature=0.0, proposals_per_state=2)


def test_explored_proposals_deviate_smoothly(recordings: Recordings) -> None:
    noise = ExplorationNoise(joint_rad=0.05, correlation_s=2.0)
    settings = config(proposals_per_state=64, proposal_temperature=0.0, exploration=noise, max_imagined_chunks=1)
    random = Generator().manual_seed(0)
    actions = imagine_samples(policy(), DreamDouble(), recordings, torch.tensor([3]), settings, random).actions
    off = (actions - actions.mean(0))[..., 0]  # a joint: (64, K)
    assert actions.abs().max() <= 1
    assert float(off.std()) == pytest.approx(noise.scaled(recordings.task)[0], rel=0.25)
    assert (off[:, 1:] * off[:, :-1]).mean() > 0.8 * off.square().mean()


def test_quantile_spread_uses_all_bins_and_keeps_the_order(recordings: Recordings) -> None:
    moments = torch.arange(10)
    plain, ranked = (
        imagine_samples(
            policy(), DreamDouble(0.1), recordings, moments, config(spread=spread), Generator().manual_seed(0)
        )
        for spread in ("uniform", "quantile")
    )
    assert plain.advantage.argsort().equal(ranked.advantage.argsort())
    assert ranked.advantage.min() < -0.9
    assert ranked.advantage.max() > 0.9


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(recordings: Recordings, tmp_path: Path) -> None:
    labels, settings = offline_labels(recordings), config(9, save_every_steps=2)
    whole = improve(policy(), DreamDouble(), recordings, labels, settings, tmp_path / "whole")

    def interrupt(step: int, figures: dict[str, float]) -> None:
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        improve(policy(), DreamDouble(), recordings, labels, settings, tmp_path / "cut", on_progress=interrupt)
    resumed = improve(policy(), DreamDouble(), recordings, labels, settings, tmp_path / "cut")
    for name, weights in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], weights, rtol=0, atol=0)


def test_checks_see_the_averaged_policy_and_change_nothing(recordings: Recordings, tmp_path: Path) -> None:
    labels, seen = offline_labels(recordings), list[int]()

    def check(step: int, checked: FlowPolicy) -> None:
        assert not checked.training
        with torch.no_grad():
            checked.head.enter.weight.zero_()
        seen.append(step)

    quiet = improve(policy(), DreamDouble(), recordings, labels, config(4), tmp_path / "quiet")
    watched = improve(
        policy(),
        DreamDouble(),
        recordings,
        labels,
        config(4, check_every_steps=2),
        tmp_path / "watched",
        on_check=check,
    )
    assert seen == [2, 4]
    torch.testing.assert_close(watched.head.enter.weight, quiet.head.enter.weight, rtol=0, atol=0)


def test_the_policy_moves_towards_what_the_dream_rewards(recordings: Recordings, tmp_path: Path) -> None:
    settings = config(
        80, batch_size=32, rollout_batch=64, update_epochs=4, learning_rate=1e-2, offline_ratio=0.0, rollout_decay=0.9
    )
    start, imagined = policy(), list[float]()
    done = improve(
        start,
        DreamDouble(3.0),
        recordings,
        offline_labels(recordings),
        settings,
        tmp_path,
        on_progress=lambda step, figures: imagined.append(figures["imagined/advantage_mean"]),
    )
    seen = {camera: np.full((64, 64, 64, 3), 50, np.uint8) for camera in BOX_CLOSE.cameras}
    seen["proprio"] = recordings.proprio[:1].expand(64, -1).numpy()
    before, after, worst = (
        agent.act(seen, [BOX_CLOSE.instruction] * 64, asked, generator=Generator().manual_seed(0)).mean()
        for agent, asked in ((start, 1.0), (done, 1.0), (done, -1.0))
    )
    assert imagined[0] < 0.1
    assert imagined[-1] > 0.5
    assert after > before + 0.1
    assert after > worst + 0.05


def test_policy_dream_and_recordings_are_of_one_task(recordings: Recordings, tmp_path: Path) -> None:
    other, dream = FlowPolicy.of(NARROW, BRICK_SORT, chunk=CHUNK), DreamDouble()
    with pytest.raises(InvalidDataset, match=r"of task 'brick_sort' were wanted.*these are of 'box_close'"):
        improve(other, dream, recordings, offline_labels(recordings), config(), tmp_path)
    dream.task = BRICK_SORT  # type: ignore[attr-defined]
    with pytest.raises(UnsuitableEnv, match="policy is of 'box_close' and the world model of 'brick_sort'"):
        improve(policy(), dream, recordings, offline_labels(recordings), config(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_curves_show_what_the_dream_found_not_the_ranks(recordings: Recordings) -> None:
    samples = imagine_samples(
        policy(), DreamDouble(0.1), recordings, torch.arange(10), config(spread="quantile"), Generator().manual_seed(0)
    )
    plain = imagine_samples(
        policy(), DreamDouble(0.1), recordings, torch.arange(10), config(), Generator().manual_seed(0)
    )
    torch.testing.assert_close(samples.evaluated, plain.advantage)
    assert not torch.allclose(samples.evaluated, samples.advantage)


@given(seed=st.integers(0, 99))
@hypothesis_settings(deadline=None, max_examples=20)
def test_a_steady_climb_plays_no_chunk_faster(seed: int) -> None:
    class Slope(DreamDouble):
        def advantage_slope(self, state: WorldState, actions: Tensor, *, generator: Any) -> tuple[Tensor, Tensor]:
            self.chunks.append(actions)
            own = Generator().manual_seed(seed)
            return torch.zeros(len(actions)), torch.randn(1, *actions.shape[1:], generator=own).expand_as(actions)

    flat = Recordings.of([episode(12, "demonstration", 50)], BOX_CLOSE)
    flat = replace(flat, latents=torch.arange(12.0).half().view(-1, 1, 1, 1, 1).expand(-1, 3, 1, 1, 1))

    def climbed(steady: bool) -> tuple[np.ndarray, np.ndarray]:
        dream, settings = Slope(), config(**CLIMB, steady=steady)
        samples = imagine_samples(policy(), dream, flat, torch.tensor([3]), settings, Generator().manual_seed(0))
        own = own_chunks(dream, 1)
        return own[0].double().numpy(), (samples.actions - own)[0].double().numpy()

    own, free = climbed(steady=False)
    _, steady = climbed(steady=True)
    begun = BOX_CLOSE.scale_action(flat.proprio[3].numpy())
    velocity = np.gradient(np.concatenate([begun[None], own]), axis=0)[1:]
    unit = ExplorationNoise().scaled(BOX_CLOSE)
    hurry = velocity * np.arange(1, CHUNK + 1)[:, None] / unit
    free_part, steady_part = (free / unit * hurry).sum(), (steady / unit * hurry).sum()
    if free_part <= 0:
        np.testing.assert_allclose(steady, free, atol=1e-6)
        return
    assert -1e-4 <= steady_part <= free_part * CHUNK / ((hurry**2).sum() + CHUNK) + 1e-4
    left_out = (free - steady) / unit  # nothing but haste
    np.testing.assert_allclose(left_out, hurry * (left_out * hurry).sum() / (hurry**2).sum(), atol=1e-4)
