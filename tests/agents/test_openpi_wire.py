"""openpi's encoding byte by byte, what is refused of it, and the layouts of observations and actions."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

pytest.importorskip("msgpack", reason="the extra `openpi` is not installed")

from rise_gym.agents.openpi_layout import ALOHA, DROID, LAYOUTS, RISE, Layout, resized
from rise_gym.agents.openpi_wire import pack, unpack
from rise_gym.errors import InvalidMessage, MissingPackage
from rise_gym.tasks import BOX_CLOSE

# Written by hand from msgpack's specification: a map of one; text of 7; a map of four with bin 8 keys.
ARRAY = (
    b"\x81\xa7actions\x84"
    b"\xc4\x0b__ndarray__\xc3"
    b"\xc4\x04data\xc4\x08\x00\x00\x80\x3f\x00\x00\x00\xc0"  # 1.0 and -2.0, little-endian
    b"\xc4\x05dtype\xa3<f4"
    b"\xc4\x05shape\x92\x01\x02"
)
SCALAR = b"\x83\xc4\x0d__npgeneric__\xc3\xc4\x04data\x07\xc4\x05dtype\xa3<i8"


def test_an_array_byte_by_byte() -> None:
    actions = np.array([[1.0, -2.0]], np.float32)
    assert pack({"actions": actions}) == ARRAY
    found = unpack(ARRAY)["actions"]
    assert (found.dtype, found.shape, found.tolist()) == (np.float32, (1, 2), [[1.0, -2.0]])
    found[0, 0] = 3  # a copy, which may be written to


def test_a_scalar_byte_by_byte() -> None:
    assert pack(np.int64(7)) == SCALAR
    assert unpack(SCALAR) == np.int64(7)
    assert isinstance(unpack(SCALAR), np.int64)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "<i2", ">i4", "float16", "float64"])
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_round_trip(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    found = unpack(pack({"nested": [array, "text", None, 1.5]}))["nested"]
    np.testing.assert_array_equal(found[0], array)
    assert found[0].dtype == array.dtype
    assert found[1:] == ["text", None, 1.5]


def test_views_are_sent_in_order() -> None:
    picture = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    np.testing.assert_array_equal(unpack(pack(np.moveaxis(picture, -1, 0))), np.moveaxis(picture, -1, 0))


@pytest.mark.parametrize("value", [np.array([object()]), np.array([1j]), np.array(["a"]), {1, 2}, 2**70])
def test_what_has_no_encoding(value: Any) -> None:
    with pytest.raises(InvalidMessage, match="can be sent"):
        pack({"value": value})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (ARRAY[:-1], "bytes came that are none"),
        (b"\xc1", "bytes came that are none"),
        (b"\x91" * 2000 + b"\x00", "bytes came that are none"),
        (ARRAY.replace(b"\xa3<f4", b"\xa1O"), "dtype 'O' came"),
        (ARRAY.replace(b"\xa3<f4", b"\xa3|V4"), "numbers or booleans"),
        (ARRAY.replace(b"\xa3<f4", b"\xa5f4,f4"), "numbers or booleans"),
        (ARRAY.replace(b"\xa3<f4", b"\xa3<f8"), "has 16 bytes, 8 came"),
        (ARRAY[:-1] + b"\x7f", "has 508 bytes, 8 came"),
        (ARRAY[:-2] + b"\xff\xfe", "list of sizes"),
        (ARRAY.replace(b"\x92\x01\x02", b"\x02"), "list of sizes"),
        (SCALAR.replace(b"\x07", b"\xa1x"), "a number was wanted"),
        (SCALAR.replace(b"\x07", b"\xcd\x01\x2c").replace(b"<i8", b"|u1"), "bytes came that are none"),
    ],
)
def test_what_is_refused(wrong: bytes, message: str) -> None:
    with pytest.raises(InvalidMessage, match=message):
        unpack(wrong)


def test_a_missing_package_names_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "msgpack", None)
    with pytest.raises(MissingPackage, match=r"pip install 'rise-gym\[openpi\]'"):
        pack(1)


# -- layouts ----------------------------------------------------------------------------------------------------------


def seen(seed: int = 0) -> dict[str, np.ndarray]:
    """One observation of the task: noise, joints within range."""
    rng = np.random.default_rng(seed)
    pictures = {camera: rng.integers(0, 256, (64, 64, 3), np.uint8) for camera in BOX_CLOSE.cameras}
    return {**pictures, "proprio": rng.uniform(BOX_CLOSE.action_low, BOX_CLOSE.action_high).astype(np.float32)}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=list(LAYOUTS))
def test_there_and_back(layout: Layout) -> None:
    observation = seen()
    request = unpack(pack(layout.request(observation, "tidy up", BOX_CLOSE, None)))
    back = layout.observation(request, BOX_CLOSE)
    assert request["prompt"] == "tidy up"
    for name, column in observation.items():
        assert back[name].dtype == column.dtype
        np.testing.assert_array_equal(back[name], column)
    chunk = np.random.default_rng(1).uniform(-1, 1, (5, 14))
    np.testing.assert_allclose(layout.from_wire(layout.to_wire(chunk, BOX_CLOSE), BOX_CLOSE), chunk, atol=1e-12)


def test_as_openpi_names_them() -> None:
    observation = seen()
    observation["proprio"][[6, 13]] = 0.0, 0.08
    plain = RISE.request(observation, "go", BOX_CLOSE, None)
    assert set(plain) == {"observation/head", "observation/left_wrist", "observation/right_wrist", "state", "prompt"}
    aloha = ALOHA.request(observation, "go", BOX_CLOSE, 224)
    assert {name: picture.shape for name, picture in aloha["images"].items()} == dict.fromkeys(
        ("cam_high", "cam_left_wrist", "cam_right_wrist"), (3, 224, 224)
    )
    np.testing.assert_allclose(aloha["state"][[6, 13]], [0.0, 0.8], atol=1e-6)
    droid = DROID.request(observation, "go", BOX_CLOSE, None)
    np.testing.assert_allclose(droid["observation/gripper_position"], [1.0, 0.2], atol=1e-6)
    np.testing.assert_array_equal(
        droid["observation/joint_position"].astype(np.float32), np.delete(observation["proprio"], [6, 13])
    )


def test_resizing_pads() -> None:
    picture = np.full((48, 64, 3), 200, np.uint8)
    square = resized(picture, (224, 224))
    assert square.shape == (224, 224, 3)
    assert np.flatnonzero(square[:, 112, 0])[[0, -1]].tolist() == [28, 195]
    assert (square[28:196] == 200).all()
    assert resized(picture, (48, 64)) is picture


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"state": np.zeros(32)}, "14 numbers of proprioception .* 32 came"),
        ({"state": np.full(14, np.nan)}, "finite"),
        ({"state": "zero"}, "numbers were wanted in 'state'"),
        ({"observation/head": np.zeros((64, 64, 3), np.float32)}, "float32 .64, 64, 3. came"),
        ({"observation/head": np.zeros((1, 64, 64, 3), np.uint8)}, "one picture a message"),
        ({"observation/head": None}, "picture"),
    ],
)
def test_observations_that_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidMessage, match=message):
        RISE.observation({**RISE.request(seen(), "go", BOX_CLOSE, None), **change}, BOX_CLOSE)


def test_another_layout_is_told() -> None:
    with pytest.raises(InvalidMessage, match=r"'images' was wanted, .*'state' came; the layout is 'aloha'.*--layout"):
        ALOHA.observation(RISE.request(seen(), "go", BOX_CLOSE, None), BOX_CLOSE)
