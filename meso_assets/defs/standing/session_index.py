"""What looks at sessions found, kept in the home so that the next look at an unchanged session need not be repeated.

What belongs here: the file, and when an entry counts: only while the stamp of the session's folder is what it was, and
settings, packages and code are what they were. It is no second truth: without it, or with a damaged one, everything is
looked at, and the answers are the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from meso_core.errors import InputFileError, MissingInputError, StorageError
from meso_core.json_text import json_text
from meso_core.opening import RECORD_BYTES, read_plain
from meso_core.session import SessionKey, whole_place
from meso_core.storage import FolderStamp, Session, SessionRoots, folder_stamp, write_file
from meso_core.storage.files.mounts import is_network, kind_of
from meso_core.storage.files.times import CLOCKS_DIFFER_S

from ...runs.settings.engines import EngineSettings
from ...runs.settings.settings import MesoSettings
from ..catalogue import CATALOGUE
from .summaries import SessionSummary, summary_of

#: Raised when the form of an entry changes.
_FORM = 2
#: Below the home. Several, for users of one home may have different settings.
_FOLDER, _MOST_FILES = "index", 4
#: Clocks of disks tick so coarsely, ns: a file that changed this recently may change again unseen.
SETTLED_AFTER_NS = 2_000_000_000
#: Longest entry, characters: sessions with endless remarks are looked at again.
_LONGEST_ENTRY = 1 << 16
_WRITING = threading.Lock()
#: Settings that no answer follows from. All others count, also those that are not thought of yet: an index that is
#: dropped for nothing is only slower.
NO_MATTER = (
    "home",
    "scratch",
    "scratch_gb",
    "cores",
    "memory_gb",
    "fov_memory_gb",
    "cache",
    "removed_kept_days",
    "keep_versions",
    "watch",
    "scan_every_s",
    "scan_max_runs",
    "ui_hosts",
    "logs_kept_days",
    "notices_file",
    "rerun_stale",
    *EngineSettings.model_fields,
)


class SessionIndex:
    """Answers of earlier looks, by session.

    Parameters
    ----------
    settings
        Settings of the platform; their home holds the file.
    settled_after_ns
        How long nothing of a session may have changed for its answer to be kept, ns.
    """

    def __init__(self, settings: MesoSettings, *, settled_after_ns: int | None = None) -> None:
        self.settings = settings
        self._settled_after_ns = SETTLED_AFTER_NS if settled_after_ns is None else settled_after_ns
        self._roots: SessionRoots = settings.store()
        self._file = Path(settings.home).expanduser().absolute() / _FOLDER / f"{_circumstances(settings)}.json"
        self._entries = _entries_of(self._file)
        self._is_news = False
        #: How often a session was looked at because no entry counted.
        self.n_looks = 0

    def summary(self, key: SessionKey, *, place: str = "", now_ns: int) -> SessionSummary:
        """Say how a session stands.

        Parameters
        ----------
        key
            Session.
        place
            Where it lies, as a survey found it: below the root, or, of several roots, the whole path; looked for where
            it is not given.
        now_ns
            Time now, ns since 1970.

        Raises
        ------
        MesoError, OSError
            If the session cannot be looked at.
        """
        store = self._roots.store_of(key)
        if not store.is_local:
            return summary_of(Session(key, store.local(key), store), self.settings, now_ns=now_ns)
        folder = whole_place(store.root, place) if place else store.where(key).rstrip("/")
        stamp, name = folder_stamp(folder), str(key)
        if stamp is not None and (kept := self._kept(name, stamp, now_ns)) is not None:
            return kept
        self.n_looks += 1
        found = summary_of(Session(key, store.local(key), store), self.settings, now_ns=now_ns)
        self._keep(name, stamp, found, now_ns, folder)
        return found

    def save(self, there: Collection[str] | None = None) -> None:
        """Write what is new; a disk that refuses makes the next look slower, nothing else.

        Parameters
        ----------
        there
            Names of all sessions, where they are known: entries of others are dropped.
        """
        if there is not None and (gone := self._entries.keys() - set(there)):
            self._is_news = True
            for name in gone:
                del self._entries[name]
        if not self._is_news:
            return
        body = json_text({name: entry.as_list() for name, entry in self._entries.items()}).encode()
        with _WRITING, suppress(StorageError, OSError):  # as said: the same answers come, later
            write_file(self._file, _digest(body) + b"\n" + body, flush=False)
            _drop_old(self._file)
            self._is_news = False
            _remember(self._file, self._entries)

    def _kept(self, name: str, stamp: FolderStamp, now_ns: int) -> SessionSummary | None:
        entry = self._entries.get(name)
        if entry is None or entry.stamp != stamp.digest or entry.at_ns > now_ns:
            return None
        return entry.summary

    def _keep(self, name: str, stamp: FolderStamp | None, found: SessionSummary, now_ns: int, folder: str) -> None:
        settled = stamp is not None and stamp.changed_ns < time.time_ns() - self._rests_ns(folder)
        if stamp is None or not settled or found.until_later:
            self._is_news |= self._entries.pop(name, None) is not None
            return
        record = found.as_record()
        if len(json_text(record)) <= _LONGEST_ENTRY:
            self._entries[name] = _Entry(stamp.digest, now_ns, record)
            self._is_news = True

    def _rests_ns(self, folder: str) -> int:
        """How long nothing may have changed, by this machine's clock: a share has the times of its server's."""
        return self._settled_after_ns + (int(CLOCKS_DIFFER_S * 1e9) if is_network(kind_of(Path(folder))) else 0)


@dataclass(frozen=True)
class _Entry:
    """What a look at a session found."""

    #: Digest of the stamp of its folder.
    stamp: str
    #: When it was looked at, ns since 1970.
    at_ns: int
    record: Mapping[str, Any]

    @cached_property
    def summary(self) -> SessionSummary:
        return SessionSummary.from_record(self.record)

    def as_list(self) -> list[Any]:
        return [self.stamp, self.at_ns, self.record]


class _Remembered:
    """The entries of the file that this process read or wrote last: the sensor of a service looks every minute."""

    file: Path | None = None
    #: Of the file: its number, size, and time of any change.
    identity: tuple[int, ...] = ()
    entries: Mapping[str, _Entry] = MappingProxyType({})


def _identity(file: Path) -> tuple[int, ...]:
    """Tell one file from every other at its place; nothing where there is none."""
    try:
        status = file.stat()
    except OSError:
        return ()
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _remember(file: Path, entries: Mapping[str, _Entry]) -> None:
    """Remember what was written; whoever writes holds ``_WRITING``."""
    _Remembered.file, _Remembered.identity, _Remembered.entries = file, _identity(file), dict(entries)


def _entries_of(file: Path) -> dict[str, _Entry]:
    """Read the entries, unless the file is the one that is remembered."""
    with _WRITING:
        identity = _identity(file)
        if not (identity and (_Remembered.file, _Remembered.identity) == (file, identity)):
            entries = {name: _Entry(*entry) for name, entry in _read(file).items()}
            if _identity(file) != identity:  # another process has just written it
                return entries
            _remember(file, entries)
        return dict(_Remembered.entries)


def _read(file: Path) -> dict[str, Any]:
    """Read the entries; none where the file is not there or not whole, as its first line tells."""
    try:
        digest, _, body = read_plain(file, RECORD_BYTES).partition(b"\n")
    except (MissingInputError, InputFileError, OSError):
        return {}
    if digest != _digest(body):
        return {}
    entries: dict[str, Any] = json.loads(body)
    return entries


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=16).hexdigest().encode()


def _drop_old(newest: Path) -> None:
    """Keep the newest files of a home; each has at most one entry per session."""
    others = sorted(newest.parent.glob("*.json"), key=lambda file: file.stat().st_mtime_ns, reverse=True)
    for file in others[_MOST_FILES:]:
        file.unlink(missing_ok=True)


def _circumstances(settings: MesoSettings) -> str:
    """Digest of all, but the session, that an answer follows from."""
    versions = {name: declared.version(settings) for name, declared in CATALOGUE.items()}
    about: Mapping[str, Any] = {
        "form": _FORM,
        "settings": _matters(settings),
        "versions": versions,
        "code": _code(),
        "user": os.geteuid(),
    }
    return hashlib.sha256(json_text(about, sort_keys=True).encode()).hexdigest()[:16]


def _matters(settings: MesoSettings) -> dict[str, Any]:
    return settings.model_dump(mode="json", exclude=set(NO_MATTER))


@lru_cache
def _code() -> str:
    """Digest of the sources' sizes and times: somebody may work on them."""
    packages = [Path(__file__).parents[2], Path(_meso_core_folder())]
    files = [file for package in packages for file in sorted(package.rglob("*.py"))]
    told = [(str(file), (status := file.stat()).st_size, status.st_mtime_ns) for file in files]
    return hashlib.sha256(repr(told).encode()).hexdigest()


def _meso_core_folder() -> Path:
    import meso_core

    return Path(meso_core.__file__).parent
