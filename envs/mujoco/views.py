"""Drawing: named cameras of a MuJoCo model as uint8 images, off screen and without shadows.

MuJoCo's own `Renderer` belongs to one model; here every episode has its own model, so the OpenGL context is kept and
the model is an argument. One context a process, thread and image size.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
import threading
from collections.abc import Sequence

import mujoco
import numpy as np
from numpy.typing import NDArray

from rise_gym.errors import RenderingUnavailable

_WAY_OUT = (
    "set MUJOCO_GL=egl (Debian, Ubuntu: apt install libegl1 libgl1-mesa-dri) or MUJOCO_GL=osmesa "
    "(apt install libosmesa6) before Python starts; the imagined environment needs no OpenGL"
)
_EMPTY_MODEL = "<mujoco><visual><global offwidth='{width}' offheight='{height}'/></visual><worldbody/></mujoco>"


def _backends() -> tuple[str, ...]:
    """What MUJOCO_GL asks for; without it, off-screen EGL, then OSMesa; elsewhere than on Linux the platform's own."""
    asked = os.environ.get("MUJOCO_GL", "").lower().strip()
    if asked:
        return (asked,)
    return ("egl", "osmesa") if sys.platform.startswith("linux") else ("cgl" if sys.platform == "darwin" else "glfw",)


class Painter:
    """An OpenGL context for images of one size."""

    def __init__(self, height: int, width: int) -> None:
        self._size = (height, width)
        self._context = self._open_context()
        model = mujoco.MjModel.from_xml_string(_EMPTY_MODEL.format(width=width, height=height))
        self._gl = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._gl)
        self._scene = mujoco.MjvScene(model, maxgeom=400)
        self._option = mujoco.MjvOption()
        self._option.flags[mujoco.mjtVisFlag.mjVIS_TENDON] = False
        self._viewport = mujoco.MjrRect(0, 0, width, height)

    def _open_context(self) -> object:
        height, width = self._size
        refusals = []
        for backend in _backends():
            try:
                context = importlib.import_module(f"mujoco.{backend}").GLContext(width, height)
                context.make_current()
                return context
            except Exception as error:  # each driver fails in its own way: missing library, no device, no symbol
                refusals.append(f"{backend}: {type(error).__name__}: {str(error)[:120]}")
        raise RenderingUnavailable(
            f"the replica's camera images need off-screen OpenGL, and none opened ({'; '.join(refusals)}); {_WAY_OUT}"
        )

    def paint(self, model: mujoco.MjModel, data: mujoco.MjData, cameras: Sequence[str]) -> dict[str, NDArray[np.uint8]]:
        """One fresh image (H, W, 3) a camera. Kinematics and lights of `data` must be up to date."""
        self._context.make_current()  # type: ignore[attr-defined]
        return {name: self._paint_one(model, data, name) for name in cameras}

    def _paint_one(self, model: mujoco.MjModel, data: mujoco.MjData, camera: str) -> NDArray[np.uint8]:
        view = mujoco.MjvCamera()
        view.type = mujoco.mjtCamera.mjCAMERA_FIXED
        view.fixedcamid = model.camera(camera).id
        mujoco.mjv_updateScene(model, data, self._option, None, view, mujoco.mjtCatBit.mjCAT_ALL.value, self._scene)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = (
            0  # after the update: it sets the flags; 5 to 20 times faster
        )
        self._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
        mujoco.mjr_render(self._viewport, self._scene, self._gl)
        image = np.empty((*self._size, 3), dtype=np.uint8)
        mujoco.mjr_readPixels(image, None, self._viewport, self._gl)
        return np.ascontiguousarray(image[::-1])


@functools.lru_cache(maxsize=16)
def _painter(height: int, width: int, process: int, thread: int) -> Painter:
    del process, thread  # an OpenGL context survives neither a fork nor a change of thread
    return Painter(height, width)


def painter(size: tuple[int, int]) -> Painter:
    """The painter for (H, W) images of this process and thread.

    Raises:
        RenderingUnavailable: no OpenGL could be opened.
    """
    return _painter(*size, os.getpid(), threading.get_ident())
