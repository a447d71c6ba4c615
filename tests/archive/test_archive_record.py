"""Frames come from the archive that is on record, tif by tif, or not at all."""

from __future__ import annotations

import json
import shutil
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from archive_processed import session_sources

from meso_core.archive import (
    ARCHIVE_NAME,
    ZARR_NAME,
    ArchiveFormat,
    archive_bout,
    compress_tifs,
    compress_to_zarr,
    load_report,
    save_report,
    verify_any,
)
from meso_core.errors import ArchiveError, MesoWarning
from meso_core.scanimage import ScanImageTif, bin_per_plane, load_meta_files
from meso_core.session import raw_tifs
from meso_core.storage import hash_file


def _split(session: Path, out: Path) -> None:
    meta, _ = load_meta_files(session)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MesoWarning)
        bin_per_plane(session_sources(session), meta, out)


def _alter(tif: Path, what: str) -> None:
    """Change one byte of a tif: of a pixel, of the description of a frame, or of a directory."""
    index = ScanImageTif(tif)
    data = bytearray(tif.read_bytes())
    place = {
        "a pixel": int(index.data_offsets[7]) + 100,
        "a description": data.rindex(b"frameTimestamps_sec"),
        "a directory": int(index.data_offsets[7] + index.page.data_bytes) + 3,
        "the header": data.index(b"SI.") + 1,
    }[what]
    data[place] ^= 1
    tif.write_bytes(data)


def _remove_tifs(bout: Path) -> None:
    for tif in raw_tifs(bout):
        tif.unlink()


@pytest.mark.parametrize(
    ("what", "number"),
    [
        ("a pixel", 0),
        pytest.param("a pixel", 1, marks=pytest.mark.nightly),
        pytest.param("a description", 0, marks=pytest.mark.nightly),
        ("a description", 1),
        ("a directory", 0),
        pytest.param("a directory", 1, marks=pytest.mark.nightly),
        pytest.param("the header", 0, marks=pytest.mark.nightly),
        ("the header", 1),
    ],
)
def test_tar_swapped_for_another_valid_one_gives_no_movies(bout: Path, tmp_path: Path, what: str, number: int) -> None:
    """Whole and valid, made by tar from tifs of which one has another byte: only the record tells."""
    save_report(bout.parent, compress_tifs(bout))
    (bout / ARCHIVE_NAME).unlink()
    names = [tif.name for tif in raw_tifs(bout)]
    _alter(bout / names[number], what)
    subprocess.run(["tar", "-cjf", ARCHIVE_NAME, *names], cwd=bout, check=True)
    _remove_tifs(bout)
    with pytest.raises(ArchiveError, match=names[number]):
        _split(bout.parent, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.bin"))


@pytest.mark.parametrize("recorded", [True, False], ids=["with a record", "without one"])
@pytest.mark.parametrize("frame", [3, 53], ids=["first tif", "last tif"])
def test_pixel_written_through_plain_zarr_gives_no_movies(
    bout: Path, tmp_path: Path, frame: int, recorded: bool
) -> None:
    import zarr

    report = compress_to_zarr(bout)
    if recorded:
        save_report(bout.parent, report)
    name = raw_tifs(bout)[frame // 50].name
    _remove_tifs(bout)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zarr.open_group(bout / ZARR_NAME, mode="r+")["frames"][frame, 5, 5] += 1  # type: ignore[index, operator]
    with pytest.raises(ArchiveError, match=name):
        _split(bout.parent, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.bin"))


def test_zarr_folder_swapped_for_another_valid_one_gives_no_movies(bout: Path, tmp_path: Path) -> None:
    save_report(bout.parent, compress_to_zarr(bout))
    shutil.rmtree(bout / ZARR_NAME)
    second = raw_tifs(bout)[1]
    _alter(second, "a pixel")
    compress_to_zarr(bout)
    _remove_tifs(bout)
    with pytest.raises(ArchiveError, match=second.name):
        _split(bout.parent, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.bin"))


@pytest.mark.parametrize("make", [compress_tifs, compress_to_zarr])
def test_archive_without_a_tif_of_its_record_gives_no_movies(
    bout: Path, tmp_path: Path, make: Callable[[Path], object]
) -> None:
    """The metadata, which would tell, say as many frames as there are."""
    save_report(bout.parent, archive_bout(bout, archive_format="zarr" if make is compress_to_zarr else "tar.bz2"))
    archive = bout / (ZARR_NAME if make is compress_to_zarr else ARCHIVE_NAME)
    shutil.rmtree(archive) if archive.is_dir() else archive.unlink()
    second = raw_tifs(bout)[1]
    second.unlink()
    make(bout)
    _remove_tifs(bout)
    for meta_file in bout.parent.glob("raw_imaging_data_*/_ibl_rawImagingData.meta.json"):
        if meta_file.parent == bout:
            meta = json.loads(meta_file.read_text())
            meta_file.write_text(json.dumps({**meta, "nFrames": 50}))
    with pytest.raises(ArchiveError, match=second.name):
        _split(bout.parent, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.bin"))


def test_zarr_folder_is_unpacked_by_as_many_threads_as_asked_for(bout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from meso_core.archive import archive_source
    from meso_core.archive.zarr import frames as zarr_frames

    compress_to_zarr(bout)
    asked: list[int | None] = []

    class Pool(ThreadPoolExecutor):
        def __init__(self, max_workers: int | None = None, **options: str) -> None:
            if options["thread_name_prefix"] == "pcodec":
                asked.append(max_workers)
            super().__init__(max_workers, **options)

    monkeypatch.setattr(zarr_frames, "ThreadPoolExecutor", Pool)
    for tif in archive_source(bout / ZARR_NAME, workers=1).tifs:
        list(tif.blocks(1 << 20))
    assert asked == [1, 1]


def test_memory_does_not_grow_with_the_number_of_shards(bout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of 4 pages: of 50 pages, then of 80."""
    import tracemalloc

    from meso_core.archive import archive_source
    from meso_core.archive.zarr import shards as zarr_shards

    monkeypatch.setattr(zarr_shards, "SHARD_BYTES", 4 * ScanImageTif(raw_tifs(bout)[0]).page.data_bytes)
    compress_to_zarr(bout)
    first, second = archive_source(bout / ZARR_NAME).tifs
    peaks = []
    for tifs in ((first,), (first,), (first, second)):  # the first time, modules are imported
        tracemalloc.start()
        for tif in tifs:
            for _ in tif.blocks(1 << 20):
                pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.1 * peaks[1]


@pytest.mark.parametrize("archive_format", ["tar.bz2", "zarr"])
def test_report_tells_the_hashes_of_each_file_so_that_publishing_reads_none(
    bout: Path, tmp_path: Path, archive_format: ArchiveFormat
) -> None:
    for _ in ("made", "adopted"):
        staged = tmp_path / "staged"
        known = archive_bout(bout, staged / bout.name, archive_format=archive_format).known_hashes
        files = [path for path in staged.rglob("*") if path.is_file()]
        assert known == {path.relative_to(staged).as_posix(): hash_file(path) for path in files}
        archive = next((staged / bout.name).iterdir())
        shutil.move(archive, bout / archive.name)
        shutil.rmtree(staged)


@pytest.mark.parametrize("archive_format", ["tar.bz2", "zarr"])
def test_early_records_which_call_pages_frames_are_read(bout: Path, archive_format: ArchiveFormat) -> None:
    report = archive_bout(bout, archive_format=archive_format)
    path = save_report(bout.parent, report)
    files = [path, *(bout / ZARR_NAME).glob("zarr.json")]
    for file in files:
        text = file.read_text()
        assert text.count('"n_pages"') == 2
        file.write_text(text.replace('"n_pages"', '"n_frames"'))
    assert load_report(bout.parent, bout.name) == report
    found = verify_any(bout / report.name)
    assert [m.n_pages for m in found.members] == ([0, 0] if archive_format == "tar.bz2" else [50, 30])
