"""Camera frames to h264 and back, frame by frame, many episodes a file.

A constant quantiser and a key frame at every episode's start make what an episode decodes to independent of the
file it ended up in. Full chroma (4:4:4) costs a fifth more bytes and keeps small, saturated objects: halved chroma
loses more than 10 dB on 64 × 64 frames.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

CODEC = "h264"
PIXEL_FORMAT = "yuv444p"
_ENCODER = "libx264"
_OPTIONS = {"qp": "14", "g": "20", "bf": "0", "forced-idr": "1", "preset": "medium"}


def encode_clips(clips: Sequence[NDArray[np.uint8]], fps: float) -> bytes:
    """Clips uint8 (N, H, W, 3), one after the other -> the bytes of one mp4; each starts with a key frame."""
    target = io.BytesIO()
    _, height, width, _ = clips[0].shape
    reformatter = VideoReformatter()
    with av.open(target, "w", format="mp4") as container:
        stream = container.add_stream(_ENCODER, rate=Fraction(fps).limit_denominator(1000))
        stream.width, stream.height, stream.pix_fmt, stream.options = width, height, PIXEL_FORMAT, dict(_OPTIONS)
        stream.codec_context.thread_count = 1  # what is written may not depend on the number of cores
        for clip in clips:
            for number, image in enumerate(clip):
                frame = VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
                frame = reformatter.reformat(frame, format=PIXEL_FORMAT)
                frame.pict_type = PictureType.I if number == 0 else PictureType.NONE
                container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return target.getvalue()


def decode_clips(path: Path, spans: Sequence[tuple[int, int]]) -> Iterator[NDArray[np.uint8]]:
    """Frames `first` to `first + length` of each span (sorted, not overlapping), uint8 (N, H, W, 3).

    A file that ends early gives a short last clip; the caller knows what to say about it.

    Raises:
        OSError, av.FFmpegError: if the file can't be opened or decoded.
    """
    reformatter = VideoReformatter()
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        frames = container.decode(stream)
        position = 0
        for first, length in spans:
            skipped = sum(1 for _ in islice(frames, first - position))
            kept = [reformatter.reformat(f, format="rgb24").to_ndarray() for f in islice(frames, length)]
            position += skipped + len(kept)
            size = (0, stream.height, stream.width, 3)
            yield np.stack(kept) if kept else np.empty(size, dtype=np.uint8)
