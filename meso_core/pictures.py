"""Pictures: figures, files of two sizes, scale bars.

What belongs here: what all drawings share, the limit for pictures in a run's metadata above all. What does not: what a
picture shows.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL.Image import Image

#: Most bytes that a picture may take in metadata: Dagster stores them three times per session.
INLINE_BYTES = 8_000
#: Most bytes of its file: base64 writes 4 letters for 3 bytes.
INLINE_FILE_BYTES = INLINE_BYTES * 3 // 4 - 64
_INLINE_DPI, _FULL_DPI = 90, 150
#: Colours of a picture that shows few, as a graph does; quality of any other, and how hard to look for fewer bytes.
_PALETTES, _QUALITY, _EFFORT = (64, 16), 50, 4
_FINELY = 1 / 32


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture with its caption."""

    name: str
    #: A PNG; a small one that travels in metadata may be a WebP.
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


def inline_picture(picture: Figure | bytes) -> bytes:
    """Make a PNG or a WebP that takes at most 8 kB in metadata, whatever it shows.

    A PNG that is small enough is returned as it is. Any other gets a palette or becomes a WebP, of as many pixels, and
    then of fewer until it fits: at this size a noisy image has twice as many across as a WebP than as a PNG.

    Parameters
    ----------
    picture
        A matplotlib figure, or a PNG or a WebP.

    Returns
    -------
    bytes
        At most :data:`INLINE_FILE_BYTES`. Equal pictures give equal bytes.
    """
    from PIL import Image

    given = picture if isinstance(picture, bytes) else _drawn(picture, _INLINE_DPI)
    if len(given) <= INLINE_FILE_BYTES:
        return given
    with Image.open(io.BytesIO(given)) as opened:
        full = opened.convert("RGB")
    for n_colors in _PALETTES:
        few = full.quantize(n_colors, dither=Image.Dither.NONE).convert("RGB")
        small = _packed(few, format="webp", lossless=True, method=_EFFORT)
        if len(small) <= INLINE_FILE_BYTES:
            return small
    return _largest_that_fits(full)


def _largest_that_fits(full: Image) -> bytes:
    """Make a WebP of as many pixels as fit: all, or a share of them that is found by halving."""
    from PIL import Image

    def scaled(share: float) -> bytes:
        size = (max(1, int(full.width * share)), max(1, int(full.height * share)))
        shown = full if share == 1 else full.resize(size, Image.Resampling.LANCZOS)
        return _packed(shown, format="webp", quality=_QUALITY, method=_EFFORT)

    largest = scaled(1.0)
    if len(largest) <= INLINE_FILE_BYTES:
        return largest
    fits, too_large, found = 0.0, 1.0, b""
    while not found or too_large - fits > _FINELY:
        share = (fits + too_large) / 2
        small = scaled(share)
        if len(small) <= INLINE_FILE_BYTES:
            fits, found = share, small
        else:
            too_large = share
    return found


def media_type(picture: bytes) -> str:
    """Media type of a picture that :func:`inline_picture` made."""
    return "image/png" if picture.startswith(b"\x89PNG") else "image/webp"


def _packed(image: Image, **options: Any) -> bytes:  # noqa: ANN401  those of a format
    file = io.BytesIO()
    image.save(file, **options)
    return file.getvalue()


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
