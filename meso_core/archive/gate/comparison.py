"""Whether an archive holds just these tifs: by content, read now, and watched for changes.

What belongs here: the comparison on which the freeing of room rests. No record is believed: the archive is unpacked
and the tifs are read, both are hashed on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import MesoError
from ...progress import Progress, silent
from ..bout import verify_any
from ..report import ArchiveReport
from .place import Identity, Place


@dataclass(frozen=True, slots=True)
class Compared:
    """Tifs and archives that were found to hold the same, as they were then."""

    place: Place
    archive: Path
    archive_was: tuple[Identity, ...]
    tifs_were: Mapping[Path, Identity]

    def change_of_archive(self) -> str:
        """Say whether the archive is another one by now; empty if it is not."""
        if self.place.identities(self.archive) == self.archive_was:
            return ""
        return f"{self.archive.parent.name}/{self.archive.name} changed while tifs were compared with it"

    def change_of(self, tif: Path) -> str:
        """Say whether a tif, or the archive, is another one by now, or may become one; empty if not."""
        if self.place.identities(tif) != (self.tifs_were[tif],):
            return f"{tif.name} changed while it was compared"
        if writer := self.place.writer_of(tif):
            return writer
        return self.change_of_archive()


def compare(
    place: Place, bout: Path, report: ArchiveReport, tifs: Sequence[Path], *, progress: Progress = silent
) -> tuple[Compared, list[str]]:
    """Unpack the archive of a bout, read its tifs, and compare.

    Parameters
    ----------
    place
        Where they lie.
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
    place.flush_content(archive, tifs)
    if gone := [tif for tif in tifs if not place.identities(tif)]:
        return Compared(place, archive, (), {}), [f"{bout.name}/{tif.name} is not there any more" for tif in gone]
    compared = Compared(place, archive, place.identities(archive), {tif: place.identities(tif)[0] for tif in tifs})
    doubts, done, total = [], 0, sum(identity[2] for identity in compared.tifs_were.values())
    with place.here(archive) as opened:  # that it cannot be fetched says nothing of it
        try:
            found = verify_any(opened, report.members, progress=progress)
            if (found.sha256, found.size) != (report.sha256, report.size):
                doubts.append(f"{bout.name}/{report.name}: other content than was verified")
        except MesoError as error:
            doubts.append(str(error).rstrip("."))
    for tif in tifs:
        read = _telling(progress, done, total)
        if tif.name not in members or place.sha256(tif, read) != members[tif.name].sha256:
            doubts.append(f"{bout.name}/{tif.name}: other content than its archive holds")
        done += compared.tifs_were[tif][2]
        progress(done, total, "bytes of tifs compared")
    doubts += [change for tif in tifs if (change := compared.change_of(tif))]
    return compared, list(dict.fromkeys(doubts))


def _telling(progress: Progress, done: int, total: int) -> Callable[[int], None]:
    """Make the listener of the bytes of one tif."""

    def read(n: int) -> None:
        nonlocal done
        done += n
        progress(done, total, "bytes of tifs compared")

    return read
