"""Names and paths of a session: one rule each.

What belongs here: how a session, its bouts and its FOV folders are named and found. What does not: the content of
any file.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from dataclasses import dataclass
from datetime import date
from pathlib import Path, PurePosixPath

from ..errors import InputFileError, MesoError, MissingInputError
from .ignored import why_ignored

#: Folder of the subjects of a lab; where a root holds one lab, it may lie in the root or be left out.
SUBJECTS = "Subjects"
_KEY = re.compile(
    rf"(?:(?:(?P<lab>[\w.-]+)/)?{SUBJECTS}/)?(?P<subject>[\w.-]+)/(?P<date>\d{{4}}-\d{{2}}-\d{{2}})/(?P<number>[0-9]{{1,3}})(?:@(?P<at>[\w.-]*))?"
)
#: In ``subject/date/number``.
_SLASHES_OF_A_NAME = 2
_BOUT = re.compile(r"raw_imaging_data(?:_(\d{2}))?")

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
    """Identity of a session; as text it is the path of its folder below the root (the ALF short path).

    There is one text for each session, however its folder is written: the number has three digits, and ``Subjects``
    stands only behind a lab. Records on the disk have this text. People and Dagster call it by its :attr:`name`, or,
    where two labs hold the subject, by its :attr:`name_with_lab`.
    """

    subject: str
    date: str
    #: Three digits.
    number: str
    #: Set only where the root holds several labs.
    lab: str | None = None

    @classmethod
    def parse(cls, text: str) -> SessionKey:
        """Read ``[[lab/]Subjects/]subject/YYYY-MM-DD/NNN``, or ``subject/YYYY-MM-DD/NNN@lab``.

        A number may have one to three digits, as in ALF. Nothing behind the ``@`` means: in no lab's folder.

        Raises
        ------
        MesoError
            If the text is not of that form, or the calendar has no such day.
        """
        match = _KEY.fullmatch(text)
        odd = match is None or ".." in text or "." in re.split("[/@]", text) or not is_date(match["date"])
        if match is None or odd or (match["at"] is not None and text.count("/") > _SLASHES_OF_A_NAME):
            raise MesoError.at(
                "session key",
                expected="[lab/Subjects/]subject/YYYY-MM-DD/NNN or subject/YYYY-MM-DD/NNN@lab, the date one of the "
                "calendar",
                found=repr(text),
                remedy="Name the session as in SP035/2023-03-03/001",
            )
        return cls(match["subject"], match["date"], match["number"].zfill(3), match["lab"] or match["at"] or None)

    @property
    def name(self) -> str:
        """What people call it where one lab holds the subject."""
        return f"{self.subject}/{self.date}/{self.number}"

    @property
    def name_with_lab(self) -> str:
        """What people call it where more than one lab holds the subject; behind ``@`` is nothing if it is in none."""
        return f"{self.subject}/{self.date}/{self.number}@{self.lab or ''}"

    @property
    def full_name(self) -> str:
        """What people call it away from its root, as on a page that is passed on: with the lab, where it has one."""
        return self.name_with_lab if self.lab else self.name

    @property
    def short_path(self) -> PurePosixPath:
        """Path of the session below the root, with forward slashes."""
        prefix = f"{self.lab}/Subjects/" if self.lab else ""
        return PurePosixPath(f"{prefix}{self.subject}/{self.date}/{self.number}")

    def __str__(self) -> str:  # of very many sessions, again and again: path objects cost more
        return f"{f'{self.lab}/{SUBJECTS}/' if self.lab else ''}{self.subject}/{self.date}/{self.number}"

    @property
    def places(self) -> tuple[str, ...]:
        """Paths below a root at which the session may lie, with forward slashes; that of its text comes first."""
        subjects = (f"{self.lab}/{SUBJECTS}/",) if self.lab else ("", f"{SUBJECTS}/")
        numbers = dict.fromkeys((self.number, f"{int(self.number):02d}", f"{int(self.number)}"))
        return tuple(f"{folder}{self.subject}/{self.date}/{number}" for folder in subjects for number in numbers)

    def folder(self, root: Path) -> Path:
        """Folder of the session below a local root: the one that is there, or else the one of its text.

        Raises
        ------
        InputFileError
            If there are two: nobody but a person knows which is meant.
        """
        base = str(root).rstrip("/")  # of very many sessions: path objects cost more than asking the system
        places = [f"{base}/{place}" for place in self.places]
        if not self.lab and not _is_folder(f"{base}/{SUBJECTS}"):
            places = places[: len(places) // 2]  # there is nothing below it
        found = [Path(place) for place in places if _is_folder(place)]
        if others := [other for other in found[1:] if not other.samefile(found[0])]:
            raise InputFileError.at(
                found[0],
                expected="one folder of this session",
                found=f"also {' and '.join(map(str, others))}",
                remedy="Keep the folder that holds the session and move the other away, or give it another number",
            )
        return found[0] if found else Path(places[0])


def _is_folder(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)  # noqa: PTH116  as said
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise
        return False


def imaging_bouts(session_path: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Folders of the imaging bouts of a session, in order of their number.

    A lone, older ``raw_imaging_data`` (without number) counts as one bout and comes first.
    """
    session_path = Path(session_path)
    if not session_path.is_dir():
        raise MissingInputError.at(
            session_path,
            expected="a session folder",
            found="no such folder",
            remedy="Set MESO_ROOT to the folder that holds the subjects, or name a session that `meso status` lists",
        )
    found = [p for p in _entries(session_path) if p.is_dir() and _BOUT.fullmatch(p.name)]
    return tuple(sorted(found, key=lambda p: natural_key(p.name)))


def raw_tifs(bout: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Tifs of one bout in natural order; ``reference/`` and other sub-folders are not data, nor what is ignored.

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
            raise InputFileError.at(
                path, expected="a tif", found=what, remedy="Bring the tif back, or move this out of the bout"
            )
    return tuple(sorted(found, key=lambda p: natural_key(p.name)))


def _entries(folder: Path) -> list[Path]:
    try:
        return [entry for entry in folder.iterdir() if not why_ignored(entry.name)]
    except OSError as error:
        remedy = "Give the platform's user the right to read it, or mount its disk"
        raise InputFileError.at(
            folder, expected="a readable folder", found=error.strerror or str(error), remedy=remedy
        ) from error


def fov_name(index: int) -> str:
    """ALF folder of a FOV, as in ``FOV_00``."""
    return f"FOV_{index:02d}"


def fov_index(name: str) -> int:
    """Index of a FOV by its ALF folder: the inverse of :func:`fov_name`."""
    return int(name.removeprefix("FOV_"))


def plane_name(index: int) -> str:
    """suite2p folder of a FOV, as in ``plane0``."""
    return f"plane{index}"


def printable(text: str) -> str:
    """Text of a name for a message, escaped where it cannot be printed."""
    return text if text.isprintable() else ascii(text)[1:-1]


def is_date(text: str) -> bool:
    """Whether this is a day of the calendar, YYYY-MM-DD."""
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text, re.ASCII):
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
