"""Several roots of sessions as one: a lab has more than one disk.

What belongs here: in which root a session lies, and what becomes of a root that cannot be reached. All else is asked of
the store of that one root.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import InputFileError, MesoError, MesoWarning, MissingInputError, StorageError, told
from ...session import PassedOver, SessionKey, Survey
from .store import LocalStore, SessionStore

#: A server that could not be reached is not tried again within this time, s.
_CLOSED_S = 30.0
_KEEP_ONE = "keep the one that holds the session and move the other away"
_REMEDY = "Mount its disk or start its server, and see that MESO_ROOT names it; other sessions go on"


@dataclass(frozen=True, slots=True)
class JoinedRoots:
    """Roots that are looked at together; a session lies in one of them, and so does all that is made of it.

    Attributes
    ----------
    roots
        Paths and URLs, in the order of the settings.
    opened
        Opens one of them; it raises a MesoError where its server cannot be reached.
    """

    roots: tuple[str, ...]
    opened: Callable[[str], SessionStore]
    #: Session → the root in which it was found last.
    _known: dict[SessionKey, SessionStore] = field(default_factory=dict, compare=False, repr=False)
    #: Root → why it could not be opened, and until when, by this process's clock, that counts.
    _closed: dict[str, tuple[MesoError, float]] = field(default_factory=dict, compare=False, repr=False)

    @property
    def root(self) -> str:
        """See :class:`~meso_core.storage.SessionRoots`."""
        return "; ".join(self.roots)

    def sessions(self) -> tuple[SessionKey, ...]:
        """See :class:`~meso_core.storage.SessionRoots`; raises as :meth:`survey`.

        Warns
        -----
        MesoWarning
            For each root that cannot be listed, while others can.
        """
        found = self.survey()
        for one in found.unreachable:
            warnings.warn(f"{one}; its sessions are left out", MesoWarning, stacklevel=2)
        return found.sessions

    def survey(self) -> Survey:
        """See :class:`~meso_core.storage.SessionRoots`; paths are whole, and a session of two roots is passed over.

        Raises
        ------
        MissingInputError
            If no root can be listed.
        """
        surveys, unreachable = list[tuple[SessionStore, Survey]](), list[PassedOver]()
        for root in self.roots:
            try:
                store = self._store(root)
                surveys.append((store, store.survey()))
            except (MesoError, OSError) as error:
                unreachable.append(PassedOver(root, _why_closed(root, error)))
            else:
                unreachable += [PassedOver(root, why)] if (why := _why_empty(store)) else []
        if not surveys:
            found = "; ".join(map(str, unreachable))
            raise MissingInputError.at(self.root, expected="a root that can be listed", found=found, remedy=_REMEDY)
        return self._joined(surveys, tuple(unreachable))

    def _joined(self, surveys: Sequence[tuple[SessionStore, Survey]], unreachable: tuple[PassedOver, ...]) -> Survey:
        places: dict[SessionKey, list[tuple[SessionStore, str]]] = {}
        passed = list(unreachable)
        for store, found in surveys:
            passed += [PassedOver(f"{store.root}/{one.path}", one.reason) for one in found.passed_over]
            for key in found.sessions:
                places.setdefault(key, []).append((store, f"{store.root}/{found.folders[key]}"))
        self._known.clear()
        twice = set[SessionKey]()
        for key, some in places.items():
            if _are_one(some):
                self._known[key] = some[0][0]
                continue
            twice.add(key)
            for _, place in some:
                others = " and ".join(other for _, other in some if other != place)
                passed.append(PassedOver(place, f"the same session is at {others}: {_KEEP_ONE}"))
        sessions = tuple(sorted(self._known, key=str))
        passed.sort(key=lambda one: one.path)
        folders = {key: places[key][0][1] for key in sessions}
        return Survey(sessions, tuple(passed), folders, unreachable, frozenset(twice))

    def labs_of(self, subject: str) -> tuple[str, ...]:
        """See :class:`~meso_core.storage.SessionRoots`.

        Raises
        ------
        MissingInputError
            If no root can be listed.

        Warns
        -----
        MesoWarning
            For each root that cannot be, while others can.
        """
        labs, troubles = set[str](), list[str]()
        for root in self.roots:
            try:
                labs |= {*self._store(root).labs_of(subject)}
            except (MesoError, OSError) as error:
                troubles.append(f"{root} {_why_closed(root, error)}")
        if len(troubles) == len(self.roots):
            found = "; ".join(troubles)
            raise MissingInputError.at(self.root, expected="a root that can be listed", found=found, remedy=_REMEDY)
        for trouble in troubles:
            warnings.warn(f"{trouble}; labs that hold {subject} there are not known", MesoWarning, stacklevel=2)
        return tuple(sorted(labs))

    def store_of(self, key: SessionKey) -> SessionStore:
        """See :class:`~meso_core.storage.SessionRoots`.

        What was found by an earlier look counts while the folder is there, or, on a server, until the next survey.

        Raises
        ------
        MissingInputError
            If no root holds the session, and all could be asked.
        InputFileError
            If two do.
        StorageError
            If none of those that can be reached does.
        """
        known = self._known.get(key)
        if known is not None and (not known.is_local or known.holds(key)):
            return known
        found, troubles = list[tuple[SessionStore, str]](), list[str]()
        for root in self.roots:
            try:
                store = self._store(root)
                if store.holds(key):
                    found.append((store, store.where(key).rstrip("/")))
                elif why := _why_empty(store):
                    troubles.append(f"{root} {why}")
            except InputFileError:  # two folders in one root
                raise
            except (MesoError, OSError) as error:
                troubles.append(f"{root} {_why_closed(root, error)}")
        if not found:
            raise _not_found(key, self.root, troubles)
        if not _are_one(found):
            where, *others = (place for _, place in found)
            raise InputFileError.at(
                where,
                expected="one folder of this session",
                found=f"also {' and '.join(others)}",
                remedy=_KEEP_ONE.capitalize(),
            )
        self._known[key] = found[0][0]
        return found[0][0]

    def _store(self, root: str) -> SessionStore:
        """Open a root; a server that did not answer is not asked again for a while, for each time takes its time."""
        if (closed := self._closed.get(root)) is not None and time.monotonic() < closed[1]:
            raise closed[0]
        try:
            return self.opened(root)
        except MesoError as error:
            self._closed[root] = (error, time.monotonic() + _CLOSED_S)
            raise


def _not_found(key: SessionKey, roots: str, troubles: Sequence[str]) -> MesoError:
    if not troubles:
        remedy = "Correct the name, or MESO_ROOT; `meso status` lists all sessions"
        return MissingInputError.at(str(key), expected=f"a session below {roots}", found="none", remedy=remedy)
    found = f"none on the disks that can be reached ({'; '.join(troubles)})"
    return StorageError.at(str(key), expected="the session's folder", found=found, remedy=_REMEDY)


def _why_closed(root: str, error: Exception) -> str:
    return f"cannot be reached: {told(error).removeprefix(f'{root}: ').rstrip('.')}"


def _why_empty(store: SessionStore) -> str:
    """Say that a folder holds nothing at all, as the place of a disk does that is not mounted."""
    if not isinstance(store, LocalStore):
        return ""
    with os.scandir(store.folder) as entries:
        return "" if any(entries) else "holds nothing: is its disk mounted?"


def _are_one(places: Sequence[tuple[SessionStore, str]]) -> bool:
    """Whether places are one folder, by links from disk to disk."""
    if len(places) == 1:
        return True
    if not all(isinstance(store, LocalStore) for store, _ in places):
        return False
    return all(Path(places[0][1]).samefile(place) for _, place in places[1:])
