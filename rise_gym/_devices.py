"""Where tensors can be put on this machine."""

from __future__ import annotations

import torch

from rise_gym.errors import UnavailableDevice


def usable_device(device: str | torch.device) -> torch.device:
    """What torch calls it, once a tensor has been put there.

    Raises:
        UnavailableDevice: if torch knows no such device, or has none here.
    """
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:  # torch raises either where CUDA is not there
        reason = str(error).splitlines()[0]
        raise UnavailableDevice(
            f"device {str(device)!r} can't be used here ({reason}): use 'cpu', or one that `rise-gym doctor` sees"
        ) from error
