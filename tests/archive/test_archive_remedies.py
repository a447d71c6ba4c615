"""Each error of the room, met as a person meets it: what its remedy says leads to a result."""

from __future__ import annotations

import fcntl
import io
import os
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from meso_core.archive import (
    ARCHIVE_NAME,
    ZARR_NAME,
    archive_bout,
    atomic,
    bout_source,
    load_report,
    restore,
    save_report,
    verify_any,
)
from meso_core.archive.codec import lbzip2
from meso_core.archive.rawtif import HashedTif
from meso_core.archive.report import record_path
from meso_core.archive.source import archive_source
from meso_core.errors import ArchiveError, MesoError
from meso_core.session import raw_tifs
from meso_core.storage.files.atomic import part_path

pytestmark = pytest.mark.filterwarnings("ignore::meso_core.errors.MesoWarning")


@dataclass(frozen=True)
class Case:
    """What is wrong with a bout, what the message says to do, and doing it."""

    spoil: Callable[[Path], Any]
    says: str
    follow: Callable[[Path], Any]
    #: What a person tries, before and after.
    attempt: Callable[[Path], Any] = lambda bout: archive_bout(bout)


def elsewhere(name: str) -> Callable[[Path], Any]:
    """Move a file or folder of the bout away."""
    return lambda bout: shutil.move(bout / name, bout.parent.parent / name)


def from_copy(name: str) -> Callable[[Path], Any]:
    """Restore something of the bout from a copy."""

    def follow(bout: Path) -> None:
        there, copy = bout / name, copy_of(bout) / name
        shutil.rmtree(there) if there.is_dir() else there.unlink(missing_ok=True)
        shutil.copytree(copy, there) if copy.is_dir() else shutil.copy2(copy, there)

    return follow


def copy_of(bout: Path) -> Path:
    return bout.parent.parent / "copy" / bout.name


def archived(bout: Path, archive_format: Any = "tar.bz2", *, recorded: bool = True) -> Path:
    report = archive_bout(bout, archive_format=archive_format)
    if recorded:
        save_report(bout.parent, report)
    shutil.copytree(bout, copy_of(bout), dirs_exist_ok=True)
    return bout / report.name


def gone(bout: Path) -> None:
    for tif in raw_tifs(bout):
        tif.unlink()


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def change(tif: Path) -> None:
    content = bytearray(tif.read_bytes())
    content[-1] ^= 1
    tif.write_bytes(content)


def damaged_beside_tifs(bout: Path) -> None:
    cut(archived(bout, recorded=False))


def damaged_alone(bout: Path) -> None:
    cut(archived(bout))
    gone(bout)


def shard_damaged_beside_tifs(bout: Path) -> None:
    folder = archived(bout, "zarr", recorded=False)
    cut(max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size))


def other_tifs(bout: Path) -> None:
    archived(bout, recorded=False)
    change(raw_tifs(bout)[0])


def with_a_folder_in_it(bout: Path) -> None:
    with tarfile.open(bout / ARCHIVE_NAME, "w:bz2") as tar:
        for tif in raw_tifs(bout):
            tar.add(tif, f"{bout.name}/{tif.name}")


def with_notes_in_it(bout: Path) -> None:
    with tarfile.open(bout / ARCHIVE_NAME, "w:bz2") as tar:
        tar.addfile(tarfile.TarInfo("notes.txt"), io.BytesIO())


def with_a_way_out(bout: Path) -> None:
    with tarfile.open(bout / ARCHIVE_NAME, "w:bz2") as tar:
        tar.addfile(tarfile.TarInfo("../x.tif"), io.BytesIO())


def with_a_link(bout: Path) -> None:
    file = archived(bout, "zarr", recorded=False) / "zarr.json"
    file.rename(bout.parent / "zarr.json")
    file.symlink_to(bout.parent / "zarr.json")


def the_file_itself(bout: Path) -> None:
    file = bout / ZARR_NAME / "zarr.json"
    file.unlink()
    (bout.parent / "zarr.json").rename(file)


def damaged_record(bout: Path) -> None:
    archived(bout)
    gone(bout)
    record_path(bout.parent, bout.name).write_text("{")


def damaged_record_beside_tifs(bout: Path) -> None:
    archived(bout)
    record_path(bout.parent, bout.name).write_text("{")


def two_archives(bout: Path) -> None:
    archived(bout, recorded=False)
    shutil.move(bout / ARCHIVE_NAME, bout.parent / ARCHIVE_NAME)
    archived(bout, "zarr", recorded=False)
    shutil.move(bout.parent / ARCHIVE_NAME, bout / ARCHIVE_NAME)
    gone(bout)


def strange_tif(bout: Path) -> None:
    archived(bout)
    first, *_ = raw_tifs(bout)
    first.rename(first.with_name("strange.tif"))


def changed_tif_while_others_are_gone(bout: Path, *, as_old: bool = False) -> None:
    archived(bout)
    first, *others = raw_tifs(bout)
    for other in others:
        other.unlink()
    status = first.stat()
    change(first)
    if as_old:
        os.utime(first, ns=(status.st_atime_ns, status.st_mtime_ns))


def pages(bout: Path) -> int:
    return sum(len(block.heads) for tif in bout_source(bout).tifs for block in tif.blocks(1 << 20))


def again(bout: Path) -> None:
    restore(bout.parent)


def nothing_to_read(bout: Path) -> None:
    shutil.copytree(bout, copy_of(bout))
    gone(bout)


def back_from_the_rig(bout: Path) -> None:
    for tif in raw_tifs(copy_of(bout)):
        shutil.copy2(tif, bout / tif.name)


CASES = {
    "a damaged archive beside its tifs": Case(damaged_beside_tifs, "move it away instead", elsewhere(ARCHIVE_NAME)),
    "a damaged zarr beside its tifs": Case(
        shard_damaged_beside_tifs,
        "move it away instead",
        elsewhere(ZARR_NAME),
        lambda bout: archive_bout(bout, archive_format="zarr"),
    ),
    "a damaged archive alone": Case(damaged_alone, "from a copy", from_copy(ARCHIVE_NAME), again),
    "a damaged archive that is read": Case(damaged_alone, "from a copy", from_copy(ARCHIVE_NAME), pages),
    "an archive of other content": Case(other_tifs, "Move this archive away", elsewhere(ARCHIVE_NAME)),
    "a tar with folders": Case(with_a_folder_in_it, "Move this archive away", elsewhere(ARCHIVE_NAME)),
    "a tar of other files": Case(with_notes_in_it, "Move this archive away", elsewhere(ARCHIVE_NAME)),
    "a tar that writes elsewhere": Case(with_a_way_out, "move it away", elsewhere(ARCHIVE_NAME)),
    "a zarr with a link in it": Case(
        with_a_link,
        "Replace it by the file itself",
        the_file_itself,
        lambda bout: archive_bout(bout, archive_format="zarr"),
    ),
    "a damaged record": Case(
        damaged_record, "move this file away", lambda bout: record_path(bout.parent, bout.name).unlink(), again
    ),
    "a damaged record beside tifs": Case(
        damaged_record_beside_tifs,
        "Archive the bout again",
        lambda bout: save_report(bout.parent, archive_bout(bout)),
        lambda bout: load_report(bout.parent, bout.name),
    ),
    "two archives and no record": Case(two_archives, "move the other one away", elsewhere(ZARR_NAME), again),
    "a tif that is not on record": Case(strange_tif, "strange.tif away", elsewhere("strange.tif"), pages),
    "a tif of other content": Case(
        changed_tif_while_others_are_gone,
        "`meso restore` brings the others back",
        lambda bout: elsewhere(raw_tifs(bout)[0].name)(bout),
    ),
    "a tif of other content, as old": Case(
        lambda bout: changed_tif_while_others_are_gone(bout, as_old=True),
        "Move these tifs away",
        lambda bout: elsewhere(raw_tifs(bout)[0].name)(bout),
    ),
    "neither tifs nor an archive": Case(nothing_to_read, "Copy the bout from the rig", back_from_the_rig, pages),
    "no tifs to archive": Case(nothing_to_read, "Copy the bout from the rig", back_from_the_rig),
    "no archive yet": Case(
        lambda bout: None,
        "Archive the session first",
        archive_bout,
        lambda bout: [tif.name for tif in archive_source(bout / ARCHIVE_NAME).tifs],
    ),
    "an unknown format": Case(
        lambda bout: (bout / "format").write_text("rar"),
        "tar.bz2 or zarr",
        lambda bout: (bout / "format").write_text("zarr"),
        lambda bout: archive_bout(bout, archive_format=(bout / "format").read_text()),
    ),
    "another tif of the name": Case(
        lambda bout: (archived(bout), cut(raw_tifs(bout)[0])),
        "Move it out of the folder",
        lambda bout: elsewhere(raw_tifs(bout)[0].name)(bout),
        again,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_following_the_remedy_leads_to_a_result(bout: Path, name: str) -> None:
    case = CASES[name]
    shutil.rmtree(bout.parent / "raw_imaging_data_01")
    case.spoil(bout)
    with pytest.raises(MesoError) as caught:
        case.attempt(bout)
    assert case.says in str(caught.value)
    case.follow(bout)
    assert case.attempt(bout) != []


def changing(bout: Path, patch: pytest.MonkeyPatch) -> None:
    """A tif is written while it is read."""
    read, tif = HashedTif.read_into, raw_tifs(bout)[0]

    def late(reading: HashedTif, into: memoryview) -> None:
        read(reading, into)
        os.utime(tif, (1, 1))

    patch.setattr(HashedTif, "read_into", late)


def full(bout: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr("shutil.disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 0))  # type: ignore[attr-defined]


def full_for_tifs(bout: Path, patch: pytest.MonkeyPatch) -> None:
    archived(bout)
    gone(bout)
    full(bout, patch)


def held(file: Callable[[Path], Path]) -> Callable[[Path, pytest.MonkeyPatch], Any]:
    """Another run holds the lock; it ends when its file is closed."""

    def hold(bout: Path, patch: pytest.MonkeyPatch) -> Any:
        path = file(bout)
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.open("wb")
        fcntl.flock(lock, fcntl.LOCK_EX)
        return lock

    return hold


def appears(bout: Path, patch: pytest.MonkeyPatch) -> None:
    """At the last moment before the archive gets its name."""
    give_name = atomic.link_or_rename

    def late(part: Path, out: Path) -> None:
        shutil.copy(part, out)
        give_name(part, out)

    patch.setattr(atomic, "link_or_rename", late)


def something_appears(bout: Path, patch: pytest.MonkeyPatch) -> None:
    give_name = atomic.link_or_rename

    def late(part: Path, out: Path) -> None:
        out.write_bytes(b"something else")
        give_name(part, out)

    patch.setattr(atomic, "link_or_rename", late)


def failing_lbzip2(bout: Path, patch: pytest.MonkeyPatch) -> None:
    """It ends for want of memory; following the remedy, it is not there any more."""
    archived(bout, recorded=False)
    program = bout.parent / "lbzip2"
    program.write_text("#!/bin/sh\necho 'out of memory' >&2\nexit 1\n")
    program.chmod(0o755)
    patch.setattr(lbzip2, "PROGRAM", str(program))


def of_another_version(bout: Path, patch: pytest.MonkeyPatch) -> None:
    archived(bout)
    gone(bout)
    file = record_path(bout.parent, bout.name)
    file.write_text(file.read_text().replace('"record_version": 1', '"record_version": 99'))


@dataclass(frozen=True)
class Moment:
    """What is wrong for a time, what the message says, and what a person does besides waiting."""

    spoil: Callable[[Path, pytest.MonkeyPatch], Any]
    says: str
    follow: Callable[[Path], Any] = lambda bout: None
    attempt: Callable[[Path], Any] = archive_bout
    #: Words of another cause that is met first.
    then: str = ""


MOMENTS = {
    "a full disk": Moment(full, "Make room"),
    "a full disk for tifs": Moment(full_for_tifs, "Make room", attempt=again),
    "another run archives": Moment(held(lambda b: part_path(b / ARCHIVE_NAME, shared=True)), "Wait until it ends"),
    "another run restores": Moment(
        held(lambda b: b.parent / ".meso" / "locks" / "raw_tifs.lock"), "Wait until it ends", attempt=again
    ),
    "the archive appears meanwhile": Moment(appears, "then try again: it is compared with the tifs"),
    "a strange file appears meanwhile": Moment(
        something_appears, "try again", elsewhere(ARCHIVE_NAME), then="move it away instead"
    ),
    "lbzip2 fails": Moment(
        failing_lbzip2,
        "without lbzip2, meso decompresses by itself",
        lambda bout: (bout.parent / "lbzip2").unlink(),
        lambda bout: verify_any(bout / ARCHIVE_NAME),
    ),
    "a record of another version": Moment(
        of_another_version,
        "move this file away",
        lambda bout: record_path(bout.parent, bout.name).unlink(),
        again,
    ),
    "a tif that changes while it is read": Moment(changing, "Wait until the copy from the rig has finished"),
}


@pytest.mark.parametrize("name", MOMENTS)
def test_when_the_moment_is_over_the_remedy_leads_to_a_result(bout: Path, name: str) -> None:
    moment = MOMENTS[name]
    shutil.rmtree(bout.parent / "raw_imaging_data_01")
    with pytest.MonkeyPatch.context() as patch:
        lock = moment.spoil(bout, patch)
        with pytest.raises(MesoError) as caught:
            moment.attempt(bout)
        assert moment.says in str(caught.value)
    if hasattr(lock, "close"):
        lock.close()
    if moment.then:
        with pytest.raises(MesoError, match=moment.then):
            moment.attempt(bout)
    moment.follow(bout)
    assert moment.attempt(bout) != []
    assert raw_tifs(bout)


def test_a_link_to_an_equal_tif_counts_as_the_tif_and_another_is_named(bout: Path, tmp_path: Path) -> None:
    archived(bout)
    first, *_ = raw_tifs(bout)
    shutil.move(first, tmp_path / "elsewhere.tif")
    first.symlink_to(tmp_path / "elsewhere.tif")
    restored = {tif.path: tif for tif in restore(bout.parent, bouts=[bout.name])}[f"{bout.name}/{first.name}"]
    assert (restored.written, restored.compared) == (False, True)
    assert first.is_symlink(), "what is there is not changed"
    change(tmp_path / "elsewhere.tif")
    words = rf"a link to {tmp_path}/elsewhere\.tif, which differs from the archive's\. Move it out of the folder first"
    with pytest.raises(ArchiveError, match=words):
        restore(bout.parent, bouts=[bout.name])
    first.unlink()
    assert any(tif.written for tif in restore(bout.parent, bouts=[bout.name]))
