"""Raw tifs brought back from their archive: bit-identical, with their names and times.

What belongs here: writing tifs. Only this module does, and it never overwrites one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import ArchiveError, MissingInputError
from ..opening import is_there
from ..progress import Progress, silent
from ..session import imaging_bouts, printable, raw_tifs
from ..storage.files.atomic import storage_errors
from .bout import verify_any
from .codec.lbzip2 import open_reader
from .codec.tar import EntryStream, TarEntry, read_tar
from .gate.kept import as_place, settle
from .gate.place import Place
from .rawtif import READ_BYTES
from .report import ArchiveMember, load_report
from .selection import find_archive
from .zarr.frames import open_frames

_FROM_COPY = "Restore the archive from a copy, or copy the tifs from the rig"


@dataclass(frozen=True, slots=True)
class RestoredTif:
    """One tif that is there again."""

    #: Path below the session.
    path: str
    size: int
    mtime_ns: int
    sha256: str
    #: False where an identical tif was there already.
    written: bool
    #: True where the hash was compared with the record made when the tif was archived.
    compared: bool
    #: True where the tif itself was still kept, and was put back by a rename.
    put_back: bool = False


def restore(
    where: Path | Place,
    *,
    bouts: Sequence[str] | None = None,
    workers: int | None = None,
    progress: Progress = silent,
) -> tuple[RestoredTif, ...]:
    """Bring the raw tifs of a session back: those that are still kept by a rename, the others from its archives.

    Each tif of an archive is written in ``.meso/restoring``, compared with its recorded sha-256, and renamed unless
    there is a file of this name, or a link to one. Where there is no record, the whole archive is read before the first
    tif is written. The archive stays.

    Parameters
    ----------
    where
        Session folder, or the place of its tifs.
    bouts
        Names of the bouts (``raw_imaging_data_00``); all by default. A bout with tifs and without an archive is
        skipped.
    workers
        Cores that decompress; all by default.
    progress
        Told of raw bytes unpacked, whether they are written or compared with a tif that is there.

    Returns
    -------
    tuple of RestoredTif
        In natural order, bout by bout.

    Raises
    ------
    MissingInputError
        If a bout is not there, or holds neither tifs nor an archive.
    ArchiveError
        If an archive is damaged or hostile, or there is a tif of this name with other content; it is not touched.
    StorageError
        If the disk has no room, or does not allow writing, or a removal is going on.
    ProcessingError
        If lbzip2 fails for another reason than the data.
    """
    place = as_place(where)
    place.look()
    session_path = place.session_path
    imaging_bouts(session_path)  # the session must be there
    restored: list[RestoredTif] = []
    with place.alone():
        settle(place)
        place.look()
        folders = {folder.name: folder for folder in imaging_bouts(session_path)}
        try:
            for name in folders if bouts is None else bouts:
                folder = folders.get(name, session_path / name)
                restored += _restored_bout(place, folder, workers, progress)
        finally:
            place.clear_restoring()
    return tuple(restored)


def _restored_bout(place: Place, folder: Path, workers: int | None, progress: Progress) -> list[RestoredTif]:
    restored = _put_back(place, folder.name)
    if restored:
        place.look()
    if restored and not _recorded_and_gone(folder):
        return restored
    archive = find_archive(folder)
    if archive is not None:
        with storage_errors(folder):
            return restored + _restore_from(place, archive, workers, progress)
    if not folder.is_dir() or not raw_tifs(folder):
        raise MissingInputError.at(
            folder,
            expected="an archive to restore from",
            found="none" if folder.is_dir() else "no such bout",
            remedy="Copy the archive from the store",
        )
    return restored


def _put_back(place: Place, bout: str) -> list[RestoredTif]:
    """Put the tifs of a bout that are still kept back into it."""
    restored = []
    for tif in place.kept():
        if tif.path.startswith(f"{bout}/") and tif.event is not None:
            if not place.put_back(tif.path, tif.file):
                found = f"a new file of this name; the tif itself is kept as {tif.file}"
                raise _other(place.session_path / tif.path, found, "Move the new file out of the bout first")
            event = tif.event
            restored.append(
                RestoredTif(tif.path, tif.size, tif.mtime_ns, event.sha256, written=True, compared=False, put_back=True)
            )
    place.clear_kept()
    return restored


def _recorded_and_gone(folder: Path) -> list[str]:
    """Names of the tifs on record that are not in their bout."""
    report = load_report(folder.parent, folder.name)
    there = {tif.name for tif in raw_tifs(folder)}
    return [] if report is None else [m.name for m in report.members if m.name not in there]


def _restore_from(place: Place, archive: Path, workers: int | None, progress: Progress) -> list[RestoredTif]:
    with place.here(archive) as opened:
        return _unpack(place, archive, opened, workers, progress)


def _unpack(place: Place, archive: Path, opened: Path, workers: int | None, progress: Progress) -> list[RestoredTif]:
    folder = archive.parent
    report = load_report(place.session_path, folder.name)
    record = {m.name: m for m in report.members} if report is not None else {}
    total = sum(m.size for m in record.values())
    if report is None:  # a damaged archive shows only when all of it was read
        verify_any(opened, workers=workers, progress=progress)
    restored, done = [], 0
    for entry, pieces in _contents(opened, workers):
        member = record.pop(entry.name, None)
        if member is None and report is not None:
            raise _other(archive, f"{entry.name}, which is not on record", _FROM_COPY)
        tif = folder / entry.name
        if is_there(tif):
            restored.append(_already_there(tif, entry, member, pieces, place))
        else:
            restored.append(_write(tif, entry, member, pieces, place))
        done += entry.size
        progress(done, max(total, done), "bytes unpacked")  # a tif that is there is compared, and no other written
    if record:
        raise _other(archive, f"no {', '.join(record)}", _FROM_COPY)
    return restored


def _contents(archive: Path, workers: int | None) -> Iterator[tuple[TarEntry, Iterable[bytes | memoryview]]]:
    """Entries of an archive of either format, with their bytes."""
    if archive.is_dir():
        folder = open_frames(archive)
        for index, member in enumerate(folder.members):
            entry = TarEntry(member.name, member.size, member.mtime_ns)
            yield entry, folder.tif_bytes(index, workers=workers)
        return
    with open_reader(archive, workers=workers) as stream:
        for content in read_tar(stream, str(archive), largest=stream.largest_content):
            yield content.entry, _pieces(content)


def _pieces(content: EntryStream) -> Iterator[bytes]:
    while data := content.read(READ_BYTES):
        yield data


def _write(
    tif: Path,
    entry: TarEntry,
    member: ArchiveMember | None,
    pieces: Iterable[bytes | memoryview],
    place: Place,
) -> RestoredTif:
    mtime_ns = entry.mtime_ns if member is None else member.mtime_ns
    with place.new_tif(tif, entry.size, mtime_ns) as file:
        for piece in pieces:
            file.write(piece)
        content = file.content
        if content.size != entry.size or (member is not None and content.sha256 != member.sha256):
            raise _other(tif, "other content in the archive than was recorded", _FROM_COPY)
    path = tif.relative_to(place.session_path).as_posix()
    return RestoredTif(path, entry.size, mtime_ns, content.sha256, written=True, compared=member is not None)


def _already_there(
    tif: Path,
    entry: TarEntry,
    member: ArchiveMember | None,
    pieces: Iterable[bytes | memoryview],
    place: Place,
) -> RestoredTif:
    """Compare a tif that is there with the one of the archive; it is not changed in any case."""
    sha256 = hashlib.sha256()
    for piece in pieces:
        sha256.update(piece)
    if not tif.is_file() or place.sha256(tif, lambda _: None) != sha256.hexdigest():
        what = f"a link to {printable(str(tif.readlink()))}, which" if tif.is_symlink() else "a tif of this name that"
        raise _other(tif, f"{what} differs from the archive's", "Move it out of the folder first")
    if member is not None and sha256.hexdigest() != member.sha256:
        raise _other(tif, "other content in the archive than was recorded", _FROM_COPY)
    if member is not None:
        place.keep_time(tif, member.mtime_ns)
    path = tif.relative_to(place.session_path).as_posix()
    mtime_ns = tif.stat().st_mtime_ns
    return RestoredTif(path, entry.size, mtime_ns, sha256.hexdigest(), written=False, compared=member is not None)


def _other(where: Path, found: str, remedy: str) -> ArchiveError:
    return ArchiveError.at(where, expected="the tifs that were archived", found=found, remedy=remedy)
