"""Imaging metadata of a session: those of all its bouts, and made where they are missing.

What belongs here: which files count, and what is made in their place. What does not: the content of the metadata
(``parse``), and where bouts disagree (``compare``).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import InputFileError, MetadataError, MissingInputError
from ...opening import is_there, read_array, read_json
from ...session import IMAGING_META_FILE, IMAGING_TIMES_FILE, imaging_bouts, raw_tifs, why_ignored
from ...session.imaging import BoutMetadata, ImagingMetadata, SessionMetadata
from ...storage.files.atomic import replacing, write_file
from ..frames.faults import DamagedFrames, tell_of_faults
from ..frames.on_file import (
    BoutPlacer,
    FramesOnFile,
    channels_on_file,
    check_promise,
    frames_on_file,
    heads_by_times,
)
from ..frames.sources import BoutSource, LocalTif
from ..reference_checks import tell_of_another_acquisition
from ..tiff.pages import Index, ScanImageTif
from .agreement import check_imaged
from .channels import Channels, channels_as_depths, check_channels
from .compare import check_same_imaging
from .extract import Rig, meta_with_frames
from .parse import parse_imaging_metadata

_MADE_AGAIN = "Move the file away; it is made again from the tifs"


@dataclass(frozen=True, slots=True)
class _Bout:
    """Metadata of one bout, as delivered or made."""

    folder: Path
    imaging: ImagingMetadata
    #: Whether the rig delivered the metadata file; else they were made from the tifs, and the times with them.
    delivered: bool
    #: Its tifs in order; each is indexed once.
    tifs: tuple[LocalTif, ...]
    found: FramesOnFile | None = None


def load_meta_files(
    session_path: str | os.PathLike[str],
    *,
    center_ml: float | None = None,
    center_ap: float | None = None,
    rig: Rig | None = None,
    channels: Channels = "colours",
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Load the imaging metadata of a session, brought up to date, and compare its bouts.

    The rig's metadata files are used. Where a bout has none, its metadata are made from its tifs, in memory;
    :func:`write_missing_meta` makes files.

    Parameters
    ----------
    session_path
        Session folder.
    center_ml, center_ap
        Centre of the cranial window, mm, for bouts without metadata; by default that of the session's other bouts.
    rig
        What no header says about the microscope, for bouts without metadata; by default that of the other bouts.
    channels
        What the channels of the recording are; as depths, each gets fields of view of its own.

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
    bouts = _bouts(Path(session_path), center_ml, center_ap, rig, channels)
    metas = [bout.imaging.to_dict() for bout in bouts]
    _compare(bouts)
    return metas[0], metas


def load_session_metadata(
    session_path: str | os.PathLike[str],
    *,
    center_ml: float | None = None,
    center_ap: float | None = None,
    rig: Rig | None = None,
    channels: Channels = "colours",
    damaged_frames: DamagedFrames = "salvage",
    index: Index = ScanImageTif,
) -> SessionMetadata:
    """Load what the microscope says of a session: metadata and frames of all bouts, typed, checked and compared.

    Which frames there are, and when they were taken, the headers of the tifs tell, where there are tifs; else the
    rig's file of times, in which a gap of some frame periods stands for as many missing frames.

    Parameters
    ----------
    session_path, center_ml, center_ap, rig, channels
        As for :func:`load_meta_files`.
    damaged_frames
        As for :func:`~meso_core.scanimage.bin_per_plane`.
    index
        Makes the index of a tif, where its headers are not read from the file itself.

    Raises
    ------
    MissingInputError
        If there is no bout, or a file of a bout is missing and there are no tifs to make it from.
    MetadataError, InputFileError
        As for :func:`load_meta_files`; also if a bout has another number of page times than of pages, more pages than
        its metadata promise, or, with ``refuse``, frames that are missing or not whole.

    Warns
    -----
    MesoWarning
        As for :func:`load_meta_files`, and if frames are missing or not whole.
    """
    bouts = _bouts(Path(session_path), center_ml, center_ap, rig, channels, index)
    _compare(bouts)
    return SessionMetadata(tuple(_with_frames(bout, damaged_frames) for bout in bouts))


def write_missing_meta(
    session_path: str | os.PathLike[str],
    out_folder: str | os.PathLike[str],
    *,
    center_ml: float | None = None,
    center_ap: float | None = None,
    rig: Rig | None = None,
    channels: Channels = "colours",
    index: Index = ScanImageTif,
) -> tuple[Path, ...]:
    """Make the metadata files that the rig did not deliver.

    Parameters
    ----------
    session_path
        Session folder. Nothing in it is changed.
    out_folder
        Where the files go, each in a folder named after its bout.
    center_ml, center_ap, rig, channels, index
        As for :func:`load_session_metadata`.

    Returns
    -------
    tuple of Path
        The files made, ``raw_imaging_data_NN/_ibl_rawImagingData.meta.json`` and
        ``raw_imaging_data_NN/rawImagingData.times_scanImage.npy``; none where all are there.
    """
    made = []
    for bout in _bouts(Path(session_path), center_ml, center_ap, rig, channels, index):
        target = Path(out_folder) / bout.folder.name
        if not bout.delivered:
            write_file(target / IMAGING_META_FILE, bout.imaging.source_json.encode())
            made.append(target / IMAGING_META_FILE)
        if not is_there(bout.folder / IMAGING_TIMES_FILE):
            with replacing(target / IMAGING_TIMES_FILE) as file:
                np.save(file, _page_times(bout, _frames_of(bout)), allow_pickle=False)
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
            remedy = "Copy the bout from the rig, or bring its tifs back from the archive (`meso restore`)"
            raise MissingInputError.at(folder, expected="raw tifs", found="none", remedy=remedy)
        path = find_meta(folder)
        n_pages = None if path is None else read_imaging_metadata(path).n_pages
        bouts.append(BoutSource(folder.name, tuple(LocalTif(p) for p in tifs), n_pages))
    return tuple(bouts)


def find_meta(folder: str | os.PathLike[str]) -> Path | None:
    """Find the metadata file of a bout; None where there is none.

    Raises
    ------
    InputFileError
        If there are several.
    """
    found = sorted(p for p in Path(folder).glob("*rawImagingData.meta.json") if not why_ignored(p.name))
    if len(found) > 1:
        names = ", ".join(p.name for p in found)
        raise InputFileError.at(
            folder, expected="one metadata file", found=names, remedy="Move the wrong one out of the folder"
        )
    return found[0] if found else None


def read_imaging_metadata(path: str | os.PathLike[str]) -> ImagingMetadata:
    """Read a metadata file.

    Raises
    ------
    InputFileError
        If the file is no JSON object.
    MetadataError
        If a field is missing or holds what it must not.
    """
    return parse_imaging_metadata(_read_json(Path(path)), str(path))


def _read_json(path: Path) -> dict[str, Any]:
    meta = read_json(path, _MADE_AGAIN)
    if not isinstance(meta, dict):
        raise InputFileError.at(path, expected="a JSON object", found=type(meta).__name__, remedy=_MADE_AGAIN)
    return meta


def _bouts(
    session_path: Path,
    center_ml: float | None,
    center_ap: float | None,
    rig: Rig | None,
    channels: Channels,
    index: Index = ScanImageTif,
) -> tuple[_Bout, ...]:
    """Metadata of all bouts; those that the rig did not deliver are made from the tifs."""
    folders = _bout_folders(session_path)
    tifs = {folder: tuple(LocalTif(tif, index) for tif in raw_tifs(folder)) for folder in folders}
    bouts: dict[Path, _Bout] = {}
    for folder in folders:
        path = find_meta(folder)
        if path is not None:
            imaging = _typed(_read_json(path), path, channels)
            bouts[folder] = _Bout(folder, imaging, delivered=True, tifs=tifs[folder])
            if tifs[folder]:
                tell_of_another_acquisition(path, imaging.acquisition_start, tifs[folder][0])
    for folder in folders:
        if folder not in bouts:
            known = [bout.imaging for bout in bouts.values()]
            center = _window_center(folder, known, center_ml, center_ap)
            meta, found = meta_with_frames(_needed(folder, tifs[folder]), *center, rig=rig or _rig_of(known))
            imaging = _typed(meta, folder / IMAGING_META_FILE, channels)
            bouts[folder] = _Bout(folder, imaging, delivered=False, tifs=tifs[folder], found=found)
    return tuple(bouts[folder] for folder in folders)


def _typed(meta: dict[str, Any], path: Path, channels: Channels) -> ImagingMetadata:
    """Give types, without channels that were saved in tifs of their own, of which none is there."""
    imaging = parse_imaging_metadata(meta, str(path))
    saved = imaging.channels_saved
    there = channels_on_file(path.parent.name, [tif.name for tif in raw_tifs(path.parent)], saved)
    if there != saved:
        n_pages = imaging.n_pages * len(there) // len(saved)
        meta = {**imaging.to_dict(), "channelSaved": list(there), "nFrames": n_pages}
        imaging = parse_imaging_metadata(meta, str(path))
    if channels == "colours":
        return imaging
    return parse_imaging_metadata(channels_as_depths(imaging.to_dict()), str(path))


def _bout_folders(session_path: Path) -> tuple[Path, ...]:
    folders = imaging_bouts(session_path)
    if not folders:
        expected, remedy = "folders raw_imaging_data_NN", "Copy the raw data of the session"
        raise MissingInputError.at(session_path, expected=expected, found="none", remedy=remedy)
    return folders


def _compare(bouts: tuple[_Bout, ...]) -> None:
    first, *others = bouts
    content = first.imaging.to_dict()
    for bout in others:
        check_same_imaging(first.folder.name, content, bout.folder.name, bout.imaging.to_dict())
    for bout in bouts:
        check_imaged(bout.imaging, str(bout.folder / IMAGING_META_FILE))
    check_channels(first.imaging, first.folder.name)


def _with_frames(bout: _Bout, damaged_frames: DamagedFrames) -> BoutMetadata:
    found = _frames_of(bout)
    tell_of_faults(bout.folder.name, found.faults, found.index.size, damaged_frames)
    starts = tuple(int(start) for start in np.unique(found.starts(bout.imaging.stack.is_slow))) or (0,)
    times = _page_times(bout, found)
    return BoutMetadata(bout.folder.name, bout.imaging, times, found.index, found.faults, starts)


def _page_times(bout: _Bout, found: FramesOnFile) -> npt.NDArray[np.float64]:
    """Return the times of the pages that are used, (n_pages,), s."""
    return np.repeat(found.heads["time"], bout.imaging.n_channels)


def _frames_of(bout: _Bout) -> FramesOnFile:
    """Frames of a bout: those of its tifs, or else those that the times on file tell."""
    imaging, path = bout.imaging, bout.folder / IMAGING_TIMES_FILE
    if bout.found is not None:
        return bout.found
    promised = imaging.n_pages if bout.delivered else None
    times = _read_times(path, imaging) if is_there(path) else None
    if bout.tifs or times is None:
        tifs = _needed(bout.folder, bout.tifs)
        found = frames_on_file(bout.folder.name, tifs, imaging.channels_saved, imaging.stack.frames_averaged, promised)
        check_promise(bout.folder.name, found, promised, imaging.n_channels)
        return found
    placer = BoutPlacer(bout.folder.name, imaging.channels_saved, imaging.stack.frames_averaged)
    one = placer.begin_tif(IMAGING_TIMES_FILE)
    one.add(heads_by_times(times, imaging.n_channels, imaging.stack.frames_averaged))
    one.finish()
    return placer.frames()


def _read_times(path: Path, imaging: ImagingMetadata) -> npt.NDArray[np.float64]:
    times = read_array(path, _MADE_AGAIN)
    if times.dtype.kind not in "iuf" or times.size != max(times.shape, default=0):
        raise _bad_times(path, "one time per page", f"shape {times.shape}, dtype {times.dtype}")
    times = times.reshape(-1).astype(np.float64)
    if not np.isfinite(times).all():
        raise _bad_times(path, "one finite time per page", "NaN or infinity")
    n_pages, n_channels = imaging.n_pages, imaging.n_channels
    # some rigs count frames in one file and the pages of all channels in the other
    if times.size not in (n_pages, n_pages * n_channels) and times.size * n_channels != n_pages:
        raise _bad_times(path, f"{n_pages} times, one per page as nFrames says", f"{times.size} times")
    return np.asarray(times)


def _bad_times(path: Path, expected: str, found: str) -> InputFileError:
    return InputFileError.at(path, expected=expected, found=found, remedy=_MADE_AGAIN)


def _needed(folder: Path, tifs: tuple[LocalTif, ...]) -> tuple[LocalTif, ...]:
    """Return the tifs of a bout from which something must be made."""
    if not tifs:
        expected = f"{IMAGING_META_FILE} and {IMAGING_TIMES_FILE}, or the tifs to make them from"
        remedy = "Copy the bout from the rig, or bring its tifs back from the archive (`meso restore`)"
        raise MissingInputError.at(folder, expected=expected, found="neither", remedy=remedy)
    return tifs


def _window_center(
    folder: Path, known: Iterable[ImagingMetadata], ml: float | None, ap: float | None
) -> tuple[float, float]:
    if ml is not None and ap is not None:
        return ml, ap
    for meta in known:
        return meta.window.ml_mm, meta.window.ap_mm
    raise MetadataError.at(
        folder / IMAGING_META_FILE,
        field="centerMM",
        expected="the centre of the cranial window (ML, AP in mm from bregma)",
        found="no metadata in any bout, and none given",
        remedy="Set MESO_WINDOW_CENTER_ML and MESO_WINDOW_CENTER_AP (center_ml, center_ap) as the surgery record says: "
        "no tif holds them",
    )


def _rig_of(known: Iterable[ImagingMetadata]) -> Rig | None:
    """Read from another bout's metadata what no header says about the microscope."""
    for imaging in known:
        meta, orientation = imaging.to_dict(), imaging.orientation
        if orientation is not None and {"channelID", "laserPowerCalibration"} <= meta.keys():
            return Rig(
                channel_id=meta["channelID"],
                positive_ml=orientation.positive_ml,
                positive_ap=orientation.positive_ap,
                laser_power_calibration=meta["laserPowerCalibration"],
                pmt_gain=meta.get("PMTGain", ()),
            )
    return None
