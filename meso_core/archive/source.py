"""Frames straight from the archive: tifs stream from the decompressor, none touches the disk.

What belongs here: choosing where a bout's frames come from, and handing its tifs out one after the other. Cutting
their pages into fields of view is the business of ``meso_core.scanimage``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ..errors import InputFileError, MissingInputError, problem
from ..scanimage import BoutSource, LocalTif, StreamedTif, TifSource
from ..scanimage.bouts import find_meta, read_meta
from ..session import imaging_bouts, raw_tifs
from .chosen import archive_in_place_of
from .external import open_reader
from .reader import LARGEST_BLOCK, ForwardReader
from .tape import EntryStream, read_tape
from .zarr_frames import ZarrTif, open_frames


@dataclass(frozen=True, slots=True)
class ArchivedTifs:
    """The tifs of a tar.bz2 in their order; each pass over it decompresses the archive once.

    A tif's pages must be read before the next tif is asked for; memory holds a few blocks of bzip2 only.
    """

    path: Path
    #: Cores that decompress; None: all.
    workers: int | None = None

    def __iter__(self) -> Iterator[TifSource]:
        with open_reader(self.path, workers=self.workers) as stream:
            for content in read_tape(stream, str(self.path)):
                yield StreamedTif(content.entry.name, _Opened(content, stream))


def archive_source(path: Path, *, workers: int | None = None) -> BoutSource:
    """Give the frames of an archive as a source for :func:`~meso_core.scanimage.bin_per_plane`.

    Parameters
    ----------
    path
        ``imaging.frames.tar.bz2`` (ours or made by ``tar -cj``) or ``imaging.frames.zarr`` in a bout's folder.
    workers
        Cores that decompress; all by default.

    Returns
    -------
    BoutSource
        Named after the folder of the archive. An archive that turns out to be damaged raises ArchiveError while its
        pages are read.

    Raises
    ------
    MissingInputError
        If there is no such archive.
    """
    path = Path(path)
    n_frames = _promised_frames(path.parent)
    if not path.exists():
        raise MissingInputError(
            problem(path, expected="an archive", found="no such file", remedy="Archive the session first")
        )
    if path.is_dir():
        frames = open_frames(path)
        return BoutSource(path.parent.name, tuple(ZarrTif(frames, i) for i in range(len(frames.members))), n_frames)
    return BoutSource(path.parent.name, ArchivedTifs(path, workers), n_frames)


def bout_source(bout_folder: Path, *, workers: int | None = None) -> BoutSource:
    """Give the frames of a bout from its tifs, or else from its archive.

    Where some tifs are gone although the recorded archive holds them (a removal was interrupted), the archive is used.

    Parameters
    ----------
    bout_folder
        ``raw_imaging_data_NN`` of a session; the bouts of a session may differ.
    workers
        Cores that decompress; all by default.

    Raises
    ------
    MissingInputError
        If the folder has neither tifs nor an archive, or tifs on record are gone and there is none.
    ArchiveError
        If tifs are gone, and no record tells which of two archives to trust, or the record is damaged, or foreign
        tifs are there instead.
    """
    bout_folder = Path(bout_folder)
    tifs = raw_tifs(bout_folder) if bout_folder.is_dir() else ()
    archive, _ = archive_in_place_of(bout_folder, tifs)
    if archive is None:
        return BoutSource(bout_folder.name, tuple(LocalTif(tif) for tif in tifs), _promised_frames(bout_folder))
    return archive_source(archive, workers=workers)


def session_sources(session_path: Path, *, workers: int | None = None) -> tuple[BoutSource, ...]:
    """Give the frames of all bouts of a session, each from its tifs or else its archive."""
    bouts = imaging_bouts(Path(session_path))
    if not bouts:
        raise MissingInputError(
            problem(session_path, expected="folders raw_imaging_data_NN", found="none", remedy="Copy the raw data")
        )
    return tuple(bout_source(bout, workers=workers) for bout in bouts)


def _promised_frames(bout_folder: Path) -> int | None:
    """Pages that the bout's metadata promise, so that a source that gives fewer is noticed."""
    meta = find_meta(bout_folder)
    return None if meta is None else int(read_meta(meta)["nFrames"])


class _Opened:
    """Opens an archive's entry once, with the context that file objects have."""

    def __init__(self, content: EntryStream, archive: ForwardReader) -> None:
        self._content, self._archive = content, archive

    def __call__(self) -> Self:
        return self

    def __enter__(self) -> EntryStream:
        return self._content

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Leave the archive open, for it goes on with the next entry; where a tif made no sense, ask why.

        The first bytes of a damaged block may come before its checksum was compared. Then the archive is to blame.
        """
        if isinstance(error, InputFileError):
            left = LARGEST_BLOCK
            while left > 0 and (data := self._archive.read(1 << 20)):
                left -= len(data)
