"""openpi's encoding on the wire: msgpack, in which arrays and numpy's scalars are maps with keys of bytes.

    array   {b"__ndarray__": true, b"data": its bytes in C order, b"dtype": "<f4", b"shape": [10, 14]}
    scalar  {b"__npgeneric__": true, b"data": its value, b"dtype": "<f4"}

Numbers and booleans only: nothing that comes over a socket is unpickled, nor believed about its own size.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rise_gym.errors import InvalidMessage, MissingPackage

INSTALL = "pip install 'rise-gym[openpi]'"
LARGEST_MESSAGE_BYTES = 64 * 2**20
"""Three pictures of 1920 x 1080 are 19 MB."""

_KINDS = "biuf"  # of numpy's dtypes: bool, int, unsigned, float


def require_packages() -> None:
    """Check that what speaks openpi's protocol is installed.

    Raises:
        MissingPackage: if `msgpack` or `websockets` is not.
    """
    try:
        import msgpack  # noqa: F401
        import websockets.sync.client  # noqa: F401
    except ImportError as error:
        raise MissingPackage(f"openpi's protocol needs packages that are not installed ({error}): {INSTALL}") from error


def pack(value: Any) -> bytes:
    """Plain data, arrays and numpy's scalars of any shape, in dicts and lists -> bytes.

    Raises:
        InvalidMessage: if something in it has no encoding. MissingPackage: without the extra `openpi`.
    """
    require_packages()
    import msgpack

    try:
        packed: bytes = msgpack.packb(value, default=_encoded)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidMessage(f"numbers, text, arrays of numbers, dicts and lists can be sent; {error}") from error
    return packed


def unpack(message: bytes) -> Any:
    """The reverse; arrays are copies that may be written to.

    Raises:
        InvalidMessage: if it is no such encoding, or says something else than it holds.
        MissingPackage: without the extra `openpi`.
    """
    require_packages()
    import msgpack

    try:
        return msgpack.unpackb(message, object_hook=_decoded)
    except InvalidMessage:
        raise
    except (ValueError, TypeError, OverflowError, msgpack.UnpackException) as error:
        raise InvalidMessage(
            f"msgpack with openpi's arrays was wanted, {len(message)} bytes came that are none ({error}); "
            "does the other side speak openpi's protocol?"
        ) from error


def _encoded(value: Any) -> dict[bytes, Any]:
    if not isinstance(value, np.ndarray | np.generic):
        raise TypeError(f"{type(value).__name__} has no encoding")
    if value.dtype.kind not in _KINDS:
        raise TypeError(f"arrays of {value.dtype} have no encoding")
    if isinstance(value, np.generic):
        return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}
    return {b"__ndarray__": True, b"data": value.tobytes(), b"dtype": value.dtype.str, b"shape": value.shape}


def _decoded(fields: dict[Any, Any]) -> Any:
    if b"__ndarray__" in fields:
        return _array(fields)
    if b"__npgeneric__" in fields:
        value = fields.get(b"data")
        if not isinstance(value, bool | int | float):
            raise InvalidMessage(f"a number was wanted in a numpy scalar, {type(value).__name__} came")
        return _dtype(fields).type(value)
    return fields


def _array(fields: dict[Any, Any]) -> NDArray[Any]:
    dtype, shape, data = _dtype(fields), fields.get(b"shape"), fields.get(b"data")
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        raise InvalidMessage(f"an array's shape has to be a list of sizes, {shape!r} came")
    wanted = math.prod(shape) * dtype.itemsize
    if not isinstance(data, bytes) or len(data) != wanted:
        came = f"{len(data)} came" if isinstance(data, bytes) else f"{type(data).__name__} came"
        raise InvalidMessage(f"an array of shape {tuple(shape)} and dtype {dtype} has {wanted} bytes, {came}")
    return np.ndarray(shape, dtype, buffer=data).copy()


def _dtype(fields: dict[Any, Any]) -> np.dtype[Any]:
    text = fields.get(b"dtype")
    try:
        dtype = np.dtype(text if isinstance(text, str) else "O")
    except (TypeError, ValueError, SyntaxError):
        dtype = np.dtype("O")
    if dtype.kind not in _KINDS:
        raise InvalidMessage(f"arrays of numbers or booleans were wanted, one of dtype {text!r} came")
    return dtype
