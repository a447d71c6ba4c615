"""What the rig leaves in a session, by kind.

What belongs here: the kinds, and which path is of which kind. What does not: what archiving makes of the frames
(``archive.delivered``), and who reads which kind (the platform declares that).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ..errors import InputFileError
from .ignored import why_ignored
from .listing import ListedFile, listing_version
from .paths import ARCHIVE_NAME, IMAGING_META_FILE, IMAGING_TIMES_FILE, MESO_FOLDER, ZARR_NAME, natural_key

#: Below these names lies what the rig delivers; everything else in a session folder is made by somebody.
RAW_PREFIXES = ("raw_", "snapshots/", "reference/", "_ibl_experiment.description")

#: Usual folder of the DAQ's recording, and how the names of its files begin in whichever folder of the rig.
SYNC_FOLDER, _DAQ_FILES = "raw_sync_data", "_timeline_"

#: What assets may put into the rig's folders, where the rig did not: metadata, archives, images under their ALF names.
_BESIDE_RAW = re.compile(
    r"raw_imaging_data(_\d{2})?/("
    rf"{re.escape(IMAGING_META_FILE)}|{re.escape(IMAGING_TIMES_FILE)}|{re.escape(ARCHIVE_NAME)}|{re.escape(ZARR_NAME)}/.+"
    r"|reference/referenceImage\.[^/]+)"
)

#: Ending of a bout's metadata file; the rig may put something before it.
_META_ENDING = "rawImagingData.meta.json"
_BOUT = r"raw_imaging_data(_\d{2})?/"
_TIF = rf"{_BOUT}[^/]+\.tiff?"
_ARCHIVE = rf"{_BOUT}({re.escape(ARCHIVE_NAME)}|{re.escape(ZARR_NAME)}(/.*)?)"


class RawKind(Enum):
    """What the rig leaves, by what it is read for."""

    #: Tifs of the imaging bouts, or the archive of a bout that came as such.
    FRAMES = "frames"
    #: Imaging metadata and the microscope's own frame times.
    METADATA = "metadata"
    #: The experimenter's ratings of frames (``exptQC.mat``, ``badframes.mat``).
    FRAME_RATINGS = "frame_ratings"
    #: Recording of the DAQ.
    DAQ = "daq"
    #: Reference image of each bout.
    REFERENCE = "reference"
    #: Pictures and notes of the experimenter.
    SNAPSHOTS = "snapshots"


_PATTERNS: Mapping[RawKind, re.Pattern[str]] = {
    kind: re.compile(pattern, re.IGNORECASE)
    for kind, pattern in {
        RawKind.FRAMES: f"{_TIF}|{_ARCHIVE}",
        RawKind.METADATA: rf"{_BOUT}[^/]*rawImagingData\.(meta\.json|times_scanImage\.npy)",
        RawKind.FRAME_RATINGS: rf"{_BOUT}[^/]+\.mat",
        RawKind.DAQ: rf"{SYNC_FOLDER}/.*|raw_[^/]+/{_DAQ_FILES}[^/]+",
        RawKind.REFERENCE: rf"{_BOUT}reference/.*",
        RawKind.SNAPSHOTS: rf"({_BOUT})?snapshots/.*",
    }.items()
}


@dataclass(frozen=True, slots=True)
class RawFiles:
    """The raw files of one kind in a session."""

    kind: RawKind
    session_path: Path
    #: As the rig delivered them; a tif that only the archive holds by now is among them.
    files: tuple[ListedFile, ...]

    @property
    def bouts(self) -> tuple[Path, ...]:
        """Folders of the imaging bouts that have such files, in order of their number."""
        names = {file.path.split("/")[0] for file in self.files if file.path.startswith("raw_imaging_data")}
        return tuple(self.session_path / name for name in sorted(names, key=natural_key))

    @property
    def version(self) -> str:
        """Digest of the listing."""
        return listing_version(self.files)


def files_of_kind(kind: RawKind, files: Iterable[ListedFile]) -> tuple[ListedFile, ...]:
    """Choose the files of one kind from a listing of what the rig delivered."""
    return tuple(file for file in files if _PATTERNS[kind].fullmatch(file.path) and not why_ignored(file.path))


def daq_folder(daq: RawFiles) -> Path:
    """Folder of the DAQ's recording: ``raw_sync_data``, or another of the rig's that holds Timeline's files.

    Raises
    ------
    InputFileError
        If several do.
    """
    found = sorted({f.path.split("/")[0] for f in daq.files if f.path.rpartition("/")[2].startswith(_DAQ_FILES)})
    if len(found) > 1:
        remedy = "Keep the recording that ran with the microscope, and move the other folder out of the session"
        raise InputFileError.at(
            daq.session_path, expected="one recording of the DAQ", found=" and ".join(found), remedy=remedy
        )
    return daq.session_path / (found[0] if found else SYNC_FOLDER)


def is_tif(path: str) -> bool:
    """Whether a path below a session is a raw tif of a bout."""
    return re.fullmatch(_TIF, path, re.IGNORECASE) is not None and not why_ignored(path)


def is_frame_archive(path: str) -> bool:
    """Whether a path below a session is an archive of a bout's frames, or lies in one."""
    return re.fullmatch(_ARCHIVE, path) is not None and not why_ignored(path)


def bout_names(files: Iterable[ListedFile]) -> tuple[str, ...]:
    """Names of the imaging bouts that hold one of these files, in order of their number."""
    folders = {file.path.split("/")[0] for file in files if "/" in file.path}
    return tuple(sorted((name for name in folders if re.fullmatch(_BOUT, f"{name}/")), key=natural_key))


def odd_bouts(files: Iterable[ListedFile]) -> tuple[str, ...]:
    """Name folders that look like imaging bouts and are none by their name, as ``raw_imaging_data_1``."""
    folders = {file.path.split("/")[0] for file in files if "/" in file.path}
    return tuple(
        sorted(
            name
            for name in folders
            if name.startswith("raw_imaging_data") and not re.fullmatch(_BOUT, f"{name}/") and not why_ignored(name)
        )
    )


def surplus_metadata(files: Iterable[ListedFile]) -> dict[str, tuple[str, ...]]:
    """Find the bouts with more than one metadata file, with their names: nobody but a person knows which is right."""
    found: dict[str, list[str]] = {}
    for file in files_of_kind(RawKind.METADATA, files):
        if file.path.endswith(_META_ENDING):
            bout, _, name = file.path.partition("/")
            found.setdefault(bout, []).append(name)
    return {bout: tuple(sorted(names)) for bout, names in sorted(found.items()) if len(names) > 1}


def is_beyond_assets(path: str) -> bool:
    """Whether no asset may publish at a path below a session: a file of the rig, or a record of the platform."""
    if path.startswith(f"{MESO_FOLDER}/"):
        return True
    return path.startswith(RAW_PREFIXES) and _BESIDE_RAW.fullmatch(path) is None
