"""Pictures small enough to travel in a run's metadata.

What belongs here: the one limit and the one way to meet it. What does not: drawing.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Most bytes that a picture may take in metadata, which are stored several times per event.
INLINE_BYTES = 40_000
#: Most bytes of its PNG: base64 writes 4 letters for 3 bytes.
INLINE_PNG_BYTES = INLINE_BYTES * 3 // 4 - 64
_DPI = 90
_COLORS = 64
_SMALLER = 0.92


def inline_png(picture: Figure | bytes) -> bytes:
    """Make a PNG that takes at most 40 kB in metadata, whatever it shows.

    A PNG that is small enough is returned as it is; else it gets a palette, and fewer and fewer pixels until it fits.

    Parameters
    ----------
    picture
        A matplotlib figure, or a PNG.

    Returns
    -------
    bytes
        At most :data:`INLINE_PNG_BYTES`. Equal pictures give equal bytes.
    """
    from PIL import Image

    png = picture if isinstance(picture, bytes) else _drawn(picture)
    if len(png) <= INLINE_PNG_BYTES:
        return png
    with Image.open(io.BytesIO(png)) as opened:
        full = opened.convert("RGB")
    size = full.size
    while True:
        small = io.BytesIO()
        shown = full if size == full.size else full.resize(size, Image.Resampling.LANCZOS)
        shown.quantize(_COLORS, dither=Image.Dither.NONE).save(small, format="png", optimize=True)
        if small.tell() <= INLINE_PNG_BYTES:
            return small.getvalue()
        size = (max(1, int(size[0] * _SMALLER)), max(1, int(size[1] * _SMALLER)))


def _drawn(figure: Figure) -> bytes:
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=_DPI, metadata={"Software": None})
    return drawn.getvalue()
