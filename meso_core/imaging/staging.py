"""Files of a FOV on their way between its work folder and what is published, and what the steps hand on.

What belongs here: links, copies and records of files with their hashes, and the results of a session's steps. What
does not: the steps (``session``).
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

from ..errors import InputFileError
from ..opening import open_plain
from ..qc import QCResult
from ..session import fov_name
from ..storage.files.atomic import make_folder, move_file, replacing, storage_errors, write_file
from ..storage.files.deferred_renames import remove_name, replace_name
from ..storage.files.hashing import FileHash
from ..storage.manifests.manifest import FileRecord
from .detection.fov import DetectionResult
from .figures import FovPicture
from .fovs.job import FovJob
from .fovs.marker import read_marker
from .fovs.plane import REGISTERED, REGISTERED_CHAN2, find_movie, note_moved
from .registration.fov import RegistrationResult

T = TypeVar("T")

_CHUNK = 1 << 22
_FIGURES = "reports/figures"


@dataclass(frozen=True)
class RegisteredFov:
    """One registered FOV, as short as a step hands it on."""

    fov: int
    n_frames: int
    #: Why it was registered now; empty where an earlier run had left it whole.
    reason: str


@dataclass(frozen=True)
class DetectedFov:
    """ROIs of one FOV, and the files that were staged."""

    fov: int
    result: DetectionResult
    files: tuple[FileRecord, ...]


@dataclass(frozen=True)
class Staged(Generic[T]):
    """What a stage hands over to be published."""

    #: Staged files, by path below the session, hashed while they were written.
    files: tuple[FileRecord, ...]
    #: By name.
    fovs: Mapping[str, T]
    qc: tuple[QCResult, ...]
    #: Small PNG of the first FOV: its shifts, or its mean image with the outlines of its ROIs.
    picture: bytes
    #: Name of each FOV that failed → why; of ROIs, those that were not registered are not among them.
    missing: Mapping[str, str] = field(default_factory=dict)


StagedRegistration: TypeAlias = Staged[RegistrationResult]
StagedRois: TypeAlias = Staged[DetectionResult]


def copy_file(source: Path, target: Path) -> FileHash:
    """Copy a file whole or not at all, and return the hashes of what was copied."""
    with open_plain(source) as file, replacing(target) as copy:
        shutil.copyfileobj(file, copy, _CHUNK)
    return copy.content


def link_file(source: Path, target: Path, known: FileHash) -> bool:
    """Give a file of known content a second name.

    Returns
    -------
    bool
        False where that cannot be done: between two disks, or on a file system without hard links.

    Raises
    ------
    InputFileError
        If the file is not what it was when it was hashed.
    """
    with storage_errors(target):
        make_folder(target.parent)
        target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise _changed(source, known, "no such file") from None
    except OSError:
        if (size := source.stat().st_size) != known.size:
            raise _changed(source, known, f"{size} bytes") from None
        return False
    if (size := target.stat().st_size) != known.size:
        target.unlink()
        raise _changed(source, known, f"{size} bytes")
    return True


def move_checked(source: Path, target: Path, known: FileHash) -> None:
    """Move a file of known content; errors as :func:`copy_checked`."""
    with storage_errors(target):
        try:
            replace_name(source, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            copy_checked(source, target, known)
            remove_name(source)


def copy_checked(source: Path, target: Path, known: FileHash) -> FileHash:
    """Copy a file of known content.

    Raises
    ------
    InputFileError
        If the file is not what it was when it was hashed.
    """
    if not source.is_file():
        raise _changed(source, known, "no such file")
    found = copy_file(source, target)
    if found.sha256 != known.sha256:
        target.unlink()
        raise _changed(source, known, f"{found.size} bytes, sha-256 {found.sha256[:12]}…")
    return found


def record(path: str, content: FileHash) -> FileRecord:
    """Describe a staged file, by its path below the session."""
    return FileRecord(path, content.size, content.sha256, content.md5)


def stage_outputs(job: FovJob, staged: Path, stage: str, published: Path | None = None) -> list[FileRecord]:
    """Stage what a stage left, as its marker lists it: movies as links of known content, small files as copies.

    Parameters
    ----------
    job, staged, stage
        The FOV, the folder that mirrors the session, and the stage.
    published
        Folder in which the files will lie by their paths once they are published. Where no links can be made, movies
        are moved, and are looked for there from now on.
    """
    marker = read_marker(job.folder, stage)
    assert marker is not None, "the stage was found whole"
    files = []
    for name, known in sorted(marker.outputs.items()):
        path = f"suite2p/{job.folder.name}/{name}"
        if name.endswith(".bin"):
            _stage_movie(job.folder, name, staged / path, known, None if published is None else published / path)
            files.append(record(path, known))
        else:
            files.append(record(path, copy_file(job.folder / name, staged / path)))
    return files


def _stage_movie(folder: Path, name: str, target: Path, known: FileHash, published: Path | None) -> None:
    """Stage a movie: as a link, or itself where no link can be made and it is not in its published place already."""
    source = find_movie(folder, name)
    if link_file(source, target, known):
        return
    if published is None or source != folder / name:
        copy_checked(source, target, known)
        return
    note_moved(folder, (target.parent, published.parent))
    move_checked(source, target, known)


def take_back_movies(folder: Path, staged: Path) -> None:
    """Move movies of a FOV back that were moved to be published, and were not: the folder is about to be emptied."""
    for name in (REGISTERED, REGISTERED_CHAN2):
        left = staged / "suite2p" / folder.name / name
        if left.is_file() and not (folder / name).is_file():
            with storage_errors(left):
                move_file(left, folder / name)


def stage_picture(job: FovJob, staged: Path, kind: str, picture: FovPicture) -> FileRecord:
    """Stage the full size of a FOV's figure."""
    path = f"{_FIGURES}/{fov_name(job.options.fov)}_{kind}.png"
    return record(path, write_file(staged / path, picture.full))


def _changed(path: Path, known: FileHash, found: str) -> InputFileError:
    return InputFileError.at(
        path,
        expected=f"{known.size} bytes, sha-256 {known.sha256[:12]}…, as they were written",
        found=found,
        remedy="Register the frames of this session again",
    )
