"""What every scene stands in, as MJCF: the light, and the table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

Light = tuple[float, float, float, float]
"""Of the lamp x, y in m and its diffuse part; of all light the ambient part."""


def visual(light: Light) -> str:
    """How the renderer sees: what light is everywhere, and how near and far."""
    ambient = light[3]
    headlight = f'diffuse="0.25 0.25 0.25" ambient="{ambient} {ambient} {ambient}" specular="0 0 0"'
    return f'<visual><headlight {headlight}/><map znear="0.005" zfar="3"/></visual>'


def lamp_and_table(light: Light, color: str, *, friction: float = 0.1) -> str:
    """A lamp that shines towards the middle, the plane that things lie on, and the board that is seen."""
    x, y, diffuse, _ = light
    return f"""
<light pos="{x} {y} 1.6" dir="{-0.4 * x} {-0.4 * y} -1" diffuse="{diffuse} {diffuse} {diffuse}" specular="0 0 0"/>
<geom name="table" type="plane" size="1.2 1.2 0.1" contype="1" conaffinity="0" friction="{friction} 0.005 0.0001" rgba="0 0 0 0"/>
<geom name="table_top" type="box" pos="0.3 0 -0.02" size="0.7 0.8 0.0199" contype="0" conaffinity="0" mass="0" rgba="{color} 1"/>"""


def rgb_texts(names: Iterable[str], drawn: Iterable[Sequence[float]]) -> Mapping[str, str]:
    """Colours as a start drew them, each channel kept visible, by what has them."""
    return {
        name: " ".join(f"{max(0.02, min(1, channel)):.3f}" for channel in rgb)
        for name, rgb in zip(names, drawn, strict=True)
    }
