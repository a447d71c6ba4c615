"""Pictures: figures, PNGs of two sizes, scale bars.

What belongs here: what all drawings share, the limit for pictures in a run's metadata above all. What does not: what a
picture shows.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Most bytes that a picture may take in metadata: Dagster stores them four times per session.
INLINE_BYTES = 12_000
#: Most bytes of its PNG: base64 writes 4 letters for 3 bytes.
INLINE_PNG_BYTES = INLINE_BYTES * 3 // 4 - 64
_INLINE_DPI, _FULL_DPI = 90, 150
_COLORS = 64
_SMALLER = 0.92


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG with its caption."""

    name: str
    png: bytes
    #: How to read it.
    caption: str


def new_figure(width: float, height: float) -> Figure:
    """Make an empty figure, apart from pyplot so that it needs no closing; sizes in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def full_png(figure: Figure) -> bytes:
    """Draw a figure for a file. Equal figures give equal bytes.

    If a small picture is needed too, draw that first: the layout at one resolution moves the layout at the next.
    """
    return _drawn(figure, _FULL_DPI)


def inline_png(picture: Figure | bytes) -> bytes:
    """Make a PNG that takes at most 12 kB in metadata, whatever it shows.

    A PNG that is small enough is returned as it is. Any other gets a palette, and fewer pixels until it fits.

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

    png = picture if isinstance(picture, bytes) else _drawn(picture, _INLINE_DPI)
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
        factor = min(_SMALLER, math.sqrt(INLINE_PNG_BYTES / small.tell()))  # bytes go about as the pixels
        size = (max(1, int(size[0] * factor)), max(1, int(size[1] * factor)))


def grey_png(image: NDArray[Any]) -> bytes:
    """Draw an image (rows, columns) in grey, a pixel for a pixel, from its 1st to its 99.7th percentile."""
    from matplotlib.image import imsave

    low, high = np.percentile(image, [1, 99.7])
    file = io.BytesIO()
    imsave(file, np.clip((image - low) / max(high - low, 1), 0, 1), cmap="gray", vmin=0, vmax=1, metadata={})
    return file.getvalue()


def scale_bar(axes: Axes, um_per_px: float, shape: tuple[int, ...]) -> None:
    """Draw a white bar of a round length, about a fifth of the width, into an image of (rows, columns, …)."""
    fifth = shape[1] * um_per_px / 5
    length = max((s * 10**e for e in range(5) for s in (1, 2, 5) if s * 10**e <= fifth), default=1)
    y, x = shape[0] * 0.95, shape[1] * 0.04
    axes.plot([x, x + length / um_per_px], [y, y], color="white", lw=2.5, solid_capstyle="butt")
    axes.text(x, y * 0.99, f"{length} µm", color="white", fontsize=8, va="bottom")


def _drawn(figure: Figure, dpi: int) -> bytes:
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=dpi, metadata={"Software": None})
    return drawn.getvalue()
