"""How far off the progress that a dream says was gained may be: a small network that knows where the others err."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from rise_gym.instruction import InstructionEncoder
from rise_gym.tasks import TaskCard, task_card

__all__ = ["Claim", "ProgressUncertainty", "ProgressUncertaintyConfig"]

_SMALLEST = 1e-4  # of an uncertainty: no claim is surer than that
_NARROWEST = 1e-3
_FARTHEST = 5.0  # standard deviations: what lies farther off than anything that was learnt from is not told apart


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a world model says of a chunk, and of what it says it.

    Attributes:
        progress: (B,) before the chunk. gain: (B, K) since then at each tick, as expected. seen: (B,) what the value
            reads from the last frame.
        later: (B, L) gains expected some time after the chunk; L may be 0.
        uncertainty: (B,) of the frames.
        proprio: (B, P) before the chunk, in rad and m. actions: (B, K, A) in [-1, 1].
        instruction: one a row.
    """

    progress: Tensor
    gain: Tensor
    seen: Tensor
    later: Tensor
    uncertainty: Tensor
    proprio: Tensor
    actions: Tensor
    instruction: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class ProgressUncertaintyConfig:
    """Size of a `ProgressUncertainty`.

    Attributes:
        chunk: K. later: L, see `Claim`. hidden: width of its two layers. dropout: while it learns.
    """

    chunk: int = 10
    later: int = 0
    hidden: int = 64
    dropout: float = 0.2


class ProgressUncertainty(ModelMixin, ConfigMixin):
    """The expected absolute error of the progress that a chunk is said to gain.

    Which claims are doubtful is learnt from dreams of recorded actions, in episodes that the other parts did not learn
    from: they err less on those they know.

    Args:
        task: name of the task, whose card gives the numbers of joints and actions.
        The others: see `ProgressUncertaintyConfig`.
    """

    @register_to_config
    def __init__(
        self, task: str = "box_close", chunk: int = 10, later: int = 0, hidden: int = 64, dropout: float = 0.2
    ) -> None:
        super().__init__()
        card = task_card(task)
        numbers = 3 + chunk + later + len(card.proprio_names) + 2 * len(card.action_names)
        self.register_buffer("mean", torch.zeros(numbers))
        self.register_buffer("deviation", torch.ones(numbers))
        self.enter = nn.Linear(numbers, hidden)
        self.instruction = InstructionEncoder(hidden)
        self.leave = nn.Sequential(
            nn.SiLU(), nn.Dropout(dropout), nn.Linear(hidden, hidden), nn.SiLU(), nn.Dropout(dropout),
            nn.Linear(hidden, 1),
        )  # fmt: skip

    @classmethod
    def of(cls, config: ProgressUncertaintyConfig, task: TaskCard) -> ProgressUncertainty:
        """An untrained one for a task."""
        return cls(task=task.name, **asdict(config))

    def forward(self, claim: Claim) -> Tensor:
        """Expected absolute errors (B,), in units of progress."""
        return self.log_error(self.numbers(claim), claim.instruction).exp().clamp(min=_SMALLEST)

    def log_error(self, numbers: Tensor, instruction: Sequence[str]) -> Tensor:
        """Logarithms (B,) of expected absolute errors, from the `numbers` (B, D) of claims."""
        usual = ((numbers - self.mean) / self.deviation).clamp(-_FARTHEST, _FARTHEST)
        found: Tensor = self.leave(self.enter(usual) + self.instruction(instruction)).squeeze(-1)
        return found

    def numbers(self, claim: Claim) -> Tensor:
        """A claim as plain numbers (B, D); of a chunk shorter than K the last tick is held."""
        chunk, batch = int(self.config.chunk), len(claim.progress)
        ticks = torch.arange(chunk, device=claim.gain.device).clamp(max=claim.gain.shape[1] - 1)
        gain, actions = claim.gain[:, ticks], claim.actions[:, ticks]
        later = claim.later.new_zeros(batch, int(self.config.later))
        later[:, : claim.later.shape[1]] = claim.later
        columns = (
            claim.progress[:, None],
            gain,
            (claim.seen - claim.progress)[:, None],
            later,
            claim.uncertainty.clamp(min=_SMALLEST).log()[:, None],
            claim.proprio,
            actions.mean(1),
            actions[:, -1] - actions[:, 0],
        )
        return torch.cat([column.float() for column in columns], dim=1)

    @torch.no_grad()
    def standardise(self, numbers: Tensor) -> None:
        """Take mean and deviation of each number from those of the claims (N, D) that are learnt from.

        What hardly varied there says nothing, so it is not scaled up.
        """
        deviation = numbers.std(0)
        self.mean.copy_(numbers.mean(0))
        self.deviation.copy_(torch.where(deviation > _NARROWEST, deviation, 1.0))
