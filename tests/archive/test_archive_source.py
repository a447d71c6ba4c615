"""Frames from the archive: the same bytes as from the tifs, and none of them unpacked."""

from __future__ import annotations

import gc
import os
import random
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from archive_disk import snapshot
from archive_processed import session_sources
from archive_programs import still_running

from meso_core.archive import (
    ARCHIVE_NAME,
    ZARR_NAME,
    archive_bout,
    archive_source,
    bout_source,
    compress_tifs,
    compress_to_zarr,
    hash_tif,
    open_frames,
    restore,
    save_report,
)
from meso_core.errors import ArchiveError, MesoWarning, MissingInputError, StorageError
from meso_core.scanimage import bin_per_plane, load_meta_files
from meso_core.session import imaging_bouts, raw_tifs


def _peers_tar(bout: Path) -> None:
    subprocess.run(["tar", "-cjf", ARCHIVE_NAME, *[t.name for t in raw_tifs(bout)]], cwd=bout, check=True)


def _ours_tar(bout: Path) -> None:
    compress_tifs(bout)


def _ours_zarr(bout: Path) -> None:
    compress_to_zarr(bout)


def _movies(session: Path, out: Path) -> dict[str, bytes]:
    meta, _ = load_meta_files(session)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MesoWarning)
        bin_per_plane(session_sources(session), meta, out)
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in sorted(out.rglob("*.bin"))}


@pytest.mark.usefixtures("either_reader")
@pytest.mark.parametrize(
    "kinds",
    [(_ours_tar, _ours_tar), (_peers_tar, _peers_tar), (_ours_zarr, _ours_zarr), (None, _ours_tar), (_ours_zarr, None)],
    ids=["tar.bz2", "tar -cj", "zarr", "tifs, then tar.bz2", "zarr, then tifs"],
)
def test_fov_movies_from_the_archive_are_those_from_the_tifs(
    session: Path, tmp_path: Path, kinds: tuple[Callable[[Path], None] | None, ...]
) -> None:
    from_tifs = _movies(session, tmp_path / "a")
    for bout, make in zip(imaging_bouts(session), kinds, strict=True):
        if make is not None:
            make(bout)
            for tif in raw_tifs(bout):
                tif.unlink()
    before = snapshot(session)
    from_archive = _movies(session, tmp_path / "b")
    assert from_archive == from_tifs
    assert len(from_tifs) == 3
    assert snapshot(session) == before, "something was unpacked into the session"


def test_tifs_are_taken_where_both_are_there(bout: Path) -> None:
    compress_tifs(bout)
    (bout / ARCHIVE_NAME).write_bytes(b"spoilt")
    blocks = [np.array(b.pixels) for tif in bout_source(bout).tifs for b in tif.blocks(1 << 20)]
    expected = np.concatenate([tifffile.imread(t) for t in raw_tifs(bout)])
    np.testing.assert_array_equal(np.concatenate(blocks), expected)


def test_interrupted_removal_falls_back_on_the_archive(bout: Path) -> None:
    expected = np.concatenate([tifffile.imread(t) for t in raw_tifs(bout)])
    save_report(bout.parent, compress_tifs(bout))
    raw_tifs(bout)[0].unlink()
    blocks = [np.array(b.pixels) for tif in bout_source(bout).tifs for b in tif.blocks(1 << 20)]
    np.testing.assert_array_equal(np.concatenate(blocks), expected)
    assert archive_bout(bout).n_pages == len(expected)


def test_neither_tifs_nor_archive_is_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "raw_imaging_data_00"
    for make in (lambda: None, folder.mkdir):
        make()
        with pytest.raises(MissingInputError, match="none of them"):
            bout_source(folder)
    with pytest.raises(MissingInputError):
        archive_source(folder / ARCHIVE_NAME)


def test_archive_that_lacks_pages_of_the_metadata_is_noticed(session: Path, tmp_path: Path) -> None:
    first = imaging_bouts(session)[0]
    raw_tifs(first)[-1].unlink()
    _ours_tar(first)
    for tif in raw_tifs(first):
        tif.unlink()
    with pytest.warns(MesoWarning, match=r"frames missing, expected frame 51 \(50 pages of 80\)"):
        bin_per_plane(session_sources(session), load_meta_files(session)[0], tmp_path / "a")


def _cut_and_empty(bout: Path) -> None:
    """Cut the first tif in the middle of a page, and add one of no bytes."""
    first, *_, last = raw_tifs(bout)
    os.truncate(first, int(first.stat().st_size * 0.61))
    (bout / last.name.replace("_00002.tif", "_00003.tif")).touch()


@pytest.mark.parametrize("kind", [_ours_tar, _peers_tar, _ours_zarr])
def test_archive_of_cut_and_empty_tifs_holds_each_byte_and_gives_the_same_frames(
    session: Path, tmp_path: Path, kind: Callable[[Path], None]
) -> None:
    bout = imaging_bouts(session)[0]
    _cut_and_empty(bout)
    content = {tif.name: tif.read_bytes() for tif in raw_tifs(bout)}
    from_tifs = _movies(session, tmp_path / "a")
    kind(bout)
    for tif in raw_tifs(bout):
        tif.unlink()
    assert _movies(session, tmp_path / "b") == from_tifs
    restore(session, bouts=[bout.name])
    assert {tif.name: tif.read_bytes() for tif in raw_tifs(bout)} == content


@pytest.mark.parametrize("archive_format", ["tar.bz2", "zarr"])
def test_a_bout_with_a_cut_tif_is_archived_and_the_record_counts_its_whole_pages(
    bout: Path, archive_format: str
) -> None:
    _cut_and_empty(bout)
    members = {tif.name: hash_tif(tif) for tif in raw_tifs(bout)}
    with pytest.warns(MesoWarning, match="60 pages are there, but .* promises 80"):
        report = archive_bout(bout, archive_format=archive_format)  # type: ignore[arg-type]
    assert report.archive_format == archive_format
    assert {m.name: m for m in report.members} == members
    assert [m.n_pages for m in report.members] == [30, 30, 0]


@pytest.mark.usefixtures("either_reader")
@pytest.mark.parametrize("kind", [_ours_tar, _ours_zarr])
def test_damage_found_while_frames_are_read_leaves_no_movies(
    session: Path, tmp_path: Path, kind: Callable[[Path], None]
) -> None:
    first = imaging_bouts(session)[0]
    kind(first)
    for tif in raw_tifs(first):
        tif.unlink()
    file = first / ARCHIVE_NAME if kind is _ours_tar else next((first / ZARR_NAME / "frames" / "c").rglob("0"))
    file = file if file.is_file() else next(p for p in file.rglob("*") if p.is_file())
    data = bytearray(file.read_bytes())
    data[len(data) * 3 // 4] ^= 1
    file.write_bytes(data)
    with pytest.raises(ArchiveError):
        _movies(session, tmp_path / "a")
    assert not list((tmp_path / "a").rglob("*.bin"))


@pytest.mark.usefixtures("either_reader")
def test_damage_is_the_archives_fault_wherever_its_checksum_comes(session: Path, tmp_path: Path) -> None:
    """Of a nearly blank recording, lbzip2 gives MBs out before it has come to the checksum of their block."""
    first, rng = imaging_bouts(session)[0], random.Random(11)
    for tif in raw_tifs(first):
        data = bytearray(tif.read_bytes())
        with tifffile.TiffFile(tif) as file:
            for i, page in enumerate(file.pages):
                if i % 16:
                    data[page.dataoffsets[0] : page.dataoffsets[0] + page.size * 2] = bytes(page.size * 2)
        tif.write_bytes(data)
    names = [t.name for t in raw_tifs(first)]
    subprocess.run(["tar", "-c", "-Ibzip2 -1", "-f", ARCHIVE_NAME, *names], cwd=first, check=True)
    from_tifs = _movies(session, tmp_path / "a")
    for tif in raw_tifs(first):
        tif.unlink()
    assert _movies(session, tmp_path / "b") == from_tifs
    packed, noticed = (first / ARCHIVE_NAME).read_bytes(), 0
    for turn in range(40):
        flipped = bytearray(packed)
        flipped[rng.randrange(len(packed))] ^= 1 << rng.randrange(8)
        (first / ARCHIVE_NAME).write_bytes(flipped)
        try:  # a bit of a code that no symbol uses changes nothing
            assert _movies(session, tmp_path / f"{turn}") == from_tifs
        except ArchiveError:
            noticed += 1
            assert not list((tmp_path / f"{turn}").rglob("*.bin"))
    assert noticed > 30


@pytest.mark.usefixtures("either_reader")
def test_who_stops_in_the_middle_of_an_archive_leaves_nothing_running(session: Path, tmp_path: Path) -> None:
    for bout in imaging_bouts(session):
        _ours_tar(bout)
    gc.collect()
    before = still_running()
    meta, _ = load_meta_files(session)
    sources = [archive_source(bout / ARCHIVE_NAME) for bout in imaging_bouts(session)]

    def stop(done: int, total: int, what: str) -> None:
        if done > 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as held:  # what is raised keeps the frames alive that it passed
        bin_per_plane(sources, meta, tmp_path / "a", progress=stop, block_bytes=1)
    assert still_running() == before
    assert held.value is not None
    next(iter(sources[0].tifs))  # a source that is dropped
    assert still_running() == before


def test_plain_zarr_reads_any_frame(bout: Path) -> None:
    """No part of this project is needed: zarr, numcodecs and pcodec suffice."""
    compress_to_zarr(bout)
    script = (
        "import sys, warnings, zarr, numpy as np; warnings.simplefilter('ignore');"
        "np.save(sys.argv[2], zarr.open_group(sys.argv[1], mode='r')['frames'][17:71]);"
        "assert 'meso_core' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script, str(bout / ZARR_NAME), str(bout / "out.npy")], check=True)
    expected = np.concatenate([tifffile.imread(t) for t in raw_tifs(bout)])[17:71]
    np.testing.assert_array_equal(np.load(bout / "out.npy"), expected)
    frames = open_frames(bout / ZARR_NAME)
    np.testing.assert_array_equal(frames.read(17, 71), expected)
    assert frames.read(70, 9999).shape == (10, *expected.shape[1:])
    assert frames.read(9, 3).shape == frames.read(500, 600).shape == (0, *expected.shape[1:])


@pytest.mark.parametrize("archive_format", ["tar.bz2", "zarr"])
def test_restored_tifs_are_bit_identical_with_names_and_times(session: Path, archive_format: str) -> None:
    before, contents = snapshot(session), {}
    for bout in imaging_bouts(session):
        contents |= {t: t.read_bytes() for t in raw_tifs(bout)}
        save_report(session, archive_bout(bout, archive_format=archive_format))  # type: ignore[arg-type]
        for tif in raw_tifs(bout):
            tif.unlink()
    restored = restore(session)
    assert {session / r.path: (session / r.path).read_bytes() for r in restored} == contents
    assert all(r.written and r.compared for r in restored)
    after = snapshot(session)
    assert {name: after[name] for name in before} == before
    again = restore(session, bouts=["raw_imaging_data_01"])
    assert again
    assert not any(r.written for r in again)


def test_real_files_survive_the_zarr_folder(real_data: Path, tmp_path: Path) -> None:
    bout = tmp_path / "s" / "raw_imaging_data_00"
    bout.mkdir(parents=True)
    for tif in (real_data / "scanimage" / "volumetric_single_channel_multi_file").glob("*.tif"):
        (bout / tif.name).write_bytes(tif.read_bytes())
    members = [hash_tif(t) for t in raw_tifs(bout)]
    save_report(bout.parent, archive_bout(bout, archive_format="zarr"))
    for tif in raw_tifs(bout):
        tif.unlink()
    restore(bout.parent)
    assert [hash_tif(t) for t in raw_tifs(bout)] == members


def test_restore_never_overwrites_a_tif(bout: Path) -> None:
    save_report(bout.parent, compress_tifs(bout))
    tif = raw_tifs(bout)[0]
    tif.write_bytes(tif.read_bytes()[:-1] + b"?")
    before = snapshot(bout)
    with pytest.raises(ArchiveError, match="differs from the archive"):
        restore(bout.parent, bouts=[bout.name])
    assert snapshot(bout) == before


def test_layout_that_zarr_cannot_hold_keeps_tar_bz2_and_says_so(bout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tifs of unsigned pixels, which the folder does not hold."""
    for tif in raw_tifs(bout):
        data = bytearray(tif.read_bytes())
        with tifffile.TiffFile(tif) as file:
            for page in file.pages:
                offset = page.tags["SampleFormat"].valueoffset
                assert data[offset : offset + 2] == b"\2\0"
                data[offset : offset + 2] = b"\1\0"
        tif.write_bytes(data)
    with pytest.warns(MesoWarning, match="kept as tar.bz2"):
        report = archive_bout(bout, archive_format="zarr")
    assert report.archive_format == "tar.bz2"
    assert "uint16" in report.note
    with pytest.raises(ArchiveError, match="Archive this bout as tar"):
        compress_to_zarr(bout)


def test_archive_goes_to_the_staging_folder_and_is_linked_when_kept(session: Path, tmp_path: Path) -> None:
    formats = (("tar.bz2", ARCHIVE_NAME), ("zarr", ZARR_NAME))
    for bout, (archive_format, name) in zip(imaging_bouts(session), formats, strict=True):
        staged = tmp_path / f"staged {archive_format}" / bout.name
        made = archive_bout(bout, staged, archive_format=archive_format)  # type: ignore[arg-type]
        assert not made.adopted
        assert not (bout / name).exists()
        (staged / name).rename(bout / name)
        again = tmp_path / f"again {archive_format}" / bout.name
        kept = archive_bout(bout, again, archive_format=archive_format)  # type: ignore[arg-type]
        assert kept.adopted
        assert kept.sha256 == made.sha256
        file = again / name if archive_format == "tar.bz2" else again / name / "zarr.json"
        assert file.stat().st_nlink == 2


def test_restore_takes_the_archive_that_is_on_record(bout: Path) -> None:
    """Of two archives, the one whose content was compared with the tifs."""
    compress_to_zarr(bout)
    save_report(bout.parent, compress_tifs(bout))
    members = [hash_tif(t) for t in raw_tifs(bout)]
    for tif in raw_tifs(bout):
        tif.unlink()
    next((bout / ZARR_NAME / "frames" / "c").rglob("0")).rename(bout / "lost")
    assert all(r.compared for r in restore(bout.parent, bouts=[bout.name]))
    assert [hash_tif(t) for t in raw_tifs(bout)] == members


def test_tif_that_appears_while_it_is_restored_is_left_alone(bout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the last moment before the restored tif gets its name."""
    save_report(bout.parent, compress_tifs(bout))
    tif, utime = raw_tifs(bout)[0], os.utime
    for path in raw_tifs(bout):
        path.unlink()

    def appear(*arguments: Any, **options: Any) -> None:
        utime(*arguments, **options)
        tif.write_bytes(b"the rig is copying")

    monkeypatch.setattr(os, "utime", appear)
    with pytest.raises(StorageError, match="appeared meanwhile"):
        restore(bout.parent, bouts=[bout.name])
    assert tif.read_bytes() == b"the rig is copying"
    assert [p.name for p in bout.glob(".*")] == []


@pytest.mark.parametrize("kind", [_ours_tar, _ours_zarr])
def test_damaged_archive_without_a_record_restores_nothing(bout: Path, kind: Callable[[Path], None]) -> None:
    """Its first tif would read well; nothing tells so before the damage is met."""
    kind(bout)
    for tif in raw_tifs(bout):
        tif.unlink()
    files = [bout / ARCHIVE_NAME] if kind is _ours_tar else (bout / ZARR_NAME / "frames" / "c").rglob("*")
    file = sorted(p for p in files if p.is_file())[-1]
    data = bytearray(file.read_bytes())
    data[len(data) * 9 // 10] ^= 1
    file.write_bytes(data)
    before = snapshot(bout)
    with pytest.raises(ArchiveError):
        restore(bout.parent, bouts=[bout.name])
    assert snapshot(bout) == before
