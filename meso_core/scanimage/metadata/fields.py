"""The fields of the imaging metadata that work is done with, and what they must hold.

What belongs here: the one table of fields, and the check of a file's content against it. What does not: whether
values fit each other (``layout``, the rooms of location and timing), and older names of fields (``patch``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard, cast

import numpy as np

from ...errors import MetadataError, brief
from ...session.imaging import CORNERS

_REMEDY = "Correct the field, or move the file away and make the metadata again from the tifs with extract_imaging_meta"
#: No tif holds this, so a person must give it.
_CENTER_REMEDY = (
    "Enter ML and AP of the window as drilled, or make the metadata again from the tifs with extract_imaging_meta, "
    "which takes them from you"
)
#: A line of a mesoscope takes some 40 µs.
_LONGEST_LINE_S = 1.0


@dataclass(frozen=True, slots=True)
class _Field:
    #: Place in the file; ``[]`` stands for each entry of a list.
    path: str
    #: What it must hold: in words, and as a test.
    expected: str
    holds: Callable[[object], bool]
    #: Whether every file has it, once it is brought up to date.
    required: bool = True
    #: What a person does where it is missing or wrong.
    remedy: str = _REMEDY


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a finite number."""
    if isinstance(value, bool):
        return False
    # nearly all are plain, and the lists of lines are long: numpy's kinds take a slow look
    if not isinstance(value, int | float) and not isinstance(value, np.number):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer too large for a float
        return False


def _between(low: float, high: float) -> Callable[[object], bool]:
    return lambda value: is_number(value) and low < value < high


_is_positive = _between(0, math.inf)


def _is_count(value: object) -> bool:
    return is_number(value) and value >= 0 and value == int(value)


def _is_size(value: object) -> bool:
    return is_number(value) and value >= 1 and value == int(value)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_table(value: object) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(value, Mapping)


def _list_of(holds: Callable[[object], bool], at_least: int = 1, at_most: float = math.inf) -> Callable[[object], bool]:
    def all_hold(value: object) -> bool:
        is_list = isinstance(value, list | tuple | np.ndarray) and at_least <= len(value) <= at_most
        return is_list and all(map(holds, cast("Sequence[object]", value)))

    return all_hold


def _one_or_more(holds: Callable[[object], bool]) -> Callable[[object], bool]:
    """MATLAB writes a list of one without brackets."""
    return lambda value: holds(value) or _list_of(holds)(value)


_two_numbers = _list_of(is_number, 2, 2)


#: A field comes after the one that holds it. Tables that are only looked into need not be there.
_FIELDS = (
    _Field("nFrames", "the number of pages", _is_count),
    _Field("channelSaved", "channel numbers, from 1", _one_or_more(_is_size)),
    _Field("FOV", "a list of fields of view", _list_of(_is_table)),
    _Field("FOV[].slice_id", "the number of its slice, from 0", _is_count),
    _Field("FOV[].nXnYnZ", "numbers of columns, rows and planes", _list_of(_is_size, 2)),
    _Field("FOV[].lineIdx", "its lines of the page, from 1", _one_or_more(_is_size)),
    _Field("FOV[].Zs", "depths in µm", _one_or_more(is_number), required=False),
    _Field("FOV[].channel", "the channel that shows it, where channels are depths", _is_size, required=False),
    _Field("FOV[].roiUUID", "the id of its ROI", _is_text, required=False),
    *(
        field
        for unit, words in (("Deg", "degrees"), ("MM", "mm"))
        for field in (
            _Field(f"FOV[].{unit}", f"its four corners, {words}", _is_table),
            *(_Field(f"FOV[].{unit}.{c}", f"two finite numbers, {words}", _two_numbers) for c in CORNERS),
        )
    ),
    _Field("rawScanImageMeta", "the raw header", _is_table),
    _Field("rawScanImageMeta.Software", "lines SI.name = value", _is_text),
    _Field("rawScanImageMeta.Height", "rows of a page", _is_size),
    _Field("rawScanImageMeta.Width", "columns of a page", _is_size),
    _Field("scanImageParams", "rates and geometry of the scanner", _is_table),
    _Field("scanImageParams.objectiveResolution", "µm per degree of the scanner, about 150", _between(1, 1e4)),
    _Field("scanImageParams.hRoiManager", "the scanner's rates", _is_table),
    _Field("scanImageParams.hRoiManager.linePeriod", "the time per line in s", _between(0, _LONGEST_LINE_S)),
    _Field("scanImageParams.hRoiManager.scanFrameRate", "frames per second", _is_positive, required=False),
    _Field("scanImageParams.hRoiManager.scanVolumeRate", "volumes per second", _is_positive),
    _Field("scanImageParams.hScan2D", "times of the scanner", _is_table, required=False),
    _Field("scanImageParams.hScan2D.flytoTimePerScanfield", "seconds", is_number, required=False),
    _Field("scanImageParams.hStackManager", "the depths", _is_table, required=False),
    _Field("scanImageParams.hStackManager.zs", "depths in µm", _one_or_more(is_number), required=False),
    _Field("centerMM", "the window's centre, keys ML and AP", _is_table, remedy=_CENTER_REMEDY),
    _Field("centerMM.ML", "mm from bregma", is_number, remedy=_CENTER_REMEDY),
    _Field("centerMM.AP", "mm from bregma", is_number, remedy=_CENTER_REMEDY),
    _Field("centerDeg", "the window's centre", _is_table, required=False),
    _Field("centerDeg.x", "degrees", is_number, required=False),
    _Field("centerDeg.y", "degrees", is_number, required=False),
    _Field("imageOrientation", "directions in the image", _is_table, required=False),
    _Field("imageOrientation.positiveML", "a unit vector", _two_numbers, required=False),
    _Field("imageOrientation.positiveAP", "a unit vector", _two_numbers, required=False),
    _Field("coordsTF", "a 3 x 2 matrix", _list_of(_two_numbers, 3, 3), required=False),
    _Field("channelID", "channel numbers by colour", _is_table, required=False),
    _Field("channelID.green", "channel numbers", _one_or_more(_is_size), required=False),
    _Field("laserPowerCalibration", "the laser's calibration", _is_table, required=False),
)

#: What every file has, once it is brought up to date.
REQUIRED = tuple(field.path for field in _FIELDS if field.required)


def check_fields(
    meta: object, where: str, required: tuple[str, ...] = REQUIRED, *, unchecked: tuple[str, ...] = ()
) -> None:
    """Check what imaging metadata hold, field by field; null, as MATLAB writes NaN, is no value.

    Parameters
    ----------
    meta
        Content of ``_ibl_rawImagingData.meta.json``.
    where
        File that it is from, for messages.
    required
        Fields that must be there. Those that are there must hold what they should in any case.
    unchecked
        Fields that are not looked at.

    Raises
    ------
    MetadataError
        For the first field that is missing or holds what it must not.
    """
    if not _is_table(meta):
        raise MetadataError.at(where, expected="a JSON object", found=type(meta).__name__, remedy=_REMEDY)
    for field in (field for field in _FIELDS if field.path not in unchecked):
        for path, value in _values(meta, field.path):
            if value is None:
                if field.path in required:
                    raise lacks(path, where, field.expected, field.remedy)
            elif not field.holds(value):
                raise wrong(path, where, field.expected, value, field.remedy)


def lacks(path: str, where: str, expected: str = "a value", remedy: str = _REMEDY) -> MetadataError:
    """Make the error for a field that is not there."""
    return MetadataError.at(where, field=path, expected=expected, found="none", remedy=remedy)


def wrong(path: str, where: str, expected: str, value: object, remedy: str = _REMEDY) -> MetadataError:
    """Make the error for a field that holds what it must not."""
    return MetadataError.at(where, field=path, expected=expected, found=brief(value), remedy=remedy)


def _values(meta: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    """Yield place and value of a field, one for each entry of a list on the way; nothing where no table holds it.

    The value is None where there is none.
    """
    places: list[tuple[str, Any]] = [("", meta)]
    *parents, name = path.split(".")
    for parent in parents:
        key = parent.removesuffix("[]")
        inner = [(f"{at}{key}", holder[key]) for at, holder in places if holder.get(key) is not None]
        if parent.endswith("[]"):
            inner = [(f"{at}[{i}]", entry) for at, entries in inner for i, entry in enumerate(entries)]
        places = [(f"{at}.", holder) for at, holder in inner]
    for at, holder in places:
        yield at + name, holder.get(name)
