"""Images as data of the page.

What belongs here: contrast, and small files of images. What does not: which images are shown.
"""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Percentiles of an image that are shown black and white.
DARK, BRIGHT = 1.0, 99.7
_QUALITY = 82


def contrast(image: NDArray[Any], low: float = DARK, high: float = BRIGHT) -> NDArray[np.uint8]:
    """Spread the values between two percentiles over 256 grey levels; what is not finite is black."""
    known = image[np.isfinite(image)]
    if not known.size:
        return np.zeros(image.shape, np.uint8)
    dark, bright = np.percentile(known, [low, high])
    share = (np.nan_to_num(image, nan=dark) - dark) / max(bright - dark, 1e-9)
    return np.asarray(np.rint(share.clip(0, 1) * 255), np.uint8)


def grey_uri(image: NDArray[Any]) -> str:
    """Make a WebP of an image (rows, columns) as a data URI; equal images give equal bytes."""
    return webp_uri(contrast(image))


def webp_uri(levels: NDArray[np.uint8]) -> str:
    """Make a WebP of grey levels (rows, columns) or colours (rows, columns, 3) as a data URI."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(levels).save(file, format="webp", quality=_QUALITY, method=2)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
