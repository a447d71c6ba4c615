"""The mirror of a session: a folder of this machine with what was fetched of it, and with the platform's records.

What belongs here: bringing the mirror up to date with a listing, so that a file in it is always one that the root
holds. A file that was not fetched is not in it; what the root holds is asked of the listing, never of the mirror.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from ....opening import RECORD_BYTES
from ....progress import Progress, silent
from ....session import DESCRIPTION, MESO_FOLDER, ListedFile
from ...files.atomic import make_folder, storage_errors
from ...files.times import CLOCKS_DIFFER_S, YOUNG_S, is_young
from ..servers.filesystem import RemoteRoot
from ..transfers.transfer import Wanted, download_all, read_small

#: Small files that are needed whenever a session is looked at.
_RECORDS = re.compile(
    rf"{re.escape(MESO_FOLDER)}/(manifests/(history/[^/]+/)?[^/]+\.json[^/]*|(archive|alyx)/[^/]+\.json|audit/[^/]+|[^/]+\.jsonl)"
    rf"|(reports/qc|alyx)/[^/]+\.json|{re.escape(DESCRIPTION)}",
    re.DOTALL,
)
#: Folders of the platform that each machine has for itself.
_OWN = ("staging", "work", "locks", "restoring", "removed")
#: Records that are read side by side.
_AT_A_TIME = 8


@dataclass(frozen=True, slots=True)
class Mirror:
    """The folder of one session on this machine.

    Attributes
    ----------
    root
        Root on a server.
    base
        Path of the session below it.
    folder
        The folder.
    """

    root: RemoteRoot
    base: str
    folder: Path

    def bring_up_to_date(self, listing: Collection[ListedFile], since_s: float) -> None:
        """Fetch new records, and remove files that the root does not hold, or holds differently.

        Parameters
        ----------
        listing
            All files of the session, the platform's own among them.
        since_s
            When listing began, s since 1970 by this machine's clock: what came into the mirror later stays.
        """
        make_folder_of_session(self.folder)
        there = {file.path: file for file in listing}
        for path, status in list(self._files()):
            file = there.get(path)
            is_same = file is not None and (file.size, file.mtime_ns) == (status.st_size, status.st_mtime_ns)
            if not is_same and status.st_ctime < since_s:
                with suppress(FileNotFoundError):
                    (self.folder / path).unlink()
        records = [file for file in listing if is_record(file.path)]
        newest = max((file.mtime_ns for file in records if file.path != DESCRIPTION), default=0)  # that is the rig's
        wanted = [file for file in records if not self.holds(file) or _may_change_unseen(file, newest)]
        with ThreadPoolExecutor(_AT_A_TIME) as pool:
            list(pool.map(self._read_record, wanted))

    def _read_record(self, file: ListedFile) -> None:
        """Fetch a small file whole: a reader finds the old one or the new one."""
        content = read_small(self.root, f"{self.base}/{file.path}", RECORD_BYTES)
        if content is None:  # it has just gone
            return
        target = self.folder / file.path
        beside = target.with_name(f".{uuid4().hex}.part")
        make_folder(target.parent)
        with storage_errors(target):
            beside.write_bytes(content)
            os.utime(beside, ns=(file.mtime_ns, file.mtime_ns))
            beside.replace(target)

    def fetch(self, files: Collection[ListedFile], hashes: Mapping[str, str], progress: Progress = silent) -> None:
        """Fetch files that are not here yet, each as it was listed.

        Parameters
        ----------
        files
            Entries of the listing.
        hashes
            Path → SHA-256, of those whose content is on record.
        progress
            Called with the bytes that have come.
        """
        wanted = [
            Wanted(f"{self.base}/{file.path}", self.folder / file.path, file.size, file.mtime_ns, hashes.get(file.path))
            for file in files
            if not self.holds(file)
        ]
        if wanted:
            download_all(self.root, wanted, progress=progress)

    def holds(self, file: ListedFile) -> bool:
        """Whether a file is here as it was listed."""
        try:
            status = (self.folder / file.path).lstat()
        except OSError:
            return False
        return (status.st_size, status.st_mtime_ns) == (file.size, file.mtime_ns)

    def records(self) -> dict[str, tuple[int, int, int]]:
        """Path → size, time and inode, of the records that are here: what differs later was written meanwhile."""
        return {
            path: (status.st_size, status.st_mtime_ns, status.st_ino)
            for path, status in self._files()
            if is_record(path)
        }

    def other_files(self) -> tuple[str, ...]:
        """Paths of files that are no records, and that no work of this machine makes; of a copy of the records."""
        own = tuple(f"{MESO_FOLDER}/{name}/" for name in _OWN)
        paths = (file.relative_to(self.folder).as_posix() for file in self.folder.rglob("*") if not file.is_dir())
        return tuple(sorted(path for path in paths if not is_record(path) and not path.startswith(own)))

    @contextmanager
    def copy_of_records(self) -> Iterator[Mirror]:
        """Copy the records to a folder of their own, which is gone when the block ends."""
        with TemporaryDirectory(prefix="meso-records-") as folder:
            copied = replace(self, folder=Path(folder))
            make_folder_of_session(copied.folder)
            for path in self.records():
                with suppress(FileNotFoundError):
                    make_folder((copied.folder / path).parent)
                    shutil.copy2(self.folder / path, copied.folder / path)
            yield copied

    def take(self, source: Path, path: str, mtime_ns: int) -> None:
        """Keep a file that was uploaded from this machine, with the time that the server gave it."""
        target = self.folder / path
        make_folder(target.parent)
        with storage_errors(target):
            os.utime(source, ns=(mtime_ns, mtime_ns))
            source.replace(target)

    def _files(self) -> Iterator[tuple[str, os.stat_result]]:
        """Yield the files that mirror the root; what this machine works with is not among them."""
        own = {self.folder / MESO_FOLDER / name for name in _OWN}
        for place, folders, names in os.walk(self.folder):
            folders[:] = [name for name in folders if Path(place, name) not in own]
            for name in names:
                file = Path(place, name)
                path = file.relative_to(self.folder).as_posix()
                is_part = name.startswith(".") and name.endswith(".part")
                if is_part or (path.startswith(f"{MESO_FOLDER}/") and not is_record(path)):
                    continue
                with suppress(FileNotFoundError):
                    yield path, file.lstat()


def is_record(path: str) -> bool:
    """Whether a file of a session is one of the small records."""
    return _RECORDS.fullmatch(path) is not None


def make_folder_of_session(folder: Path) -> None:
    """Make the mirror's folder, with the folder of the platform's records in it."""
    with storage_errors(folder):
        (folder / MESO_FOLDER).mkdir(parents=True, exist_ok=True)


def _may_change_unseen(record: ListedFile, newest_ns: int) -> bool:
    """Whether a record may be written again without another time, as far as this machine's clock can be trusted.

    It may be ahead of the server's. That of the server is not behind the newest record, ns since 1970.
    """
    if is_young(record.mtime_ns):
        return True
    return newest_ns - record.mtime_ns < YOUNG_S * 1e9 and is_young(record.mtime_ns, ahead_s=CLOCKS_DIFFER_S)
