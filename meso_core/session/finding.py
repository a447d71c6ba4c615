"""Which folders below a root are sessions, and which are passed over, and why.

What belongs here: the walk over labs, subjects, dates and numbers. How a session is named is in ``paths``.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import MesoError, MesoWarning, MissingInputError
from .arrival import READY_FLAG
from .ignored import why_ignored
from .paths import SUBJECTS, SessionKey, is_date, printable

_LIKE_A_DATE = re.compile(r"\d{1,4}[-_. ]\d{1,2}[-_. ]\d{1,4}|\d{8}", re.ASCII)
_NUMBER = re.compile(r"\d{1,3}", re.ASCII)
_WHERE = "a session is at [lab/Subjects/]subject/YYYY-MM-DD/NNN"


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A folder that is not a session although it may look like one."""

    #: Path below the root; what cannot be printed is escaped.
    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Survey:
    """What one walk over a root finds."""

    #: Sorted by their text.
    sessions: tuple[SessionKey, ...]
    #: Sorted by path.
    passed_over: tuple[PassedOver, ...]


def survey_sessions(root: Path) -> Survey:
    """Find all session folders below a local root, and the folders that are passed over.

    Links are followed. Two folders that mean the same session (``1`` and ``001``) are passed over, both.

    Raises
    ------
    MissingInputError
        If the root itself cannot be listed: a failed listing is not an empty one.
    """
    walk = _Walk(Path(root))
    walk.over_root()
    return walk.result()


def find_sessions(root: Path) -> tuple[SessionKey, ...]:
    """Keys of all session folders below a local root, sorted.

    Raises
    ------
    MissingInputError
        As :func:`survey_sessions`.

    Warns
    -----
    MesoWarning
        For each folder that is passed over.
    """
    found = survey_sessions(root)
    for passed in found.passed_over:
        warnings.warn(f"{passed}; not a session", MesoWarning, stacklevel=2)
    return found.sessions


class _Walk:
    def __init__(self, root: Path) -> None:
        self._root = root
        self._found: dict[SessionKey, list[Path]] = {}
        self._passed: dict[str, str] = {}

    def result(self) -> Survey:
        sessions = []
        for key, folders in self._found.items():
            try:
                key.folder(self._root)
                sessions.append(key)
            except MesoError:
                for folder in folders:
                    others = [self._name(other) for other in folders if other != folder]
                    self._pass(folder, f"means the same session as {' and '.join(others)}: keep one, or rename it")
        passed = tuple(PassedOver(path, reason) for path, reason in sorted(self._passed.items()))
        return Survey(tuple(sorted(sessions, key=str)), passed)

    def over_root(self) -> None:
        if not self._root.is_dir():
            raise self._no_root("no such folder")
        try:
            with os.scandir(self._root) as entries:
                next(entries, None)
        except OSError as error:
            raise self._no_root(error.strerror or str(error)) from error
        for folder in self._folders(self._root):
            if _LIKE_A_DATE.fullmatch(folder.name):
                self._pass(folder, f"a date where a subject is expected; {_WHERE} below MESO_ROOT")
            elif folder.name == SUBJECTS:
                for subject in self._folders(folder):
                    self._over_subject(subject, None)
            else:
                self._over_subject(folder, None, may_be_lab=True)

    def _over_subject(self, folder: Path, lab: str | None, *, may_be_lab: bool = False) -> None:
        for child in self._folders(folder):
            if may_be_lab and child.name == SUBJECTS:
                for subject in self._folders(child):
                    self._over_subject(subject, folder.name)
            elif _LIKE_A_DATE.fullmatch(child.name):
                self._over_date(child, folder.name, lab)
            elif any(_LIKE_A_DATE.fullmatch(c.name) or c.name == SUBJECTS for c in self._folders(child)):
                self._pass(child, f"holds dates or subjects, and lies too deep or too high; {_WHERE} below MESO_ROOT")

    def _over_date(self, folder: Path, subject: str, lab: str | None) -> None:
        if not is_date(folder.name):
            self._pass(folder, "there is no such date; a date is YYYY-MM-DD")
            return
        for child in self._folders(folder):
            if child.name.startswith("raw_imaging_data"):
                self._pass(folder, f"holds raw data without a session number; {_WHERE}")
            elif not _NUMBER.fullmatch(child.name):
                if _holds_raw_data(child):
                    self._pass(child, "no session number, which has one to three digits")
            else:
                self._add(child, subject, lab)

    def _add(self, folder: Path, subject: str, lab: str | None) -> None:
        text = "/".join([*([lab, SUBJECTS] if lab else []), subject, folder.parent.name, folder.name])
        try:
            key = SessionKey.parse(text)
        except MesoError:
            self._pass(folder, "a name with other characters than letters, digits, _ . -")
        else:
            self._found.setdefault(key, []).append(folder)

    def _folders(self, folder: Path) -> Iterator[Path]:
        try:
            with os.scandir(folder) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError as error:
            self._pass(folder, f"cannot be read: {error.strerror or error}")
            return
        for entry in entries:
            path = Path(entry.path)
            if entry.is_symlink() and not path.exists():
                self._pass(path, f"a link to {printable(str(path.readlink()))}, where there is none")
            elif entry.is_dir():
                if why := why_ignored(entry.name):
                    self._pass(path, f"ignored, {why}")
                else:
                    yield path

    def _pass(self, folder: Path, reason: str) -> None:
        self._passed[self._name(folder)] = reason

    def _name(self, folder: Path) -> str:
        return printable(folder.relative_to(self._root).as_posix())

    def _no_root(self, found: str) -> MissingInputError:
        expected = "the root folder of sessions"
        return MissingInputError.at(
            self._root, expected=expected, found=found, remedy="Set MESO_ROOT to the folder that holds the subjects"
        )


def _holds_raw_data(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(entry.name.startswith("raw_imaging_data") or entry.name == READY_FLAG for entry in entries)
    except OSError:
        return True  # what it holds is not known, so it is named
