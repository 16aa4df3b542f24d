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
from typing import Any

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


def frames_near(
    path: Path, start_s: float, end_s: float, wanted_s: NDArray[np.floating], fps: float
) -> Iterator[tuple[NDArray[np.uint8], float]]:
    """For each wanted second (n,), rising from 0, the nearest frame of a clip, uint8 (H, W, 3), and how far off it is.

    The clip begins `start_s` into the file and ends before `end_s`; of its neighbours in the file nothing is shown.

    Raises:
        OSError, av.FFmpegError: if the file can't be opened or decoded.
        IndexError: if the clip has no frame.
    """
    reformatter, margin = VideoReformatter(), 0.5 / fps  # times of frames are rounded
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        frames = _frames_between(container, stream, start_s - margin, end_s - margin)
        before = after = next(frames, None)
        shown: tuple[float, NDArray[np.uint8]] | None = None
        for second in wanted_s:
            at = start_s + float(second)
            while after is not None and after[0] < at:
                before, after = after, next(frames, None)
            known = [one for one in (before, after) if one is not None]
            if not known:
                raise IndexError(f"{path.name} has no frame between {start_s:g} and {end_s:g} s")
            time_s, frame = min(known, key=lambda one: abs(one[0] - at))
            if shown is None or shown[0] != time_s:
                shown = time_s, np.asarray(reformatter.reformat(frame, format="rgb24").to_ndarray(), np.uint8)
            yield shown[1], abs(time_s - at)


def _frames_between(container: Any, stream: Any, first_s: float, last_s: float) -> Iterator[tuple[float, VideoFrame]]:
    """Frames with their times in s from the file's beginning: from `first_s` on, before `last_s`."""
    origin = float((stream.start_time or 0) * stream.time_base)
    if first_s > 0:
        container.seek(int((first_s + origin) / stream.time_base), stream=stream, backward=True)
    for frame in container.decode(stream):
        time_s = float(frame.pts * stream.time_base) - origin
        if time_s >= last_s:
            return
        if time_s >= first_s:
            yield time_s, frame
