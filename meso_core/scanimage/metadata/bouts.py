"""Imaging metadata of a session: those of all its bouts, compared, and made where they are missing.

What belongs here: which metadata file counts, what is made in its place, and where bouts disagree. What does not: the
content of the metadata.
"""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputFileError, MesoWarning, MetadataError, MissingInputError, brief, problem
from ...session import IMAGING_META_FILE, IMAGING_TIMES_FILE, imaging_bouts, raw_tifs
from ..frames.sources import BoutSource, LocalTif
from .extract import Rig, extract_imaging_meta
from .patch import patch_imaging_meta

#: Fields that are expected to differ between bouts, or say nothing about the pixels.
_OWN = ("acquisitionStartTime", "nFrames", "rawScanImageMeta.ImageDescription", "rawScanImageMeta.Software")
#: Fields that must agree, else the frames of two bouts are not of the same places.
_SAME = ("FOV", "channelSaved", "channelID", "coordsTF", "centerMM", "centerDeg", "imageOrientation")
#: Fields that the microscope measures anew at each start: they may differ by this share.
_MEASURED, _MEASURED_SHARE = ("scanImageParams.hRoiManager", "scanImageParams.hScan2D"), 1e-3


def load_meta_files(
    session_path: str | os.PathLike[str],
    *,
    center_ml: float | None = None,
    center_ap: float | None = None,
    rig: Rig | None = None,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Load the imaging metadata of a session, brought up to date, and compare its bouts.

    Metadata files of the rig are used; where a bout has none its metadata are made from its tifs (in memory; see
    :func:`write_missing_meta` for files).

    Parameters
    ----------
    session_path
        Session folder.
    center_ml, center_ap
        Centre of the cranial window, mm, for bouts without metadata; by default that of the session's other bouts.
    rig
        What no header tells about the microscope, for bouts without metadata; by default that of the other bouts.

    Returns
    -------
    meta : dict
        Metadata of the session: those of its first bout.
    metas : list of dict
        Metadata of each bout.

    Raises
    ------
    MissingInputError
        If there is no bout, or a bout has neither metadata nor tifs.
    MetadataError
        If bouts disagree in a field that decides what the pixels are, or the window's centre is not known.
    InputFileError
        If a file is damaged.

    Warns
    -----
    MesoWarning
        If bouts disagree in another field; those of the first bout are used.
    """
    folders = _bout_folders(Path(session_path))
    present = {f: read_meta(path) for f in folders if (path := find_meta(f)) is not None}
    metas = []
    for folder in folders:
        if folder not in present:
            center, own_rig = _window_center(folder, present, center_ml, center_ap), rig or _rig_of(present)
            made, _ = extract_imaging_meta(_tifs(folder), *center, rig=own_rig)
            present[folder] = patch_imaging_meta(made, folder.name)
        metas.append(present[folder])
    for folder, meta in zip(folders[1:], metas[1:], strict=True):
        _compare(folders[0].name, metas[0], folder.name, meta)
    return metas[0], metas


def write_missing_meta(
    session_path: str | os.PathLike[str],
    out_folder: str | os.PathLike[str],
    *,
    center_ml: float | None = None,
    center_ap: float | None = None,
    rig: Rig | None = None,
) -> tuple[Path, ...]:
    """Make the metadata files that the rig did not deliver.

    Parameters
    ----------
    session_path
        Session folder. Nothing in it is changed.
    out_folder
        Where the files go, each in a folder named after its bout.
    center_ml, center_ap, rig
        As for :func:`load_meta_files`.

    Returns
    -------
    tuple of Path
        The files made, ``raw_imaging_data_NN/_ibl_rawImagingData.meta.json`` and
        ``raw_imaging_data_NN/rawImagingData.times_scanImage.npy``; none where all are there.
    """
    folders = _bout_folders(Path(session_path))
    present = {f: read_meta(path) for f in folders if (path := find_meta(f)) is not None}
    made = []
    for folder in folders:
        has_meta, has_times = folder in present, (folder / IMAGING_TIMES_FILE).is_file()
        if has_meta and has_times:
            continue
        # the window's centre has no part in the times
        center = (0.0, 0.0) if has_meta else _window_center(folder, present, center_ml, center_ap)
        meta, times = extract_imaging_meta(_tifs(folder), *center, rig=rig or _rig_of(present))
        target = Path(out_folder) / folder.name
        target.mkdir(parents=True, exist_ok=True)
        if not has_meta:
            (target / IMAGING_META_FILE).write_text(json.dumps(meta), encoding="utf-8")
            made.append(target / IMAGING_META_FILE)
        if not has_times:
            np.save(target / IMAGING_TIMES_FILE, times)
            made.append(target / IMAGING_TIMES_FILE)
    return tuple(made)


def local_bouts(session_path: str | os.PathLike[str]) -> tuple[BoutSource, ...]:
    """List the raw tifs of a session on a local disk, bout by bout.

    Raises
    ------
    MissingInputError
        If there is no imaging bout, or one without tifs.
    """
    bouts = []
    for folder in _bout_folders(Path(session_path)):
        tifs = raw_tifs(folder)
        if not tifs:
            remedy = "Copy the bout from the rig, or use its archive"
            raise MissingInputError(problem(folder, expected="raw tifs", found="none", remedy=remedy))
        path = find_meta(folder)
        n_frames = None if path is None else int(read_meta(path)["nFrames"])
        bouts.append(BoutSource(folder.name, tuple(LocalTif(p) for p in tifs), n_frames))
    return tuple(bouts)


def _bout_folders(session_path: Path) -> tuple[Path, ...]:
    folders = imaging_bouts(session_path)
    if not folders:
        expected, remedy = "folders raw_imaging_data_NN", "Copy the raw data of the session"
        raise MissingInputError(problem(session_path, expected=expected, found="none", remedy=remedy))
    return folders


def find_meta(folder: str | os.PathLike[str]) -> Path | None:
    """Find the metadata file of a bout; None where there is none.

    Raises
    ------
    InputFileError
        If there are several.
    """
    found = sorted(Path(folder).glob("*rawImagingData.meta.json"))
    if len(found) > 1:
        names = ", ".join(p.name for p in found)
        raise InputFileError(
            problem(folder, expected="one metadata file", found=names, remedy="Move the wrong one out of the folder")
        )
    return found[0] if found else None


def read_meta(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a metadata file and bring it up to date.

    Raises
    ------
    InputFileError
        If the file is no JSON object.
    MetadataError
        If it lacks what every version has.
    """
    try:
        meta = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as e:
        raise InputFileError(
            problem(path, expected="JSON", found=str(e), remedy="Move the file away; it is made again from the tifs")
        ) from e
    if not isinstance(meta, dict):
        remedy = "Move the file away; it is made again from the tifs"
        raise InputFileError(problem(path, expected="a JSON object", found=type(meta).__name__, remedy=remedy))
    return patch_imaging_meta(meta, str(path))


def _tifs(folder: Path) -> tuple[Path, ...]:
    tifs = raw_tifs(folder)
    if not tifs:
        expected = f"{IMAGING_META_FILE} and {IMAGING_TIMES_FILE}, or the tifs to make them from"
        remedy = "Copy the bout from the rig, or restore its tifs from the archive"
        raise MissingInputError(problem(folder, expected=expected, found="neither", remedy=remedy))
    return tifs


def _window_center(
    folder: Path, present: dict[Path, dict[str, Any]], ml: float | None, ap: float | None
) -> tuple[float, float]:
    if ml is not None and ap is not None:
        return ml, ap
    for meta in present.values():
        center = meta.get("centerMM", {})
        if "ML" in center and "AP" in center:
            return center["ML"], center["AP"]
    raise MetadataError(
        problem(
            folder / IMAGING_META_FILE,
            field="centerMM",
            expected="the centre of the cranial window (ML, AP in mm from bregma)",
            found="no metadata in any bout, and none given",
            remedy="Give center_ml and center_ap from the surgery record; no tif holds them",
        )
    )


def _rig_of(present: dict[Path, dict[str, Any]]) -> Rig | None:
    """Read from another bout's metadata what no header tells about the microscope."""
    for meta in present.values():
        orientation = meta.get("imageOrientation", {})
        if {"channelID", "laserPowerCalibration"} <= set(meta) and {"positiveML", "positiveAP"} <= set(orientation):
            return Rig(
                channel_id=meta["channelID"],
                positive_ml=tuple(orientation["positiveML"]),
                positive_ap=tuple(orientation["positiveAP"]),
                laser_power_calibration=meta["laserPowerCalibration"],
                pmt_gain=meta.get("PMTGain", ()),
            )
    return None


def _compare(first_name: str, first: dict[str, Any], name: str, meta: dict[str, Any]) -> None:
    """Raise for the fields in which a bout must not differ from the first; warn of the others."""
    tolerated = []
    for path, a, b in _differences(first, meta):
        if path.startswith(_OWN):
            continue
        measured = path.startswith(_MEASURED)
        if measured and _near(a, b, _MEASURED_SHARE):
            continue
        if measured or path.startswith(_SAME):
            raise MetadataError(
                problem(
                    f"{name}/{IMAGING_META_FILE}",
                    field=path,
                    expected=f"{brief(a)} as in {first_name}",
                    found=brief(b),
                    remedy="Process bouts of different places or settings as separate sessions, or mend the metadata",
                )
            )
        tolerated.append(path)
    if tolerated:
        fields = ", ".join(tolerated[:5]) + (f" and {len(tolerated) - 5} more" if len(tolerated) > 5 else "")
        warnings.warn(f"{name}: metadata differ from those of {first_name} in {fields}", MesoWarning, stacklevel=3)


def _differences(a: Any, b: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Paths of the values that differ, with both values."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in [*a, *(k for k in b if k not in a)]:
            yield from _differences(a.get(key), b.get(key), f"{path}.{key}" if path else str(key))
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b) and any(isinstance(v, dict) for v in a):
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            yield from _differences(x, y, f"{path}[{i}]")
    elif not _near(a, b, 1e-9):
        yield path, a, b


def _near(a: Any, b: Any, share: float) -> bool:
    """Whether two values are equal, numbers within a relative tolerance."""
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(_near(x, y, share) for x, y in zip(a, b, strict=True))
    if isinstance(a, int | float) and isinstance(b, int | float):
        return a == b or math.isclose(a, b, rel_tol=share, abs_tol=1e-9) or (a != a and b != b)
    return bool(a == b)
