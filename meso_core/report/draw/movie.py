"""A movie of raw and registered frames side by side, as a small file that browsers play.

What belongs here: brightness, layout and encoding (WebM, VP8: free, and played by every browser). What does not: which
frames are shown.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...errors import InputFileError
from .images import BRIGHT, DARK, webp_uri

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Frames that are shown each second.
FRAMES_PER_S = 15
#: Bits a second: ten seconds take about a megabyte.
_BITS_PER_S = 850_000
#: Columns between the two pictures, and their grey.
_GAP_PX, _GAP_LEVEL = 4, 128
#: Same input, same bytes: one thread, none of the encoder's own marks, and a negative speed, for with a positive one
#: libvpx chooses by the clock (``vp8_auto_select_speed``). VP9 takes twice the time, and shows no more at this size.
_OPTIONS = {"deadline": "realtime", "cpu-used": "-8", "threads": "1"}
_BIT_EXACT = 1 << 23  # AV_CODEC_FLAG_BITEXACT of libavcodec/avcodec.h


def side_by_side(raw: NDArray[np.float32], registered: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Put frames beside each other, raw ones on the left, all in one brightness; both (n, rows, columns).

    Returns
    -------
    ndarray
        (n, rows, columns) grey levels; rows and columns are even, as the encoder wants them.
    """
    dark, bright = np.percentile(registered[:: max(len(registered) // 30, 1), ::2, ::2], [DARK, BRIGHT])
    scale = np.float32(255 / max(bright - dark, 1e-9))
    n, rows, columns = registered.shape
    shown = np.full((n, rows + rows % 2, 2 * columns + _GAP_PX), _GAP_LEVEL, np.uint8)
    for place, frames in ((0, raw), (columns + _GAP_PX, registered)):
        for picture, frame in zip(shown, frames, strict=True):
            levels = (frame - np.float32(dark)) * scale + np.float32(0.5)  # cut to whole numbers: rounded
            picture[:rows, place : place + columns] = np.clip(levels, 0, 255, out=levels)
    return shown


def webm(frames: NDArray[np.uint8]) -> bytes:
    """Encode grey frames (n, rows, columns); equal frames give equal bytes."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="webm", container_options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libvpx", rate=FRAMES_PER_S, options=_OPTIONS)
        stream.height, stream.width = frames.shape[1:]
        stream.pix_fmt, stream.bit_rate, stream.thread_count = "yuv420p", _BITS_PER_S, 1
        stream.codec_context.flags |= _BIT_EXACT
        for frame in (*_pictures(frames), None):
            for packet in stream.encode(frame):
                container.mux(packet)
    return file.getvalue()


def frame_of(content: bytes, number: int) -> NDArray[np.uint8]:
    """Take one frame out of a movie that :func:`webm` made, (rows, columns) grey levels; the last one if it is shorter.

    Raises
    ------
    InputFileError
        If it is no movie, or a damaged one.
    """
    import av

    try:
        with av.open(io.BytesIO(content)) as container:
            decoded = (frame for frame, _ in zip(container.decode(video=0), range(number + 1), strict=False))
            *_, frame = decoded
        return np.asarray(frame.to_ndarray(format="gray"), np.uint8)
    except (av.error.FFmpegError, ValueError, IndexError) as error:
        raise InputFileError.at(
            "movie", expected="a WebM movie", found=str(error), remedy="Bring its tifs back, and make the report again"
        ) from error


def poster(frame: NDArray[np.uint8]) -> str:
    """Make a picture of a frame, as a data URI: shown until the movie is played, and on paper."""
    return webp_uri(frame)


def _pictures(frames: NDArray[np.uint8]) -> Iterator[object]:
    import av

    for frame in frames:
        yield av.VideoFrame.from_ndarray(frame, format="gray").reformat(format="yuv420p")
