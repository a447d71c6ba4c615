"""Pages straight from the archive: tifs stream from the decompressor and are not written to the disk.

What belongs here: choosing where the pages of a bout come from, and giving its tifs one after the other.
``meso_core.scanimage`` cuts the pages into fields of view.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ..errors import ArchiveError, InputFileError, MissingInputError
from ..scanimage import BoutSource, LocalTif, StreamedTif, TifSource
from ..scanimage.frames.placement import Places
from ..scanimage.metadata.bouts import find_meta, read_imaging_metadata
from ..scanimage.tiff.ifd import DamagedTifError
from ..session import raw_tifs
from .codec.lbzip2 import open_reader
from .codec.reader import LARGEST_BLOCK, ForwardReader
from .codec.tar import EntryStream, read_tar
from .rawtif import other_content
from .report import load_report
from .selection import archive_in_place_of
from .zarr.frames import FramesFolder, open_frames
from .zarr.tif import ZarrTif

_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ArchivedTifs:
    """The tifs of a tar.bz2 in their order; each pass over it decompresses the archive once.

    A tif's pages must be read before the next tif is asked for; memory holds a few blocks of bzip2 only.
    """

    path: Path
    #: Cores that decompress; None: all.
    workers: int | None = None

    def __iter__(self) -> Iterator[TifSource]:
        recorded = _recorded_hashes(self.path)
        with open_reader(self.path, workers=self.workers) as stream:
            for content in read_tar(stream, str(self.path)):
                sha256 = None if recorded is None else _taken(recorded, content.entry.name, self.path)
                yield StreamedTif(content.entry.name, _Opened(content, stream, self.path, sha256))
        _check_none_left(recorded, self.path)


def archive_source(path: Path, *, workers: int | None = None, frames: Places | None = None) -> BoutSource:
    """Give the pages of an archive as a source for :func:`~meso_core.scanimage.bin_per_plane`.

    Parameters
    ----------
    path
        ``imaging.frames.tar.bz2`` (ours or made by ``tar -cj``) or ``imaging.frames.zarr`` in a bout's folder.
    workers
        Cores that decompress; all by default.
    frames
        As for :func:`bout_source`.

    Returns
    -------
    BoutSource
        Named after the folder of the archive. Each tif is hashed while its pages are read. An archive that turns out
        to be damaged, or to hold other tifs than its record, raises ArchiveError then.

    Raises
    ------
    MissingInputError
        If there is no such archive.
    """
    path = Path(path)
    promised = _promised_pages(path.parent) if frames is None else None
    if not path.exists():
        raise MissingInputError.at(
            path, expected="an archive", found="no such file", remedy="Archive the session first"
        )
    if path.is_dir():
        folder = open_frames(path)
        return BoutSource(path.parent.name, _zarr_tifs(folder, workers), promised, frames)
    return BoutSource(path.parent.name, ArchivedTifs(path, workers), promised, frames)


def bout_source(bout_folder: Path, *, workers: int | None = None, frames: Places | None = None) -> BoutSource:
    """Give the pages of a bout from its tifs, or else from its archive.

    Where some tifs are gone although the recorded archive holds them (a removal was interrupted), the archive is used.

    Parameters
    ----------
    bout_folder
        ``raw_imaging_data_NN`` of a session; the bouts of a session may differ.
    workers
        Cores that decompress; all by default.
    frames
        (n_frames,) i8, places of the frames that the bout must have; by default they are not compared, and the bout has
        at most the pages that a metadata file in its folder promises.

    Raises
    ------
    MissingInputError
        If the folder has neither tifs nor an archive, or tifs on record are gone and there is none.
    ArchiveError
        If tifs are gone, and no record tells which of two archives to trust, or the record is damaged, or tifs
        that are not on record are there instead.
    """
    bout_folder = Path(bout_folder)
    tifs = raw_tifs(bout_folder) if bout_folder.is_dir() else ()
    archive, _ = archive_in_place_of(bout_folder, tifs)
    if archive is None:
        promised = _promised_pages(bout_folder) if frames is None else None
        return BoutSource(bout_folder.name, tuple(LocalTif(tif) for tif in tifs), promised, frames)
    return archive_source(archive, workers=workers, frames=frames)


def _promised_pages(bout_folder: Path) -> int | None:
    """Pages that the bout's metadata promise, so that a source that gives others is noticed."""
    meta = find_meta(bout_folder)
    return None if meta is None else read_imaging_metadata(meta).n_pages


def _recorded_hashes(archive: Path) -> dict[str, str] | None:
    """Hashes (sha-256) that the tifs of the archive's bout had, by name; None where there is no record."""
    report = load_report(archive.parent.parent, archive.parent.name)
    return None if report is None else {member.name: member.sha256 for member in report.members}


def _taken(recorded: dict[str, str], name: str, archive: Path) -> str:
    """Take the hash of a tif out of the record."""
    if name not in recorded:
        raise _other_tifs(archive, f"{name}, which is not among them")
    return recorded.pop(name)


def _check_none_left(recorded: dict[str, str] | None, archive: Path) -> None:
    if recorded:
        raise _other_tifs(archive, f"no {', '.join(recorded)}")


def _other_tifs(archive: Path, found: str) -> ArchiveError:
    remedy = "Restore the archive from a copy; while the tifs exist, move it away instead and archive them again"
    return ArchiveError.at(archive, expected="the tifs of its record", found=found, remedy=remedy)


def _zarr_tifs(frames: FramesFolder, workers: int | None) -> tuple[ZarrTif, ...]:
    """Tifs of a folder, each with the hash on record, or else the one that the folder itself tells."""
    recorded = _recorded_hashes(frames.path)
    hashes = [m.sha256 if recorded is None else _taken(recorded, m.name, frames.path) for m in frames.members]
    _check_none_left(recorded, frames.path)
    return tuple(ZarrTif(frames, i, sha256=sha256, workers=workers) for i, sha256 in enumerate(hashes))


class _Opened:
    """One entry of an archive as a context manager; it is hashed while it is read."""

    def __init__(self, content: EntryStream, archive: ForwardReader, path: Path, sha256: str | None) -> None:
        self._content, self._archive, self._path = content, archive, path
        self._expected, self._sha256 = sha256, hashlib.sha256()

    def __call__(self) -> Self:
        return self

    def __enter__(self) -> Self:
        return self

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill a buffer with the next bytes of the entry; returns how many, fewer only at its end."""
        n_bytes = self._content.readinto(buffer)
        if self._expected is not None:
            self._sha256.update(buffer[:n_bytes])
        return n_bytes

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Leave the archive open for the next entry, and compare what was read with the record.

        If the tif could not be read, find out why: the archive may hold another tif, or the first bytes of a damaged
        block came before its checksum was compared. Then the error names the archive.
        """
        if error is not None and not isinstance(error, InputFileError):
            return
        if self._expected is not None:
            rest = memoryview(bytearray(_READ_BYTES))
            while self.readinto(rest):
                pass
            if self._sha256.hexdigest() != self._expected:
                raise other_content(self._path, self._content.entry.name)
        # of a tif that was cut before it was archived, the next one is asked for, and the archive read to its end
        if error is not None and not isinstance(error, DamagedTifError):
            left = LARGEST_BLOCK
            while left > 0 and (data := self._archive.read(_READ_BYTES)):
                left -= len(data)
