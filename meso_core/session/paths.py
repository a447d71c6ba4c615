"""Names and paths of a session: one rule each.

What belongs here: how a session, its bouts and its FOV folders are named and found. What does not: the content of
any file.
"""

from __future__ import annotations

import os
import re
import warnings
from dataclasses import dataclass
from datetime import date
from pathlib import Path, PurePosixPath

from ..errors import InputFileError, MesoError, MesoWarning, MissingInputError, problem

_KEY = re.compile(
    r"^(?:(?P<lab>[\w.-]+)/Subjects/)?(?P<subject>[\w.-]+)/(?P<date>\d{4}-\d{2}-\d{2})/(?P<number>\d{3})$"
)
_BOUT = re.compile(r"^raw_imaging_data(?:_(\d{2}))?$")

#: Imaging metadata of a bout, and the microscope's time of each page; the rig leaves them, or meso makes them.
IMAGING_META_FILE = "_ibl_rawImagingData.meta.json"
IMAGING_TIMES_FILE = "rawImagingData.times_scanImage.npy"

#: Archives of a bout's raw frames.
ARCHIVE_NAME, ZARR_NAME = "imaging.frames.tar.bz2", "imaging.frames.zarr"

#: Folder inside a session for the platform's own records (manifests, completion markers, logs).
MESO_FOLDER = ".meso"


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key that orders the numbers inside a file name by value (``_2.tif`` before ``_10.tif``)."""
    parts = re.split(r"(\d+)", name)
    # not isdigit: a superscript is one, and has no value
    return tuple((1, int(p), p) if p.isdecimal() else (0, 0, p) for p in parts)


@dataclass(frozen=True, slots=True)
class SessionKey:
    """Identity of a session; as text it is the partition key (the ALF short path)."""

    subject: str
    date: str
    #: Three digits.
    number: str
    #: Set only where the root holds several labs.
    lab: str | None = None

    @classmethod
    def parse(cls, text: str) -> SessionKey:
        """Read ``[lab/Subjects/]subject/YYYY-MM-DD/NNN``.

        Raises
        ------
        MesoError
            If the text is not of that form, or the calendar has no such day.
        """
        match = _KEY.fullmatch(text)
        if match is None or ".." in text or "." in text.split("/") or not _is_date(match["date"]):
            raise MesoError(
                problem(
                    "session key",
                    expected="[lab/Subjects/]subject/YYYY-MM-DD/NNN, the date one of the calendar",
                    found=repr(text),
                    remedy="Name the session as in SP035/2023-03-03/001",
                )
            )
        return cls(match["subject"], match["date"], match["number"], match["lab"])

    @property
    def short_path(self) -> PurePosixPath:
        """Path of the session below the root, with forward slashes."""
        prefix = f"{self.lab}/Subjects/" if self.lab else ""
        return PurePosixPath(f"{prefix}{self.subject}/{self.date}/{self.number}")

    def __str__(self) -> str:
        return str(self.short_path)

    def folder(self, root: Path) -> Path:
        """Folder of the session below a local root."""
        return Path(root) / self.short_path


def imaging_bouts(session_path: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Folders of the imaging bouts of a session, in order of their number.

    A lone, older ``raw_imaging_data`` (without number) counts as one bout and comes first.
    """
    session_path = Path(session_path)
    if not session_path.is_dir():
        raise MissingInputError(
            problem(
                session_path,
                expected="a session folder",
                found="no such folder",
                remedy="Check MESO_ROOT and the session's name",
            )
        )
    found = [p for p in _entries(session_path) if p.is_dir() and _BOUT.match(p.name)]
    return tuple(sorted(found, key=lambda p: natural_key(p.name)))


def raw_tifs(bout: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Tifs of one bout in natural order; ``reference/`` and other sub-folders are not data.

    Raises
    ------
    InputFileError
        If a folder, or a link to nothing, is named like a tif, or the bout cannot be read: a tif that is left out in
        silence would be lost with the bout.
    """
    found = [p for p in _entries(Path(bout)) if p.suffix.lower() in (".tif", ".tiff")]
    for path in found:
        if not path.is_file():
            what = f"a link to {path.readlink()}, where there is none" if path.is_symlink() else "no file"
            raise InputFileError(
                problem(path, expected="a tif", found=what, remedy="Bring the tif back, or move this out of the bout")
            )
    return tuple(sorted(found, key=lambda p: natural_key(p.name)))


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        remedy = "Give the platform's user the right to read it, or mount its disk"
        raise InputFileError(
            problem(folder, expected="a readable folder", found=error.strerror or str(error), remedy=remedy)
        ) from error


def fov_name(index: int) -> str:
    """ALF folder of a FOV, as in ``FOV_00``."""
    return f"FOV_{index:02d}"


def plane_name(index: int) -> str:
    """suite2p folder of a FOV, as in ``plane0``."""
    return f"plane{index}"


def find_sessions(root: Path) -> tuple[SessionKey, ...]:
    """Keys of all session folders below a local root, sorted.

    Raises
    ------
    MissingInputError
        If the root itself cannot be listed: a failed listing is not an empty one.
    """
    root = Path(root)
    if not root.is_dir():
        raise MissingInputError(
            problem(root, expected="the root folder of sessions", found="no such folder", remedy="Set MESO_ROOT")
        )
    keys = []
    for pattern in ("*/????-??-??/???", "*/Subjects/*/????-??-??/???"):
        for folder in root.glob(pattern):
            text = folder.relative_to(root).as_posix()
            if not os.path.isdir(folder) or not _KEY.fullmatch(text):  # noqa: PTH112  this one answers for link loops too
                continue
            try:
                keys.append(SessionKey.parse(text))
            except MesoError as error:
                warnings.warn(f"{folder}: not a session ({error})", MesoWarning, stacklevel=2)
    return tuple(sorted(keys, key=str))


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
