"""Which archive is the archive of a bout: the one on record, whatever else lies beside it."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from archive_disk import snapshot
from archive_processed import plan_of, publish_archives

from meso_core.archive import (
    ARCHIVE_NAME,
    ZARR_NAME,
    archive_bout,
    bout_source,
    compress_tifs,
    compress_to_zarr,
    find_archive,
    hash_tif,
    load_report,
    restore,
    save_report,
    verify_archive,
)
from meso_core.archive.report import record_path
from meso_core.errors import ArchiveError, MesoError, MesoWarning, MissingInputError
from meso_core.session import raw_tifs
from meso_core.storage import Basis, MadeBy, Staging, publish, verify_manifest

MAKE = {"tar.bz2": compress_tifs, "zarr": compress_to_zarr}
NAMES = {"tar.bz2": ARCHIVE_NAME, "zarr": ZARR_NAME}
OTHER = {"tar.bz2": "zarr", "zarr": "tar.bz2"}


def _early(bout: Path, archive_format: str) -> None:
    """Make an archive that nobody recorded, while only the first tif is there."""
    _, second = raw_tifs(bout)
    hidden = second.rename(bout.parent / "later")
    MAKE[archive_format](bout)
    hidden.rename(second)


def _remove(bout: Path) -> None:
    for tif in raw_tifs(bout):
        tif.unlink()


def _pages(bout: Path) -> np.ndarray:
    return np.concatenate([np.array(b.pixels) for tif in bout_source(bout).tifs for b in tif.blocks(1 << 20)])


@pytest.mark.parametrize("recorded", ["tar.bz2", "zarr"])
@pytest.mark.parametrize("asked", ["tar.bz2", "zarr"])
def test_archive_on_record_is_the_one_that_is_read_kept_and_restored(bout: Path, recorded: str, asked: str) -> None:
    members, expected = [hash_tif(t) for t in raw_tifs(bout)], _pages(bout)
    assert len(expected) == 80
    save_report(bout.parent, archive_bout(bout, archive_format=recorded))  # type: ignore[arg-type]
    _early(bout, OTHER[recorded])
    _remove(bout)
    np.testing.assert_array_equal(_pages(bout), expected)
    assert find_archive(bout) == bout / NAMES[recorded]
    before = snapshot(bout)
    with pytest.raises(ArchiveError, match=r"is missing|not among") as caught:
        archive_bout(bout, archive_format=asked)  # type: ignore[arg-type]
    assert {name in str(caught.value) for name in NAMES.values()} == {True}
    assert snapshot(bout) == before
    assert all(r.compared for r in restore(bout.parent, bouts=[bout.name]))
    assert [hash_tif(t) for t in raw_tifs(bout)] == members


@pytest.mark.parametrize("archive_format", ["tar.bz2", "zarr"])
def test_second_archive_that_holds_something_else_is_refused_while_the_tifs_are_there(
    bout: Path, archive_format: str
) -> None:
    _early(bout, OTHER[archive_format])
    with pytest.raises(ArchiveError, match=NAMES[OTHER[archive_format]]) as caught:
        archive_bout(bout, archive_format=archive_format)  # type: ignore[arg-type]
    assert NAMES[archive_format] in str(caught.value)
    assert not (bout / NAMES[archive_format]).exists()


def test_rubbish_in_the_other_format_is_refused(bout: Path) -> None:
    (bout / ARCHIVE_NAME).write_bytes(b"rubbish")
    with pytest.raises(ArchiveError, match=ARCHIVE_NAME):
        archive_bout(bout, archive_format="zarr")


def test_second_archive_closes_the_gate(bout: Path) -> None:
    save_report(bout.parent, archive_bout(bout))
    _early(bout, "zarr")
    messages = [o.message for o in plan_of(bout.parent, []).obstacles if o.where == bout.name]
    assert len(messages) == 1
    assert ZARR_NAME in messages[0]
    assert ARCHIVE_NAME in messages[0]


def test_second_archive_that_holds_the_same_is_told(bout: Path) -> None:
    compress_to_zarr(bout)
    with pytest.warns(MesoWarning, match=f"{ZARR_NAME}: holds the same tifs as"):
        report = archive_bout(bout)
    save_report(bout.parent, report)
    _remove(bout)
    with pytest.warns(MesoWarning, match=f"{ZARR_NAME}: holds the same tifs as"):
        kept = archive_bout(bout, archive_format="zarr")
    assert (kept.name, kept.compared_with_tifs) == (ARCHIVE_NAME, True)


def test_other_format_is_not_made_from_tifs_that_differ_from_the_archived_ones(bout: Path, tmp_path: Path) -> None:
    """Publishing it would supersede the only archive of the tif as it was."""
    save_report(bout.parent, archive_bout(bout))
    tif = raw_tifs(bout)[1]
    data = bytearray(tif.read_bytes())
    data[-3] ^= 1
    tif.write_bytes(data)
    with pytest.raises(ArchiveError, match=f"{tif.name} has other content"):
        archive_bout(bout, tmp_path / bout.name, archive_format="zarr")


@pytest.mark.parametrize("archive_format", ["tar.bz2", "zarr"])
def test_foreign_tif_in_place_of_an_archived_one_is_refused(bout: Path, archive_format: str) -> None:
    save_report(bout.parent, archive_bout(bout))
    first, _ = raw_tifs(bout)
    first.rename(bout / "foreign_00009.tif")
    with pytest.raises(ArchiveError, match=r"foreign_00009\.tif beside them"):
        archive_bout(bout, archive_format=archive_format)  # type: ignore[arg-type]
    with pytest.raises(ArchiveError, match=f"while {first.name} is gone"):
        bout_source(bout)


def test_tif_that_is_neither_there_nor_in_an_archive_is_missed(bout: Path) -> None:
    save_report(bout.parent, archive_bout(bout))
    (bout / ARCHIVE_NAME).unlink()
    first, _ = raw_tifs(bout)
    first.unlink()
    for call in (archive_bout, bout_source):
        with pytest.raises(MissingInputError, match=first.name):
            call(bout)


def test_record_says_what_the_tifs_were_whichever_format_it_is_about(bout: Path) -> None:
    """The archive on record is lost, the one of the other format is compared with that record."""
    save_report(bout.parent, archive_bout(bout))
    (bout / ARCHIVE_NAME).unlink()
    _early(bout, "zarr")
    _remove(bout)
    with pytest.raises(ArchiveError, match="is missing"):
        archive_bout(bout)
    with pytest.raises(ArchiveError, match="that were archived"):
        restore(bout.parent, bouts=[bout.name])


def test_two_archives_without_a_record_are_an_error_once_the_tifs_are_gone(bout: Path) -> None:
    compress_tifs(bout)
    compress_to_zarr(bout)
    assert len(_pages(bout)) == 80
    _remove(bout)
    for call in (archive_bout, bout_source, lambda folder: restore(folder.parent, bouts=[folder.name])):
        with pytest.raises(ArchiveError, match=f"{ZARR_NAME} and {ARCHIVE_NAME}"):
            call(bout)


def test_tree_of_empty_folders_is_no_archive(bout: Path) -> None:
    (bout / ZARR_NAME / "frames" / "c").mkdir(parents=True)
    save_report(bout.parent, archive_bout(bout))
    publish_archives(bout.parent)
    assert plan_of(bout.parent, []).removals
    _remove(bout)
    assert len(_pages(bout)) == 80
    assert archive_bout(bout).name == ARCHIVE_NAME
    (bout / ARCHIVE_NAME).unlink()
    with pytest.raises(MissingInputError):
        bout_source(bout)


def test_record_of_a_comparison_is_never_replaced_by_one_without(bout: Path) -> None:
    report = archive_bout(bout)
    save_report(bout.parent, report)
    with pytest.raises(ArchiveError, match="comparison"):
        save_report(bout.parent, verify_archive(bout / ARCHIVE_NAME))
    assert load_report(bout.parent, bout.name) == report


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda data: data[: len(data) // 2],
    "empty": lambda _: b"",
    "zeroed": lambda data: bytes(len(data)),
    "not UTF-8": lambda data: data.replace(b"raw_imaging", b"raw_\xff\xfemaging"),
    "another JSON": lambda _: json.dumps([1, 2]).encode(),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_record_is_made_again_while_the_tifs_are_there(bout: Path, damage: Callable[[bytes], bytes]) -> None:
    report = archive_bout(bout)
    path = save_report(bout.parent, report)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.warns(MesoWarning, match="record of an archive"):
        assert len(bout_source(bout).tifs) == 2  # type: ignore[arg-type]
    with pytest.warns(MesoWarning, match="record of an archive"):
        again = archive_bout(bout)
    save_report(bout.parent, again)
    assert again.compared_with_tifs
    found = load_report(bout.parent, bout.name)
    assert found is not None
    assert found.members == report.members


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_record_without_tifs_says_how_to_go_on(bout: Path, damage: Callable[[bytes], bytes]) -> None:
    members = [hash_tif(t) for t in raw_tifs(bout)]
    path = save_report(bout.parent, archive_bout(bout))
    path.write_bytes(damage(path.read_bytes()))
    _remove(bout)
    for call in (archive_bout, bout_source, lambda folder: restore(folder.parent, bouts=[folder.name])):
        with pytest.raises(ArchiveError, match="move this file away") as caught:
            call(bout)
        assert str(path) in str(caught.value)
    path.rename(path.with_suffix(".damaged"))
    assert not any(r.compared for r in restore(bout.parent, bouts=[bout.name]))
    assert [hash_tif(t) for t in raw_tifs(bout)] == members


def test_record_that_cannot_be_read_is_named(others_folder: Path, another_user: Callable[[], object]) -> None:
    path = record_path(others_folder, "raw_imaging_data_00")
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    path.chmod(0o000)
    with another_user(), pytest.raises(ArchiveError, match="Permission denied"):  # type: ignore[attr-defined]
        load_report(others_folder, "raw_imaging_data_00")


@pytest.mark.parametrize("what", ["tif", "tar.bz2", "zarr", "bout"])
def test_what_cannot_be_read_is_a_named_error_for_who_reads_the_frames(
    bout: Path, others_folder: Path, another_user: Callable[[], Any], what: str
) -> None:
    theirs = others_folder / bout.name
    theirs.mkdir()
    for tif in raw_tifs(bout):
        shutil.copy2(tif, theirs)
    path = {"tif": raw_tifs(theirs)[0], "bout": theirs}.get(what)
    if path is None:
        MAKE[what](theirs)
        _remove(theirs)
        path = theirs / NAMES[what]
        path = path / "zarr.json" if path.is_dir() else path
    (others_folder / ".meso").mkdir(exist_ok=True)
    (others_folder / ".meso").chmod(0o777)
    path.chmod(0o000)
    for call in (_pages, archive_bout, lambda folder: restore(folder.parent, bouts=[folder.name])):
        with another_user(), pytest.raises(MesoError, match=r"[Dd]enied") as caught:
            call(theirs)
        assert path.name in str(caught.value) or path.parent.name in str(caught.value)
        if what == "tif" and call is archive_bout:
            break  # there is nothing to restore
    path.chmod(0o755)


@pytest.mark.parametrize("same_time", [True, False])
def test_a_tif_that_was_replaced_is_not_passed_over_because_others_are_in_the_archive(
    bout: Path, same_time: bool
) -> None:
    save_report(bout.parent, archive_bout(bout))
    first, second = raw_tifs(bout)
    second.unlink()
    status, data = first.stat(), bytearray(first.read_bytes())
    assert len(_pages(bout)) == 80, "the archive stands for the one that is gone"
    os.utime(first)
    assert len(_pages(bout)) == 80, "touched, and the same"
    data[-1] ^= 1
    first.write_bytes(bytes(data) + (b"more" if same_time else b""))
    if same_time:
        os.utime(first, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(ArchiveError, match=f"{first.name} beside them, while {second.name} is gone"):
        bout_source(bout)


@pytest.mark.parametrize("archive_format", ["tar.bz2", "zarr"])
def test_where_no_links_can_be_made_an_archive_stays_where_it_is_and_is_published_there(
    bout: Path, archive_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy would double it, and on its way to another place a kill could lose it."""
    session, name = bout.parent, NAMES[archive_format]
    save_report(session, archive_bout(bout, archive_format=archive_format))  # type: ignore[arg-type]
    _remove(bout)
    before = snapshot(bout)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "link", refuse)
    staging = Staging(session, "imaging_frames_archive")
    report = archive_bout(bout, staging.folder / bout.name, archive_format=archive_format)  # type: ignore[arg-type]
    assert not [p for p in staging.folder.rglob("*") if p.is_file()]
    staging.leave(report.known_hashes)
    reads: list[str] = []
    monkeypatch.setattr("meso_core.storage.manifests.ownership.sha256_of", lambda path: reads.append(str(path)))
    manifest = publish(session, staging.seal(), Basis("1"), MadeBy("run-1"))
    assert reads == []  # it was read when it was verified
    assert {file.path for file in manifest.files} == set(report.known_hashes)
    assert snapshot(bout) == before
    assert (bout / name).exists()
    monkeypatch.undo()
    assert verify_manifest(session, manifest) == ()
