"""What the rig delivered stays what it delivered, whatever is made of it since."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from archive_processed import plan_of, register

from meso_core.archive import (
    ARCHIVE_NAME,
    Override,
    archive_bout,
    as_delivered,
    load_removals,
    readable_records,
    remove_raw_tifs,
    restore,
    save_report,
)
from meso_core.archive.bout import FORMATS, ArchiveFormat
from meso_core.session import ListedFile, imaging_bouts, raw_tifs


def _listed(session: Path) -> list[ListedFile]:
    """Files in the raw folders."""
    files = [file for bout in imaging_bouts(session) for file in sorted(bout.rglob("*")) if file.is_file()]
    return [
        ListedFile(f.relative_to(session).as_posix(), f.stat().st_size, f.stat().st_mtime_ns) for f in sorted(files)
    ]


def _delivered(session: Path, *published: str) -> tuple[ListedFile, ...]:
    listed = _listed(session)
    ours = {file.path for file in listed if file.path.startswith(published)} if published else set()
    return as_delivered(listed, ours, load_removals(session), readable_records(session))


@pytest.mark.parametrize("archive_format", FORMATS)
def test_archiving_removing_and_restoring_do_not_change_it(session: Path, archive_format: ArchiveFormat) -> None:
    before = _delivered(session)
    assert before == tuple(_listed(session))
    archives = [f"{bout.name}/{FORMATS[archive_format]}" for bout in imaging_bouts(session)]
    for bout in imaging_bouts(session):
        save_report(session, archive_bout(bout, archive_format=archive_format))
    assert _delivered(session, *archives) == before
    register(session)
    remove_raw_tifs(plan_of(session, override=Override("a person", "a reason")))
    assert not [tif for bout in imaging_bouts(session) for tif in raw_tifs(bout)]
    assert _delivered(session, *archives) == before
    restore(session)
    assert _delivered(session, *archives) == before


def test_tifs_that_somebody_moved_away_count_as_long_as_the_archive_holds_them(bout: Path) -> None:
    before = _delivered(bout.parent)
    save_report(bout.parent, archive_bout(bout))
    for tif in raw_tifs(bout):
        tif.unlink()
    place = f"{bout.name}/{ARCHIVE_NAME}"
    assert _delivered(bout.parent, place) == before
    (bout / ARCHIVE_NAME).unlink()
    left = _delivered(bout.parent, place)
    assert set(before) - set(left) == {f for f in before if f.path.startswith(bout.name) and f.path.endswith(".tif")
                                       and "reference" not in f.path}  # fmt: skip


def test_a_bout_that_came_as_an_archive_counts_by_it_also_when_its_tifs_are_restored(bout: Path) -> None:
    save_report(bout.parent, archive_bout(bout))
    shutil.rmtree(bout.parent / ".meso")
    for tif in raw_tifs(bout):
        tif.unlink()
    before = _delivered(bout.parent)
    assert f"{bout.name}/{ARCHIVE_NAME}" in {file.path for file in before}
    save_report(bout.parent, archive_bout(bout))
    restore(bout.parent, bouts=[bout.name])
    assert raw_tifs(bout)
    assert _delivered(bout.parent) == before


def test_metadata_to_which_locations_were_added_count_as_the_rig_left_them(bout: Path) -> None:
    before = _delivered(bout.parent)
    meta = bout / "_ibl_rawImagingData.meta.json"
    shutil.copy2(meta, meta.with_name(meta.name + ".rig"))
    meta.write_text(meta.read_text() + " ")
    assert _listed(bout.parent) != list(before)
    assert _delivered(bout.parent) == before
