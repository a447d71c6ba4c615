"""Which folders below a root are sessions, and which are passed over, and why.

What belongs here: the walk over labs, subjects, dates and numbers. How a session is named is in ``paths``.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ..errors import MesoError, MesoWarning, MissingInputError
from .arrival import READY_FLAG
from .ignored import why_ignored
from .paths import SUBJECTS, SessionKey, is_date, printable

_LIKE_A_DATE = re.compile(r"\d{1,4}[-_. ]\d{1,2}[-_. ]\d{1,4}|\d{8}", re.ASCII)
_NUMBER = re.compile(r"\d{1,3}", re.ASCII)
_IGNORED = "ignored, "
_WHERE = "a session is at [lab/Subjects/]subject/YYYY-MM-DD/NNN"


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A folder that is not a session although it may look like one."""

    #: Path below the root; what cannot be printed is escaped.
    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"

    @property
    def is_ignored(self) -> bool:
        """Whether it is no data, so that nobody need do anything; else it breaks a rule."""
        return self.reason.startswith(_IGNORED)


@dataclass(frozen=True, slots=True)
class Survey:
    """What one walk over a root finds."""

    #: Sorted by their text.
    sessions: tuple[SessionKey, ...]
    #: Sorted by path.
    passed_over: tuple[PassedOver, ...]
    #: Where each session lies, below the root; where there are several roots, the whole path or URL.
    folders: Mapping[SessionKey, str] = field(default_factory=dict, compare=False)
    #: Of several roots, those that could not be listed; ``passed_over`` has them too.
    unreachable: tuple[PassedOver, ...] = ()
    #: Sessions of which two roots have a folder, so that nobody knows which is meant; ``passed_over`` has the folders.
    twice: frozenset[SessionKey] = frozenset()


def whole_place(root: str, place: str) -> str:
    """Path or URL of a place as :attr:`Survey.folders` has it: below the root, or whole already."""
    return place if place.startswith("/") or "://" in place else f"{root.rstrip('/')}/{place}"


@dataclass(frozen=True, slots=True)
class Child:
    """What lies in a folder."""

    name: str
    is_folder: bool
    #: Of a link to nothing, where it leads.
    broken_link: str = ""
    #: Why nobody can tell whether it is a folder.
    trouble: str = ""


class Folders(Protocol):
    """Folders below a root, wherever it lies."""

    @property
    def root(self) -> str:
        """Root as a person wrote it."""

    def children(self, folder: str) -> Sequence[Child]:
        """List a folder by its path below the root, the root itself by an empty one; raises OSError if it cannot."""

    def are_same(self, one: str, other: str) -> bool:
        """Whether two paths below the root lead to one folder, by links."""


@dataclass(frozen=True, slots=True)
class LocalFolders:
    """Folders of this machine; links are followed."""

    folder: Path

    @property
    def root(self) -> str:
        """See :class:`Folders`."""
        return str(self.folder)

    def children(self, folder: str) -> tuple[Child, ...]:
        """See :class:`Folders`."""
        with os.scandir(f"{self.folder}/{folder}") as entries:  # of very many: path objects cost more than the system
            return tuple(_child(entry) for entry in entries)

    def are_same(self, one: str, other: str) -> bool:
        """See :class:`Folders`."""
        return (self.folder / one).samefile(self.folder / other)


def _child(entry: os.DirEntry[str]) -> Child:
    """Tell what an entry is; a link in a circle, or to where nobody may look, is a broken one."""
    try:
        is_folder, why = entry.is_dir(), ""
    except OSError as error:
        is_folder, why = False, error.strerror or str(error)
    if is_folder and not why:  # a link that leads to a folder leads to what is there
        return Child(entry.name, is_folder)
    # of links, this one answers for loops too
    if entry.is_symlink() and not os.path.exists(entry.path):  # noqa: PTH110
        return Child(entry.name, is_folder, str(Path(entry.path).readlink()))
    return Child(entry.name, is_folder, trouble=why)


def survey_sessions(root: Path | Folders) -> Survey:
    """Find all session folders below a root, and the folders that are passed over.

    Links are followed. Two folders that mean the same session (``1`` and ``001``) are passed over, both.

    Parameters
    ----------
    root
        A local folder, or the folders of another root.

    Raises
    ------
    MissingInputError
        If the root itself cannot be listed: a failed listing is not an empty one.
    """
    walk = _Walk(LocalFolders(root) if isinstance(root, Path) else root)
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
    found = survey_sessions(Path(root))
    for passed in found.passed_over:
        warnings.warn(f"{passed}; not a session", MesoWarning, stacklevel=2)
    return found.sessions


def labs_that_hold(root: Path | Folders, subject: str) -> tuple[str, ...]:
    """Find the labs below a root that have dates of a subject, sorted; a folder that cannot be read has none.

    Parameters
    ----------
    root
        A local folder, or the folders of another root.
    subject
        Name of the subject.

    Raises
    ------
    MissingInputError
        As :func:`survey_sessions`.
    """
    folders = LocalFolders(root) if isinstance(root, Path) else root
    children = [child for child in _Walk(folders).children() if child.is_folder and not why_ignored(child.name)]
    return tuple(sorted(child.name for child in children if _holds(folders, f"{child.name}/{SUBJECTS}/{subject}")))


def _holds(folders: Folders, folder: str) -> bool:
    try:
        return any(is_date(child.name) for child in folders.children(folder))
    except MesoError:  # of a remote root: what it holds is not known
        raise
    except OSError:
        return False


class _Walk:
    """The walk; folders are named by their paths below the root, with forward slashes."""

    def __init__(self, folders: Folders) -> None:
        self._look = folders
        self._found: dict[SessionKey, list[str]] = {}
        self._passed: dict[str, str] = {}

    def result(self) -> Survey:
        sessions = []
        for key, folders in self._found.items():
            if all(self._look.are_same(folders[0], other) for other in folders[1:]):
                sessions.append(key)
                continue
            for folder in folders:
                others = [printable(other) for other in folders if other != folder]
                self._pass(folder, f"means the same session as {' and '.join(others)}: keep one, or rename it")
        passed = tuple(PassedOver(path, reason) for path, reason in sorted(self._passed.items()))
        places = {key: self._found[key][0] for key in sessions}
        return Survey(tuple(sorted(sessions, key=str)), passed, places)

    def children(self) -> Sequence[Child]:
        """List the root."""
        try:
            return self._look.children("")
        except OSError as error:
            if isinstance(error, MesoError):
                raise
            missing = isinstance(error, FileNotFoundError | NotADirectoryError)
            raise no_root(self._look.root, "no such folder" if missing else error.strerror or str(error)) from error

    def over_root(self) -> None:
        for folder in self._of_data("", self.children()):
            name = _name(folder)
            if _LIKE_A_DATE.fullmatch(name):
                self._pass(folder, f"a date where a subject is expected; {_WHERE} below MESO_ROOT")
            elif name == SUBJECTS:
                for subject in self._folders(folder):
                    self._over_subject(subject, None)
            else:
                self._over_subject(folder, None, may_be_lab=True)

    def _over_subject(self, folder: str, lab: str | None, *, may_be_lab: bool = False) -> None:
        for child in self._folders(folder):
            name = _name(child)
            if may_be_lab and name == SUBJECTS:
                for subject in self._folders(child):
                    self._over_subject(subject, _name(folder))
            elif _LIKE_A_DATE.fullmatch(name):
                self._over_date(child, _name(folder), lab)
            elif any(_LIKE_A_DATE.fullmatch(_name(c)) or _name(c) == SUBJECTS for c in self._folders(child)):
                self._pass(child, f"holds dates or subjects, and lies too deep or too high; {_WHERE} below MESO_ROOT")

    def _over_date(self, folder: str, subject: str, lab: str | None) -> None:
        if not is_date(_name(folder)):
            self._pass(folder, "there is no such date; a date is YYYY-MM-DD")
            return
        for child in self._folders(folder):
            name = _name(child)
            if name.startswith("raw_imaging_data"):
                self._pass(folder, f"holds raw data without a session number; {_WHERE}")
            elif not _NUMBER.fullmatch(name):
                if self._holds_raw_data(child):
                    self._pass(child, "no session number, which has one to three digits")
            else:
                self._add(child, subject, lab)

    def _add(self, folder: str, subject: str, lab: str | None) -> None:
        *_, date, number = folder.split("/")
        text = "/".join([*([lab, SUBJECTS] if lab else []), subject, date, number])
        try:
            key = SessionKey.parse(text)
        except MesoError:
            self._pass(folder, "a name with other characters than letters, digits, _ . -")
        else:
            self._found.setdefault(key, []).append(folder)

    def _folders(self, folder: str) -> Iterator[str]:
        try:
            children = self._look.children(folder)
        except OSError as error:
            if isinstance(error, MesoError):  # of a remote root: what it holds is not known
                raise
            self._pass(folder, f"cannot be read: {error.strerror or error}")
            return
        yield from self._of_data(folder, children)

    def _of_data(self, folder: str, children: Sequence[Child]) -> Iterator[str]:
        for child in sorted(children, key=lambda child: child.name):
            path = f"{folder}/{child.name}" if folder else child.name
            if child.broken_link:
                self._pass(path, f"a link to {printable(child.broken_link)}, where there is none")
            elif child.trouble:
                self._pass(path, f"cannot be read: {child.trouble}")
            elif child.is_folder:
                if why := why_ignored(child.name):
                    self._pass(path, f"{_IGNORED}{why}")
                else:
                    yield path

    def _holds_raw_data(self, folder: str) -> bool:
        try:
            names = [child.name for child in self._look.children(folder)]
        except OSError as error:
            if isinstance(error, MesoError):
                raise
            return True  # what it holds is not known, so it is named
        return any(name.startswith("raw_imaging_data") or name == READY_FLAG for name in names)

    def _pass(self, folder: str, reason: str) -> None:
        self._passed[printable(folder)] = reason


def no_root(root: str, found: str) -> MissingInputError:
    """Make the error of a root that cannot be listed."""
    remedy = "Set MESO_ROOT to the folder that holds the subjects"
    return MissingInputError.at(root, expected="the root folder of sessions", found=found, remedy=remedy)


def _name(folder: str) -> str:
    return folder.rpartition("/")[2]
