"""Notes with pictures, as they are sent: JPEG, PNG and GIF as they are, a tif as PNG, which browsers show.

What belongs here: the bytes of a picture, and a note. What does not: which notes there shall be (``snapshots``,
``session_plan``).
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import InputFileError
from ...json_text import json_text
from ...opening import TABLE_BYTES, read_plain
from ..plan import Action, Change, Kind, Planned

if TYPE_CHECKING:
    from PIL import Image

_TIFS = (".tif", ".tiff")


class Picture(io.BytesIO):
    """A picture in memory with the name under which it is sent."""

    def __init__(self, name: str, content: bytes) -> None:
        super().__init__(content)
        self.name = name


def picture(session_path: Path, path: str) -> Picture:
    """Read a picture of a session, by its path below it.

    Raises
    ------
    InputFileError
        If a tif cannot be read.
    """
    file = session_path / path
    content = read_plain(file, TABLE_BYTES)
    if file.suffix.lower() not in _TIFS:
        return Picture(file.name, content)
    return Picture(file.with_suffix(".png").name, _png(content, file))


def _png(tif: bytes, file: Path) -> bytes:
    from PIL import Image as Pillow
    from PIL import UnidentifiedImageError

    out = io.BytesIO()
    try:
        with Pillow.open(io.BytesIO(tif)) as image:
            # PNG has no floating point: such a picture is stretched over the greys that it has
            shown = _greys(image) if image.mode in ("F", "I") else image
            shown.save(out, "PNG")
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise InputFileError.at(
            file,
            expected="a tif that can be shown",
            found=str(error),
            remedy="Save it as PNG, or move it out of the snapshots folder",
        ) from error
    return out.getvalue()


def _greys(image: Image.Image) -> Image.Image:
    """Stretch the values of a picture over 256 greys."""
    import numpy as np
    from PIL import Image as Pillow

    values = np.asarray(image, dtype=np.float64)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    scaled = np.nan_to_num((values - low) / max(high - low, 1e-12), nan=0.0, posinf=1.0, neginf=0.0)
    return Pillow.fromarray(np.round(np.clip(scaled, 0, 1) * 255).astype(np.uint8))


def new_note(path: str, text: str, own: Mapping[str, str], *, user: str, eid: str, **more: str) -> Planned:
    """Plan a note with a picture, by its path; ``own`` are values by which it is recognised."""
    # its own values as text, because a form with a picture takes nothing else
    payload = {"user": user, "content_type": "session", "object_id": eid, "text": text, "json": json_text(own), **more}
    return Planned(Kind.NOTE, path, Action.CREATE, payload=payload)


def with_text(row: Mapping[str, Any], name: str, text: str, eid: str) -> Planned:
    """Plan that a note which the server holds has this text."""
    if (row.get("text") or "") == text:
        return Planned(Kind.NOTE, name, Action.NOTHING, str(row["id"]))
    sent = {"content_type": "session", "object_id": eid, "text": text}  # a change must repeat the object
    return Planned(Kind.NOTE, name, Action.CHANGE, str(row["id"]), (Change("text", row.get("text"), text),), sent)
