"""rise_gym: robot policies that improve inside a learned world model, behind `gym.make`.

Importing this package registers the environments and loads nothing heavier than gymnasium.
"""

from __future__ import annotations

import gymnasium  # noqa: F401

__version__ = "0.1.0"
