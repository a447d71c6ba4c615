"""Each error of the removal gate and of restoring, met as a person meets it: its remedy leads to a result."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from archive_processed import plan_of, publish_archives, session_sources

from meso_core.archive import ARCHIVE_NAME, Override, archive_bout, remove_raw_tifs, restore, save_report
from meso_core.archive.report import record_path
from meso_core.errors import MesoError, MesoWarning
from meso_core.session import imaging_bouts, raw_tifs

pytestmark = pytest.mark.usefixtures("no_flushing")

FIRST = "raw_imaging_data_00"


def tifs(session: Path) -> dict[str, bytes]:
    return {f"{bout.name}/{tif.name}": tif.read_bytes() for bout in imaging_bouts(session) for tif in raw_tifs(bout)}


def remove(session: Path) -> Any:
    return remove_raw_tifs(plan_of(session, override=Override("Ada", "room")))


def unrecorded(session: Path) -> None:
    (session / FIRST / ARCHIVE_NAME).unlink()
    record_path(session, FIRST).unlink()


def archive_again(session: Path) -> None:
    save_report(session, archive_bout(session / FIRST))
    publish_archives(session)


def linked_folder(session: Path) -> None:
    (session / ".meso").mkdir(exist_ok=True)
    (session / ".meso" / "removed").symlink_to(session.parent)


def a_folder_again(session: Path) -> None:
    (session / ".meso" / "removed").unlink()
    (session / ".meso" / "removed").mkdir()


def nothing_left(session: Path) -> None:
    shutil.copytree(session, session.with_name("store"))
    for file in [*raw_tifs(session / FIRST), session / FIRST / ARCHIVE_NAME]:
        file.unlink()


def from_the_store(session: Path) -> None:
    shutil.copy2(session.with_name("store") / FIRST / ARCHIVE_NAME, session / FIRST / ARCHIVE_NAME)


def new_file_of_the_rig(session: Path) -> None:
    first, *_ = raw_tifs(session / FIRST)
    remove(session)
    first.write_bytes(b"a new recording")


def new_file_away(session: Path) -> None:
    (tif,) = raw_tifs(session / FIRST)
    tif.rename(session.with_name("elsewhere.tif"))


def other_archive(session: Path) -> None:
    nothing_left(session)
    bouts = session.with_name("store")
    shutil.copy2(bouts / "raw_imaging_data_01" / ARCHIVE_NAME, session / FIRST / ARCHIVE_NAME)


def changed_tif(session: Path) -> None:
    first, *_ = raw_tifs(session / FIRST)
    shutil.copy2(first, session.with_name("kept.tif"))
    first.write_bytes(first.read_bytes()[:-2] + b"ab")


def changed_away(session: Path) -> None:
    first, *_ = raw_tifs(session / FIRST)
    first.rename(session.with_name("changed.tif"))


@dataclass(frozen=True)
class Case:
    """What is wrong, what is tried, what the message says to do, and doing it."""

    spoil: Callable[[Path], Any]
    attempt: Callable[[Path], Any]
    says: str
    follow: Callable[[Path], Any]


CASES = {
    "no archive on record": Case(unrecorded, remove, "Archive and process the session first", archive_again),
    "a link among the kept": Case(linked_folder, remove, "Put a folder in place of the link", a_folder_again),
    "no archive to restore from": Case(nothing_left, restore, "Copy the archive from the store", from_the_store),
    "a new file in the place": Case(new_file_of_the_rig, restore, "Move the new file out of the bout", new_file_away),
    "the archive of another bout": Case(other_archive, restore, "from a copy", from_the_store),
    "a tif that differs": Case(changed_tif, restore, "Move it out of the folder first", changed_away),
}


@pytest.mark.parametrize("name", CASES)
def test_following_the_remedy_leads_to_all_tifs_or_to_their_removal(
    archived_short: dict[str, Path], tmp_path: Path, name: str
) -> None:
    case, session = CASES[name], Path(shutil.copytree(archived_short["tar.bz2"], tmp_path / "001"))
    before = tifs(session)
    case.spoil(session)
    with pytest.raises(MesoError) as caught:
        case.attempt(session)
    assert case.says in str(caught.value)
    case.follow(session)
    case.attempt(session)
    if case.attempt is remove:
        assert tifs(session) == {}
        restore(session)
    assert tifs(session) == before


def test_who_waits_until_another_removal_has_ended_removes(archived_short: dict[str, Path], tmp_path: Path) -> None:
    session = Path(shutil.copytree(archived_short["tar.bz2"], tmp_path / "001"))
    path = session / ".meso" / "locks" / "raw_tifs.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with pytest.raises(MesoError, match="Wait until it ends, then try again"):
        remove(session)
    assert len(tifs(session)) == 3
    os.close(lock)
    remove(session)
    assert tifs(session) == {}
    assert all(list(source.tifs) for source in session_sources(session)), "the archive gives the frames"


def test_a_tif_that_was_left_among_the_kept_comes_back_as_the_message_says(
    archived_short: dict[str, Path], tmp_path: Path
) -> None:
    """It has no record: as after a removal that somebody else's program disturbed."""
    session = Path(shutil.copytree(archived_short["tar.bz2"], tmp_path / "001"))
    before = tifs(session)
    first, *_ = raw_tifs(session / FIRST)
    kept = session / ".meso" / "removed" / FIRST / first.name
    kept.parent.mkdir(parents=True)
    shutil.copy2(first, kept)
    with pytest.raises(MesoError, match="was interrupted: `meso restore` puts them back"):
        remove(session)
    with pytest.warns(MesoWarning, match="Move the new one out of the bout, then run `meso restore`"):
        restore(session)
    assert tifs(session) == before
    first.rename(session.with_name("elsewhere.tif"))
    with pytest.warns(MesoWarning, match="put back: its removal or its restoring was interrupted"):
        restore(session)
    assert tifs(session) == before
    assert not kept.exists()
    remove(session)
    assert tifs(session) == {}
