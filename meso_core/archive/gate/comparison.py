"""Whether an archive holds just these tifs: by content, read now, and watched for changes.

What belongs here: the comparison on which the freeing of room rests. No record is believed: the archive is unpacked
and the tifs are read, both are hashed on the way.
"""

from __future__ import annotations

import errno
import fcntl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import MesoError
from ...progress import Progress, silent
from ...storage.hashing import sha256_of, sync_file, sync_folder
from ..bout import verify_any
from ..report import ArchiveReport
from ..untrusted import open_plain, plain_files

#: Device, inode, size, time of change of the content, and of the file: one differs after somebody wrote or replaced it.
Identity = tuple[int, int, int, int, int]

#: File times move on in steps; a change within a step could not be seen.
_STEP_OF_FILE_TIMES_S = 0.02


@dataclass(frozen=True, slots=True)
class Compared:
    """Tifs and archives that were found to hold the same, as they were then."""

    archive: Path
    archive_was: tuple[Identity, ...]
    tifs_were: Mapping[Path, Identity]

    def change_of_archive(self) -> str:
        """Say whether the archive is another one by now; empty if it is not."""
        if _identities(self.archive) == self.archive_was:
            return ""
        return f"{self.archive.parent.name}/{self.archive.name} changed while tifs were compared with it"

    def change_of(self, tif: Path) -> str:
        """Say whether a tif, or the archive, is another one by now, or may become one; empty if not."""
        if _identities(tif) != (self.tifs_were[tif],):
            return f"{tif.name} changed while it was compared"
        if _is_open_for_writing(tif):
            return f"a program has {tif.name} open for writing"
        return self.change_of_archive()


def compare(
    bout: Path, report: ArchiveReport, tifs: Sequence[Path], *, progress: Progress = silent
) -> tuple[Compared, list[str]]:
    """Unpack the archive of a bout, read its tifs, and compare.

    Parameters
    ----------
    bout
        Folder of the archive.
    report
        Its record, which must say the same as what is read.
    tifs
        The tifs, wherever they are, under their names.
    progress
        Told of bytes unpacked, then of bytes of tifs compared.

    Returns
    -------
    compared : Compared
        To ask later whether something has changed since.
    doubts : list of str
        What differs; empty if nothing does.
    """
    archive, members = bout / report.name, {member.name: member for member in report.members}
    if archive.exists():
        for file in plain_files(archive):  # one that was put there by others may be in memory only
            sync_file(file)
            sync_folder(file.parent)
    for tif in tifs:  # so that also writing through a memory map changes the times from now on
        sync_file(tif)
    time.sleep(_STEP_OF_FILE_TIMES_S)
    compared = Compared(archive, _identities(archive), {tif: _identities(tif)[0] for tif in tifs})
    doubts, done = [], 0
    try:
        found = verify_any(archive, report.members, progress=progress)
        if (found.sha256, found.size) != (report.sha256, report.size):
            doubts.append(f"{bout.name}/{report.name}: other content than was verified")
    except MesoError as error:
        doubts.append(str(error).rstrip("."))
    for tif in tifs:
        if tif.name not in members or sha256_of(tif) != members[tif.name].sha256:
            doubts.append(f"{bout.name}/{tif.name}: other content than its archive holds")
        done += compared.tifs_were[tif][2]
        progress(done, sum(identity[2] for identity in compared.tifs_were.values()), "bytes of tifs compared")
    doubts += [change for tif in tifs if (change := compared.change_of(tif))]
    return compared, list(dict.fromkeys(doubts))


def _identities(path: Path) -> tuple[Identity, ...]:
    """Identity of a file, or of all files of a folder; empty where it is gone."""
    try:
        statuses = [file.lstat() for file in sorted(plain_files(path))]
    except FileNotFoundError:
        return ()
    return tuple((s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for s in statuses)


def _is_open_for_writing(tif: Path) -> bool:
    """Whether any program has a file open, or mapped into memory, for writing; False where the system does not tell."""
    if not hasattr(fcntl, "F_SETLEASE"):  # Linux only
        return False
    with open_plain(tif) as file:
        try:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        except OSError as error:
            return error.errno == errno.EAGAIN
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False
