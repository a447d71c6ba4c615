"""From the JSON of a metadata file to typed imaging metadata.

What belongs here: the one door through which the content of ``_ibl_rawImagingData.meta.json`` becomes
:class:`~meso_core.session.imaging.ImagingMetadata`. What does not: what each field must hold (``fields``), older
versions (``patch``), and finding files (``bouts``).
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import MesoWarning, MetadataError
from ...json_text import json_text, null_for_nan
from ...session import IMAGING_META_FILE
from ...session.imaging import (
    BoutMetadata,
    Corners,
    Fov,
    ImagingMetadata,
    Orientation,
    SessionMetadata,
    StackLayout,
    WindowCenter,
)
from ...session.page_faults import FaultKind, PageFault
from ..scanner import read_stack
from ..tiff.header import parse_si_header
from .fields import check_fields, is_number, wrong
from .patch import bring_up_to_date

#: Lines of the header that tell the stack.
_OF_STACK = re.compile(r"SI\.(hStackManager\.|hFastZ\.|hScan2D\.logAverageFactor|VERSION_)")
#: Share by which rates may differ that are printed with six digits and measured at different times.
_RATE_SHARE = 0.01
_WINDOW = ("centerMM", "centerMM.ML", "centerMM.AP")


def parse_imaging_metadata(meta: Mapping[str, Any], where: str = IMAGING_META_FILE) -> ImagingMetadata:
    """Bring imaging metadata of any version up to date, check them, and give them types.

    Parameters
    ----------
    meta
        Content of ``_ibl_rawImagingData.meta.json``. It is not changed.
    where
        File that it is from, for messages.

    Raises
    ------
    MetadataError
        If a field is missing or holds what it must not; see also :func:`patch_imaging_meta`. NaN, infinity and null,
        as MATLAB writes both, are no value.

    Warns
    -----
    MesoWarning
        If the version is newer than this code.
    """
    own = _finite(meta, where)
    source = _text(own, where)
    patched = bring_up_to_date(own, where)
    check_fields(patched, where)
    raw, params = patched["rawScanImageMeta"], patched["scanImageParams"]
    rates, scanner = params["hRoiManager"], params.get("hScan2D") or {}
    fovs = tuple(_fov(i, fov) for i, fov in enumerate(patched["FOV"]))
    header = _stack_header(raw["Software"])
    stack = read_stack(header, where, 1 + max(f.slice_index for f in fovs))
    transform = patched.get("coordsTF")
    return ImagingMetadata(
        version=str(patched["version"]),
        acquisition_start=_start_time(patched.get("acquisitionStartTime")),
        n_pages=int(patched["nFrames"]),
        page_height=int(raw["Height"]),
        page_width=int(raw["Width"]),
        channels_saved=tuple(int(c) for c in np.atleast_1d(patched["channelSaved"])),
        green_channels=_counts((patched.get("channelID") or {}).get("green")),
        line_period_s=float(rates["linePeriod"]),
        frame_rate_hz=_number(rates.get("scanFrameRate")),
        volume_rate_hz=_volume_rate(rates, stack, where),
        fly_to_s=_number(scanner.get("flytoTimePerScanfield")),
        objective_um_per_deg=float(params["objectiveResolution"]),
        stack=stack,
        stack_depths_um=stack.depths_um or _numbers((params.get("hStackManager") or {}).get("zs")),
        window=_window(patched),
        orientation=_orientation(patched.get("imageOrientation") or {}),
        coords_transform=None if transform is None else tuple(_point(row) for row in transform),
        fovs=fovs,
        digest=hashlib.sha256(_text(patched, where, sort_keys=True).encode()).hexdigest(),
        source_json=source,
        patched_json=_text(patched, where),
    )


def as_imaging_metadata(meta: Mapping[str, Any] | ImagingMetadata, where: str = IMAGING_META_FILE) -> ImagingMetadata:
    """Take imaging metadata typed or as the content of a file; the door of functions that take both."""
    return meta if isinstance(meta, ImagingMetadata) else parse_imaging_metadata(meta, where)


def as_window_center(meta: Mapping[str, Any] | ImagingMetadata, where: str = IMAGING_META_FILE) -> WindowCenter:
    """Take the window's centre from imaging metadata, typed or as the content of a file; ``centerMM`` is enough."""
    if isinstance(meta, ImagingMetadata):
        return meta.window
    check_fields(meta, where, _WINDOW)
    return _window(meta)


def parse_session_metadata(text: str, where: str) -> SessionMetadata:
    """Read what :meth:`~meso_core.session.imaging.SessionMetadata.to_json` wrote.

    Parameters
    ----------
    text
        The JSON.
    where
        File that it is from, for messages.

    Raises
    ------
    MetadataError
        If it is not that, or the metadata of a bout are not as they must be.
    """
    try:
        bouts = tuple(
            BoutMetadata(
                str(bout["name"]),
                parse_imaging_metadata(bout["metadata"], f"{where}, {bout['name']}"),
                np.array(bout["page_times"], dtype=np.float64).reshape(-1),
                bout.get("frame_index"),  # versions before 0.3 have none: the gaps of the times tell it
                tuple(PageFault(**{**f, "kind": FaultKind(f["kind"])}) for f in bout.get("faults", ())),
                tuple(int(start) for start in bout.get("acquisition_starts", (0,))),
            )
            for bout in json.loads(text)["bouts"]
        )
        if not bouts:
            raise ValueError("no bout")  # noqa: TRY301 (one message for all that can be wrong)
    except MetadataError:
        raise
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        expected, found = "metadata of the bouts of a session", f"{type(error).__name__}: {error}"
        remedy = "Make the session's metadata again with load_session_metadata"
        raise MetadataError.at(where, expected=expected, found=found, remedy=remedy) from error
    return SessionMetadata(bouts)


def _fov(index: int, fov: Mapping[str, Any]) -> Fov:
    nx, ny, *n_depths = (int(n) for n in fov["nXnYnZ"])
    return Fov(
        index=index,
        slice_index=int(fov["slice_id"]),
        line_indices=tuple(int(line) for line in np.atleast_1d(fov["lineIdx"])),
        nx=nx,
        ny=ny,
        n_depths=n_depths[0] if n_depths else 1,
        depths_um=_numbers(fov.get("Zs")),
        deg=_corners(fov["Deg"]),
        mm=_corners(fov["MM"]),
        roi_uuid=fov.get("roiUUID"),
        channel=None if fov.get("channel") is None else int(fov["channel"]),
    )


def _corners(corners: Mapping[str, Any]) -> Corners:
    return Corners(
        _point(corners["topLeft"]),
        _point(corners["topRight"]),
        _point(corners["bottomLeft"]),
        _point(corners["bottomRight"]),
    )


def _window(meta: Mapping[str, Any]) -> WindowCenter:
    mm, deg = meta["centerMM"], meta.get("centerDeg") or {}
    return WindowCenter(float(mm["ML"]), float(mm["AP"]), _number(deg.get("x")), _number(deg.get("y")))


def _orientation(orientation: Mapping[str, Any]) -> Orientation | None:
    ml, ap = orientation.get("positiveML"), orientation.get("positiveAP")
    return None if ml is None or ap is None else Orientation(_point(ml), _point(ap))


def _point(values: Sequence[float]) -> tuple[float, float]:
    x, y = values
    return float(x), float(y)


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)


def _numbers(value: npt.ArrayLike | None) -> tuple[float, ...] | None:
    return None if value is None else tuple(float(v) for v in np.atleast_1d(value))


def _counts(value: npt.ArrayLike | None) -> tuple[int, ...] | None:
    return None if value is None else tuple(int(v) for v in np.atleast_1d(value))


def _start_time(parts: object) -> datetime | None:
    """Read year, month, day, hour, minute and seconds; no work is done with it, so another form counts as unknown."""
    if not isinstance(parts, list) or len(parts) != 6 or not all(is_number(part) for part in parts):
        return None
    year, month, day, hour, minute = (int(part) for part in parts[:5])
    try:
        return datetime(year, month, day, hour, minute) + timedelta(seconds=float(parts[5]))
    except (ValueError, OverflowError):
        return None


def _stack_header(software: str) -> dict[str, Any]:
    """Parse what a header says about the stack."""
    return parse_si_header("\n".join(line for line in software.splitlines() if _OF_STACK.match(line)))


def _volume_rate(rates: Mapping[str, Any], stack: StackLayout, where: str) -> float:
    """Volumes per second: as the header says, unless its frames come at another rate."""
    told, frames = float(rates["scanVolumeRate"]), _number(rates.get("scanFrameRate"))
    in_volume = stack.frames_per_volume
    if frames is None or in_volume == 1 or math.isclose(told * in_volume, frames, rel_tol=_RATE_SHARE):
        return told
    counted = frames / in_volume
    warnings.warn(
        f"{where}: scanVolumeRate is {told:g} Hz, but {frames:g} frames per second and {in_volume} frames per volume "
        f"make {counted:g} Hz, which is used",
        MesoWarning,
        stacklevel=3,
    )
    return counted


def _finite(meta: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    try:
        finite: Mapping[str, Any] = null_for_nan(meta)
    except RecursionError as error:
        raise wrong("(all)", where, "what JSON can hold", error) from error
    return finite


def _text(meta: Mapping[str, Any], where: str, *, sort_keys: bool = False) -> str:
    try:
        return json_text(meta, sort_keys=sort_keys)
    except (TypeError, ValueError, RecursionError) as error:
        raise wrong("(all)", where, "what JSON can hold", error) from error
