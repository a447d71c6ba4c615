"""Frames come from the archive that is on record, tif by tif, or not at all."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from meso_core.archive import (
    ZARR_NAME,
    compress_to_zarr,
    save_report,
    session_sources,
)
from meso_core.errors import ArchiveError, MesoWarning
from meso_core.scanimage import ScanImageTif, bin_per_plane, load_meta_files
from meso_core.session import raw_tifs


def _split(session: Path, out: Path) -> None:
    meta, _ = load_meta_files(session)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MesoWarning)
        bin_per_plane(session_sources(session), meta, out)


def _remove_tifs(bout: Path) -> None:
    for tif in raw_tifs(bout):
        tif.unlink()


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


def test_memory_does_not_grow_with_the_number_of_shards(bout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of 4 pages: of 50 pages, then of 80."""
    import tracemalloc

    from meso_core.archive import archive_source, zarr_shards

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
