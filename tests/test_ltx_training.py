"""The full-size dynamics in training, tiny: alone and on two processes, which must make no difference."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from ltx_training_process import moving_squares, settings, trained
from tiny_ltx import tiny_codec, tiny_dynamics

from rise_gym._ranks import Ranks
from rise_gym.errors import InvalidCheckpoint, InvalidDataset, InvalidTraining
from rise_gym.ltx_dynamics import LTXDynamics
from rise_gym.ltx_training import clip_loss, clip_window, drawn_noise, train_ltx_dynamics

STEPS = 4


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[LTXDynamics, dict[int, float]]:
    """A model trained by this process, and its losses."""
    return trained(tmp_path_factory.mktemp("alone"), STEPS, None)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes wrote."""
    folder = tmp_path_factory.mktemp("together")
    script = Path(__file__).with_name("ltx_training_process.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    where = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [*command, str(script), str(folder), str(STEPS)], env=where, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


@pytest.mark.parametrize("mode", ["parallel", "sharded"])
def test_two_processes_learn_what_one_does_with_the_whole_batch(
    mode: str, together: Path, alone: tuple[LTXDynamics, dict[int, float]]
) -> None:
    model, losses = alone
    found = {int(step): loss for step, loss in json.loads((together / mode / "losses.json").read_text()).items()}
    assert found == pytest.approx(losses, rel=1e-5)
    other = LTXDynamics.from_pretrained(together / mode / "model")
    torch.testing.assert_close(dict(other.state_dict()), dict(model.state_dict()), rtol=1e-3, atol=2e-4)


def test_two_processes_learn_about_the_same_in_half_precision(
    together: Path, alone: tuple[LTXDynamics, dict[int, float]]
) -> None:
    found = {int(step): loss for step, loss in json.loads((together / "sharded_half/losses.json").read_text()).items()}
    wanted = {step: alone[1][step] for step in (1, 2)}
    assert found == pytest.approx(wanted, rel=0.02)
    assert all(found[step] != pytest.approx(wanted[step], rel=1e-6) for step in wanted)  # it was half precision
    other = LTXDynamics.from_pretrained(together / "sharded_half" / "model")
    assert {weights.dtype for weights in other.parameters()} == {torch.float32}


def test_one_process_goes_on_with_the_run_of_two(together: Path, alone: tuple[LTXDynamics, dict[int, float]]) -> None:
    _, losses = trained(together / "halfway", STEPS, None)
    assert list(losses) == [3, 4]
    assert losses == pytest.approx({step: alone[1][step] for step in (3, 4)}, rel=1e-4)


def test_it_learns_the_actions(tmp_path: Path) -> None:
    recordings, codec = moving_squares(), tiny_codec()
    config = replace(settings(20, schedule="cosine"), gradient_checkpointing=False)
    before = LTXDynamics.of(config.dynamics.fitted(recordings.task, codec.compression), recordings.task)
    after = train_ltx_dynamics(recordings, codec, config, tmp_path, initial=before)
    moments = torch.arange(len(recordings))[::7]
    noise = drawn_noise(before, len(moments), config, torch.Generator().manual_seed(9))
    window = clip_window(recordings, moments, before)
    cpu = torch.device("cpu")
    errors = [float(clip_loss(model.eval(), codec, window, noise, cpu)[0].detach()) for model in (before, after)]
    assert errors[1] < 0.8 * errors[0]
    assert any(bool(p.detach().any()) for p in after.action_encoder.leave[-1].parameters())


def test_an_initial_model_of_another_shape_is_refused(tmp_path: Path) -> None:
    codec, recordings = tiny_codec(), moving_squares(1)
    of_two_views = tiny_dynamics(codec)
    of_two_views.network.view_embedding = torch.nn.Parameter(of_two_views.network.view_embedding[:2].detach())
    for initial, wrong in (
        (tiny_dynamics(codec, latent_size=(2, 2)), r"4 x 4 latents .* wanted, .* the initial one is of 2 x 2"),
        (of_two_views, r"(?s)does not fit the task 'box_close' .*view_embedding"),
    ):
        with pytest.raises(InvalidCheckpoint, match=wrong):
            train_ltx_dynamics(recordings, codec, settings(1), tmp_path, initial=initial)


def test_only_frames_that_were_recorded_teach() -> None:
    recordings, codec = moving_squares(2), tiny_codec()
    model = tiny_dynamics(codec)
    near_the_end = recordings.last[:1] - 9  # nine frames happened: the first, and the next eight
    window = clip_window(recordings, near_the_end, model)
    assert window.happened.tolist() == [[True, True, False]]
    assert window.future.shape == (1, 17, 3, 64, 64, 3)
    noise = drawn_noise(model, 1, settings(1), torch.Generator().manual_seed(0))
    loss, _ = clip_loss(model, codec, window, noise, torch.device("cpu"))
    later = window._replace(future=torch.cat([window.future[:, :9], window.future[:, 9:].flip(1) // 2], dim=1))
    other, _ = clip_loss(model, codec, later, noise, torch.device("cpu"))
    # frames that did not happen are still seen by the network as part of its noisy input, but not aimed at
    assert float((loss - other).abs().detach()) < 0.5 * float(loss.detach())


def test_checkpointing_changes_nothing_but_memory() -> None:
    recordings, codec = moving_squares(2), tiny_codec()
    window = clip_window(recordings, torch.tensor([3, 8]), model := tiny_dynamics(codec))
    noise = drawn_noise(model, 2, settings(1), torch.Generator().manual_seed(0))
    gradients = []
    for wanted in (False, True):
        model.set_gradient_checkpointing(wanted)
        model.zero_grad()
        clip_loss(model, codec, window, noise, torch.device("cpu"))[0].backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(list(model.parameters()))
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")  # a normalisation that is not fused then
def test_half_precision_learns_about_the_same() -> None:
    recordings, codec = moving_squares(2), tiny_codec()
    window = clip_window(recordings, torch.tensor([3, 8]), model := tiny_dynamics(codec))
    noise = drawn_noise(model, 2, settings(1), torch.Generator().manual_seed(0))
    losses = []
    for half in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            losses.append(clip_loss(model, codec, window, noise, torch.device("cpu"))[0])
    losses[1].backward()
    assert losses[1].dtype == torch.float32
    assert float(losses[1].detach()) == pytest.approx(float(losses[0].detach()), rel=0.02)
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters())


def test_what_cannot_be_trained_on_is_refused(tmp_path: Path) -> None:
    recordings, codec = moving_squares(2), tiny_codec()
    with pytest.raises(InvalidDataset, match="frames kept"):
        train_ltx_dynamics(recordings.without_frames(), codec, settings(1), tmp_path)
    pair = Ranks(None)
    pair.count = 2
    with pytest.raises(InvalidTraining, match="2 processes can share was wanted, got 5"):
        pair.rows(5)
