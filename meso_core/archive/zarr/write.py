"""Making and verifying `imaging.frames.zarr`.

What belongs here: one pass over the tifs into the folder, and the comparison of the folder with the tifs. ``frames``
describes the layout, and reads it.

Shards are packed here and not by zarr: on 368 MB of simulated pages and 2 cores, at 230 MB/s; zarr 3.1.6 packed at 80,
zarr 3.4.2 (which needs Python 3.12) with ``FusedCodecPipeline`` at 135, zarrs 0.2.3 at 110 MB/s.
"""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import ArchiveError
from ...machine import cores_at_hand
from ...progress import Progress, silent
from ...scanimage import ScanImageTif, open_bout
from ...storage import FileHash
from ...storage.files.atomic import make_folder
from ...storage.files.hashing import hash_stream, sync_file
from ..atomic import check_room, new_folder
from ..rawtif import HashedTif, disagreement, disagreements, hash_tifs, tifs_of
from ..report import ZARR_NAME, ArchiveMember, ArchiveReport, hash_of_listing
from ..selection import is_archive
from ..untrusted import open_plain, plain_files
from .frames import LAYOUT_VERSION, LEVEL, OTHER_CHUNK, open_frames, why_not_zarr
from .shards import Frames, ShardGrid, crc32c_of, shard_file

if TYPE_CHECKING:
    import zarr


def compress_to_zarr(
    bout_folder: Path, out: Path | None = None, *, workers: int | None = None, progress: Progress = silent
) -> ArchiveReport:
    """Pack the tifs of a bout into a Zarr folder, read it back, and compare every tif's content.

    Parameters, errors and adoption of an earlier archive are those of :func:`~meso_core.archive.compress_tifs`.

    Raises
    ------
    ArchiveError
        Also if the tifs' layout does not fit the folder; the message says why.
    """
    bout_folder = Path(bout_folder)
    out = bout_folder / ZARR_NAME if out is None else Path(out)
    tifs = open_bout(tifs_of(bout_folder))
    started = time.monotonic()
    if is_archive(out):
        members = hash_tifs(tifs, progress)
        report = verify_zarr(out, members, workers=workers, progress=progress)
        return replace(report, bout=bout_folder.name, seconds=time.monotonic() - started, adopted=True)
    reason = why_not_zarr(tifs)
    if reason:
        raise ArchiveError.at(
            bout_folder, expected="one page layout", found=reason, remedy="Archive this bout as tar.bz2"
        )
    check_room(out, _estimate_size(tifs))
    with new_folder(out) as part:
        members = _write_folder(tifs, part, workers or cores_at_hand(), progress)
        report = verify_zarr(part, members, workers=workers, progress=progress)
    return replace(report, bout=bout_folder.name, name=out.name, seconds=time.monotonic() - started)


def verify_zarr(
    archive: str | Path,
    members: Sequence[ArchiveMember] | None = None,
    *,
    workers: int | None = None,
    progress: Progress = silent,
) -> ArchiveReport:
    """Rebuild each tif from the folder in memory and compare its sha-256 with what is expected.

    See :func:`~meso_core.archive.verify_archive` for parameters and errors. Without ``members``, the tifs must have the
    hashes that the folder itself records.
    """
    started, archive = time.monotonic(), Path(archive)
    folder = open_frames(archive)
    expected = folder.members if members is None else members
    total, done, found = sum(m.size for m in folder.members), 0, []
    for index, member in enumerate(folder.members):
        tif_hash, size = hashlib.sha256(), 0
        for piece in folder.tif_bytes(index, workers=workers):
            tif_hash.update(piece)
            size += len(piece)
            progress(done + size, max(total, done + size), "bytes verified")
        done += size
        found.append(replace(member, size=size, sha256=tif_hash.hexdigest()))
    findings = disagreements(expected, found)
    if findings:
        raise disagreement(archive, findings)
    inside = folder_content(archive, workers=workers)
    sha256, md5 = hash_of_listing({path: content.sha256 for path, content in inside.items()})
    return ArchiveReport(
        bout=archive.parent.name,
        archive_format="zarr",
        name=archive.name,
        members=tuple(expected),
        size=sum(content.size for content in inside.values()),
        sha256=sha256,
        md5=md5,
        seconds=time.monotonic() - started,
        compared_with_tifs=members is not None,
        inside=inside,
    )


def folder_content(folder: Path, *, workers: int | None = None) -> dict[str, FileHash]:
    """Hash every file of a folder, by its path below it.

    Raises
    ------
    ArchiveError
        If the folder holds a link, a device or anything else that is no plain file.
    """
    paths = sorted(plain_files(folder))
    with ThreadPoolExecutor(workers or cores_at_hand(), thread_name_prefix="hash") as pool:
        hashes = pool.map(_hash_plain, paths)
        return {path.relative_to(folder).as_posix(): content for path, content in zip(paths, hashes, strict=True)}


def _hash_plain(path: Path) -> FileHash:
    with open_plain(path) as file:
        return hash_stream(file)


def _write_folder(
    tifs: Sequence[ScanImageTif], part: Path, workers: int, progress: Progress
) -> tuple[ArchiveMember, ...]:
    import zarr

    page = next(tif.page for tif in tifs if tif.n_pages)
    shape = (sum(t.n_pages for t in tifs), page.height, page.width)
    grid = ShardGrid.of(*shape)
    group = zarr.create_group(part, zarr_format=3, overwrite=True)
    _declare_frames(group, shape, grid)
    total, done, members = sum(t.n_bytes for t in tifs), 0, []
    with _ShardWriter(part, grid, workers) as frames:
        for index, tif in enumerate(tifs):
            reading, small = HashedTif(tif), group.create_group(f"tifs/{index:05d}")
            _keep_offsets(small, tif)
            other = _OtherWriter(small, tif.n_bytes - tif.n_pages * page.data_bytes)
            for piece in _gaps_and_pages(reading, tif, frames):
                other.write(piece)
                progress(done + reading.position, total, "bytes compressed")
            members.append(reading.member())  # an error if the tif has grown meanwhile
            other.finish()
            done += reading.position
        frames.finish()
    group.attrs.update({"layout_version": LAYOUT_VERSION, "tifs": [asdict(m) for m in members]})
    for path in part.rglob("*"):
        if path.is_file():
            sync_file(path)
    return tuple(members)


def _keep_offsets(group: zarr.Group, tif: ScanImageTif) -> None:
    offsets = tif.data_offsets.astype("<i8")
    if offsets.size:
        group.create_array("data_offsets", data=offsets)
    else:
        group.create_array("data_offsets", shape=(0,), chunks=(1,), dtype="<i8")


def _declare_frames(group: zarr.Group, shape: tuple[int, int, int], grid: ShardGrid) -> None:
    """Write the metadata of the array of frames, as zarr itself does."""
    from zarr.codecs import Crc32cCodec
    from zarr.codecs.numcodecs import PCodec

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zarr warns that pcodec is not in its specification yet
        group.create_array(
            "frames",
            shape=shape,
            shards=grid.shape,
            chunks=grid.patch,
            dtype="int16",
            serializer=PCodec(level=LEVEL),
            compressors=Crc32cCodec(),
            dimension_names=("page", "row", "column"),
        )


def _gaps_and_pages(reading: HashedTif, tif: ScanImageTif, frames: _ShardWriter) -> Iterator[bytes]:
    """Read a tif from front to back: pixels go to ``frames``, the bytes around them are yielded."""
    with reading.opened():
        for offset in tif.data_offsets:
            yield from reading.pieces_to(int(offset))
            reading.read_into(frames.next_page())
        yield from reading.pieces_to(reading.entry.size)


class _OtherWriter:
    """Packs the bytes that are not pixels, chunk by chunk: of many small pages they may not fit into memory."""

    def __init__(self, group: zarr.Group, n_bytes: int) -> None:
        self._array = group.create_array("other_bytes", shape=(n_bytes,), chunks=(OTHER_CHUNK,), dtype="uint8")
        self._waiting = bytearray()
        self._written = 0

    def write(self, piece: bytes) -> None:
        """Take the next bytes."""
        self._waiting += piece
        while len(self._waiting) >= OTHER_CHUNK:
            self._pack(OTHER_CHUNK)

    def finish(self) -> None:
        """Write what is left."""
        if self._waiting:
            self._pack(len(self._waiting))

    def _pack(self, n_bytes: int) -> None:
        begin, self._written = self._written, self._written + n_bytes
        self._array[begin : self._written] = np.frombuffer(bytes(self._waiting[:n_bytes]), np.uint8)
        del self._waiting[:n_bytes]


class _ShardWriter:
    """Collects pages into shards; while one is packed side by side, the next is read."""

    def __init__(self, folder: Path, grid: ShardGrid, workers: int) -> None:
        self._folder, self._grid = folder, grid
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="pcodec")
        self._packing: list[Future[list[bytes]]] = []
        self._pages: Frames = np.zeros(grid.shape, np.int16)
        self._n_pages = self._n_shards = 0

    def next_page(self) -> memoryview:
        """Give the bytes into which the next page is read."""
        if self._n_pages == self._grid.n_pages:
            self._pack_shard()
        self._n_pages += 1
        return self._pages[self._n_pages - 1, : self._grid.height].data.cast("B")

    def finish(self) -> None:
        """Write what is left; zeros fill the last shard."""
        self._pack_shard()
        self._write_shard()

    def __enter__(self) -> _ShardWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _pack_shard(self) -> None:
        self._write_shard()
        self._packing = [self._pool.submit(_pack_row, self._pages, row, self._grid) for row in range(self._grid.rows)]
        self._pages, self._n_pages = np.zeros(self._grid.shape, np.int16), 0

    def _write_shard(self) -> None:
        """Write the shard that is being packed: its patches, and where each is."""
        if not self._packing:
            return
        patches = [patch for row in self._packing for patch in row.result()]
        lengths = np.array([len(patch) for patch in patches], "<u8")
        index = np.stack([np.cumsum(lengths) - lengths, lengths], axis=1).astype("<u8").tobytes()
        file = shard_file(self._folder, self._n_shards)
        make_folder(file.parent)
        with file.open("wb") as stream:
            stream.writelines(patches)
            stream.write(index + crc32c_of(index))
        self._packing, self._n_shards = [], self._n_shards + 1


def _pack_row(pages: Frames, row: int, grid: ShardGrid) -> list[bytes]:
    """Pack one row of patches."""
    band = pages[:, row * grid.patch_height : (row + 1) * grid.patch_height]
    packed = [_pack(band[:, :, left : left + grid.patch_width]) for left in range(0, grid.width, grid.patch_width)]
    return [patch + crc32c_of(patch) for patch in packed]


def _pack(pages: Frames) -> bytes:
    from pcodec import ChunkConfig, DeltaSpec, ModeSpec, PagingSpec, standalone

    config = ChunkConfig(
        compression_level=LEVEL,
        mode_spec=ModeSpec.classic(),
        delta_spec=DeltaSpec.no_op(),  # neighbouring pixels differ by photon noise: differences are no smaller
        paging_spec=PagingSpec.equal_pages_up_to(1 << 18),
    )
    packed: bytes = standalone.simple_compress(np.ascontiguousarray(pages).reshape(-1), config)
    return packed


def _estimate_size(tifs: Sequence[ScanImageTif]) -> int:
    """Estimate the folder's bytes from samples: a page from the middle of up to eight of the tifs, packed."""
    raw = packed = 0
    whole = [tif for tif in tifs if tif.n_pages]
    for tif in whole[:: max(1, len(whole) // 8)][:8]:
        with open_plain(tif.path) as file:
            file.seek(int(tif.data_offsets[tif.n_pages // 2]))
            page = np.frombuffer(file.read(tif.page.data_bytes), np.int16)
        raw += page.nbytes
        packed += len(_pack(page))
    return int(sum(t.n_bytes for t in tifs) * packed / raw)
