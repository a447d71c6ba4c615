"""What each asset reads of the raw session: a change elsewhere is not its business.

What belongs here: one row per asset, and which raw files count although they are not there, or are there in another
form. Listing and hashing are in ``resources`` and ``meso_core.storage``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from meso_core.archive import ARCHIVE_NAME, ZARR_NAME, ArchiveReport, RemovalEvent
from meso_core.storage import ListedFile

_BOUT = r"raw_imaging_data(_\d{2})?/"
_TIF = rf"{_BOUT}[^/]+\.tiff?"
_ARCHIVE = rf"{_BOUT}({re.escape(ARCHIVE_NAME)}|{re.escape(ZARR_NAME)}(/.*)?)"
_FRAMES = f"{_TIF}|{_ARCHIVE}"
_METADATA = rf"{_BOUT}[^/]*rawImagingData\.(meta\.json|times_scanImage\.npy)"
_RATINGS = rf"{_BOUT}[^/]+\.mat"
_REFERENCE = rf"{_BOUT}reference/.*"

#: Asset → the raw files that it reads, by path below the session. The flag that says "I am whole" is nobody's input.
RAW_INPUTS: Mapping[str, str] = {
    "imaging_metadata": f"{_FRAMES}|{_METADATA}",
    "imaging_frames_archive": f"{_FRAMES}|{_METADATA}",
    "reference_images": f"{_REFERENCE}|{_METADATA}",
    "frame_qc": f"{_RATINGS}|{_METADATA}",
    "frame_times": f"raw_sync_data/.*|{_METADATA}",
    "motion_registered_frames": f"{_FRAMES}|{_RATINGS}|{_METADATA}",
    "mean_image_mlapdv": _REFERENCE,
}
#: Ending of the rig's metadata file where locations were added to it on demand.
_RIG_COPY = ".rig"


def read_by(asset: str | None, files: Iterable[ListedFile]) -> tuple[ListedFile, ...]:
    """Choose of the raw files those that an asset reads; None: those that any asset reads."""
    patterns = RAW_INPUTS.values() if asset is None else [RAW_INPUTS[asset]]
    wanted = re.compile("|".join(f"({pattern})" for pattern in patterns), re.IGNORECASE)
    return tuple(file for file in files if wanted.fullmatch(file.path))


def frames_among(files: Iterable[ListedFile]) -> tuple[ListedFile, ...]:
    """Choose of the raw files those that hold the frames: tifs, and archives of bouts that came as such."""
    return tuple(file for file in files if re.fullmatch(_FRAMES, file.path, re.IGNORECASE))


def as_delivered(
    files: Iterable[ListedFile],
    published: set[str],
    removals: Iterable[RemovalEvent],
    archives: Iterable[ArchiveReport],
) -> tuple[ListedFile, ...]:
    """Tell which files the rig delivered, whatever archiving, removing and restoring made of them since.

    Parameters
    ----------
    files
        What lies in the raw folders now.
    published
        Paths of files that assets put there.
    removals
        Recorded removals of raw tifs.
    archives
        Recorded verifications of archives.
    """
    listed = {file.path: file for file in files}
    there = {path: file for path, file in listed.items() if path not in published}
    there = {**{e.path: ListedFile(e.path, e.size, e.mtime_ns) for e in removals}, **there}
    for path in [path for path in there if path.endswith(_RIG_COPY)]:  # metadata to which locations were added
        rig, original = there.pop(path), path.removesuffix(_RIG_COPY)
        there[original] = ListedFile(original, rig.size, rig.mtime_ns)
    for report in archives:
        _account_for(report, listed, there)
    with_tifs = {path.split("/")[0] for path in there if re.fullmatch(_TIF, path, re.IGNORECASE)}
    return tuple(
        file
        for path, file in sorted(there.items())
        if path.split("/")[0] not in with_tifs or not re.fullmatch(_ARCHIVE, path)
    )


def _account_for(report: ArchiveReport, listed: Mapping[str, ListedFile], there: dict[str, ListedFile]) -> None:
    """Count a bout as it came: by its tifs, also absent ones, or by its archive, also where tifs were restored."""
    place = f"{report.bout}/{report.name}"
    archive = {path: file for path, file in listed.items() if path == place or path.startswith(f"{place}/")}
    if not archive:
        return
    members = {
        f"{report.bout}/{m.name}": ListedFile(f"{report.bout}/{m.name}", m.size, m.mtime_ns) for m in report.members
    }
    if report.compared_with_tifs:
        there.update({path: file for path, file in members.items() if path not in listed})
    else:
        for path in [path for path, file in members.items() if there.get(path) == file]:
            del there[path]
        there.update(archive)
