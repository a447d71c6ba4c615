"""Whether two bouts of a session were imaged alike.

What belongs here: which fields must agree, which may differ, and the comparison. What does not: reading metadata.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from ...errors import MesoWarning, MetadataError, brief
from ...session import IMAGING_META_FILE
from ..measured import MEASURED, drifted, is_near

#: Fields that are expected to differ between bouts, or say nothing about the pixels.
_OWN = ("acquisitionStartTime", "nFrames", "rawScanImageMeta.ImageDescription", "rawScanImageMeta.Software")
#: Fields that must agree, else the frames of two bouts are not of the same places.
_SAME = ("FOV", "channelSaved", "channelID", "coordsTF", "centerMM", "centerDeg", "imageOrientation")
_PARAMS = "scanImageParams."


def check_same_imaging(first_name: str, first: Mapping[str, Any], name: str, meta: Mapping[str, Any]) -> None:
    """Compare the metadata of a bout with those of the first, both up to date.

    Raises
    ------
    MetadataError
        If they disagree in a field that decides what the pixels are.

    Warns
    -----
    MesoWarning
        If they disagree in another field.
    """
    tolerated = []
    for path, a, b in _differences(first, meta):
        if path.startswith(_OWN):
            continue
        header_field = path.removeprefix(_PARAMS)
        if drifted(header_field, a, b):
            continue
        if header_field in MEASURED or path.startswith(_SAME):
            raise MetadataError.at(
                f"{name}/{IMAGING_META_FILE}",
                field=path,
                expected=f"{brief(a)} as in {first_name}",
                found=brief(b),
                remedy="Process bouts of different places or settings as separate sessions, or correct the field",
            )
        tolerated.append(path)
    if tolerated:
        fields = ", ".join(tolerated[:5]) + (f" and {len(tolerated) - 5} more" if len(tolerated) > 5 else "")
        warnings.warn(f"{name}: metadata differ from those of {first_name} in {fields}", MesoWarning, stacklevel=4)


def _differences(a: object, b: object, path: str = "") -> Iterator[tuple[str, object, object]]:
    """Paths of the values that differ, with both values."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in [*a, *(k for k in b if k not in a)]:
            yield from _differences(a.get(key), b.get(key), f"{path}.{key}" if path else str(key))
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b) and any(isinstance(v, dict) for v in a):
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            yield from _differences(x, y, f"{path}[{i}]")
    elif a != b and not is_near(a, b, 1e-9):
        yield path, a, b
