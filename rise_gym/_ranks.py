"""Several processes that train one module together, under Accelerate: each takes its rows of every batch.

Data-parallel, each process holds the whole module and gradients are averaged. Sharded (PyTorch's `fully_shard`, what
FSDP 2 is), each holds its share of weights, gradients and the optimiser's memory, and fetches a block's weights when
that is due. Accelerate itself shards on accelerators only; done directly it is the same on CPUs, so that tests see it.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from rise_gym.errors import InvalidTraining

if TYPE_CHECKING:
    from accelerate import Accelerator


class Ranks:
    """The processes of a run, seen from one of them; a run without Accelerate is a single one.

    Args:
        accelerator: who they are, where each computes, and in what precision; None for this process alone, where its
            module lies.
        sharded: whether each holds only its share of the module.
    """

    def __init__(self, accelerator: Accelerator | None, *, sharded: bool = False) -> None:
        self._accelerator, self._sharded = accelerator, sharded and accelerator is not None
        self.count = 1 if accelerator is None else int(accelerator.num_processes)
        self.index = 0 if accelerator is None else int(accelerator.process_index)
        self.main = self.index == 0

    def spread(self, module: nn.Module, units: Iterable[nn.Module] = ()) -> nn.Module:
        """Put a module on this process's device; returns what has to be called in its stead while training.

        units: parts of it whose weights are fetched one at a time, where it is sharded: its blocks.

        Raises:
            InvalidTraining: if it is to be sharded over a single process.
        """
        if self._accelerator is None:
            return module
        if not self._sharded:
            prepared: nn.Module = self._accelerator.prepare_model(module)
            return prepared
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

        check_shared(self.count, processes=self.count, sharded=True)
        device = self._accelerator.device
        mesh = init_device_mesh(device.type, (self.count,))
        half = torch.bfloat16 if self._accelerator.mixed_precision == "bf16" else None
        precision = MixedPrecisionPolicy(param_dtype=half, reduce_dtype=torch.float32, cast_forward_inputs=False)
        module.to(device)
        for unit in (*units, module):
            fully_shard(unit, mesh=mesh, mp_policy=precision)
        return module

    def rows(self, batch: int) -> Tensor:
        """Which rows of a batch are this process's.

        Raises:
            InvalidTraining: if the processes can't have equally many.
        """
        check_shared(batch, processes=self.count)
        return torch.arange(self.index, batch, self.count)

    def autocast(self) -> AbstractContextManager[Any]:
        """The precision that a loss is computed in."""
        if self._accelerator is None:
            return nullcontext()
        context: AbstractContextManager[Any] = self._accelerator.autocast()
        return context

    def mean(self, value: Tensor) -> Tensor:
        """A scalar averaged over all processes."""
        if self.count == 1:
            return value
        assert self._accelerator is not None
        averaged: Tensor = self._accelerator.reduce(value.detach().clone(), reduction="mean")
        return averaged

    def agreed(self, value: float) -> float:
        """The main process's number, so that all decide alike."""
        if self.count == 1:
            return value
        assert self._accelerator is not None
        shared = torch.tensor(value, dtype=torch.float64, device=self._accelerator.device)
        torch.distributed.broadcast(shared, src=0)
        return float(shared)

    def whole(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Copies of tensors, put together from all processes' shares; only the main process gets any.

        All processes have to call it.
        """
        found = {}
        for name, tensor in tensors.items():
            complete = _complete(tensor)
            if self.main:
                found[name] = complete.detach().contiguous().clone()
        return found

    def placed(self, tensor: Tensor, like: Tensor) -> Tensor:
        """A whole tensor as `like` is held: this process's share of it, where that is sharded."""
        from torch.distributed.tensor import DTensor, distribute_tensor

        if not isinstance(like, DTensor) or tensor.shape != like.shape:
            return tensor
        return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)


def check_shared(batch: int, *, processes: int, sharded: bool = False) -> None:
    """Refuse a batch of which processes can't have equally many rows, and shares of a module for a single process.

    Raises:
        InvalidTraining: says which.
    """
    if sharded and processes == 1:
        raise InvalidTraining(
            "a module is sharded over several processes, this is one: start more (`torchrun --nproc-per-node N -m "
            "rise_gym ...`), or leave out --sharded"
        )
    if batch < 1 or batch % processes:
        raise InvalidTraining(f"a batch size that {processes} processes can share was wanted, got {batch}")


def _complete(tensor: Tensor) -> Tensor:
    """A tensor of which processes may hold shares."""
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def norm_clipped(parameters: Iterable[nn.Parameter], most: float) -> float:
    """Shrink gradients to a norm of at most so much; returns what it was."""
    return float(_complete(nn.utils.clip_grad_norm_(parameters, most)))
