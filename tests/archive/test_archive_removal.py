"""The gate: raw tifs go only when nothing can be lost."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from archive_disk import snapshot
from archive_processed import ARCHIVE_ASSET, ASSET, PASS, plan_of, publish_archives, register

from meso_core.archive import (
    ARCHIVE_NAME,
    Override,
    PlannedRemoval,
    RemovalEvent,
    RemovalPlan,
    archive_bout,
    bout_source,
    compress_tifs,
    free_removed,
    kept_tifs,
    load_removals,
    load_report,
    remove_raw_tifs,
    restore,
    save_report,
)
from meso_core.archive.gate.log import record
from meso_core.archive.report import record_path
from meso_core.errors import (
    ArchiveError,
    GateError,
    InputFileError,
    MesoError,
    MesoWarning,
    SettingsError,
    StorageError,
)
from meso_core.qc import QCResult, Verdict, qc_path, results_to_json
from meso_core.session import imaging_bouts, raw_tifs
from meso_core.storage import Basis, MadeBy, Staging, publish

ODD_PATH = json.dumps({**asdict(RemovalEvent("x", 1, 1, "x", "x", "x", "x", "x")), "path": ["x"]}).encode()
FAIL = replace(PASS, verdict=Verdict.FAIL, value=0.4, message="registration blurred the mean image")


@pytest.fixture(scope="module")
def archived(tiny_session: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Session with verified archives of both bouts and motion-registered frames; tests copy it."""
    session = tmp_path_factory.mktemp("archived") / "001"
    for bout in imaging_bouts(tiny_session.session_path):
        shutil.copytree(bout, session / bout.name)
        save_report(session, archive_bout(session / bout.name))
    register(session)
    return session


@pytest.fixture
def done(archived: Path, tmp_path: Path) -> Path:
    """Copy of that session, times included."""
    return Path(shutil.copytree(archived, tmp_path / "001"))


def _tifs(session: Path) -> dict[str, bytes]:
    return {f"{b.name}/{t.name}": t.read_bytes() for b in imaging_bouts(session) for t in raw_tifs(b)}


def test_removed_and_restored_tifs_are_the_same(done: Path) -> None:
    tifs, before = _tifs(done), snapshot(done)
    plan = plan_of(done, [PASS])
    assert plan.allowed
    assert snapshot(done) == before, "the dry run changed something"
    assert {r.path for r in plan.removals} == set(tifs)
    assert plan.freed_bytes == sum(map(len, tifs.values()))
    events = remove_raw_tifs(plan)
    assert _tifs(done) == {}
    assert load_removals(done) == events
    assert [(e.path, e.sha256, e.md5) for e in events] == [(r.path, r.sha256, r.md5) for r in plan.removals]
    assert all(e.override is None and e.at.endswith("+00:00") for e in events)
    assert not plan_of(done, [PASS]).allowed  # nothing left
    restore(done)
    assert _tifs(done) == tifs
    assert {k: v for k, v in snapshot(done).items() if k in before} == before


def test_second_bout_without_an_archive_keeps_the_tifs_of_both(session: Path) -> None:
    """The first bout's archive exists, the second's does not: the tool that this replaces deletes the second's tifs."""
    first, second = imaging_bouts(session)
    save_report(session, archive_bout(first))
    register(session)
    before = snapshot(session)
    everything = Override("a person", "needs the room")
    for override in (None, everything):
        plan = plan_of(session, [PASS], override=override)
        assert [o.where for o in plan.obstacles] == [second.name]
        with pytest.raises(GateError, match=second.name):
            remove_raw_tifs(plan)
    # nor with a plan that somebody made up
    archive = f"{first.name}/{ARCHIVE_NAME}"
    facts = [(f"{second.name}/{t.name}", t.stat()) for t in raw_tifs(second)]
    forged = tuple(PlannedRemoval(path, s.st_size, s.st_mtime_ns, "0", "0", archive, "0") for path, s in facts)
    with pytest.raises(GateError, match="no verification"):
        remove_raw_tifs(RemovalPlan(session, ASSET, ARCHIVE_ASSET, forged, (), everything))
    # nor when the first bout's tifs are gone already
    for tif in raw_tifs(first):
        tif.unlink()
    with pytest.raises(GateError, match=second.name):
        remove_raw_tifs(plan_of(session, [PASS], override=everything))
    assert {k: v for k, v in before.items() if second.name in k} == {
        k: v for k, v in snapshot(session).items() if second.name in k
    }


def _append(tif: Path) -> None:
    with tif.open("ab") as file:
        file.write(b"x")


def _touch(tif: Path) -> None:
    os.utime(tif, ns=(1, 1))


def _same_size_and_time(tif: Path) -> None:
    status = tif.stat()
    data = bytearray(tif.read_bytes())
    data[-1] ^= 1
    tif.write_bytes(data)
    os.utime(tif, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("change", [_append, _touch, _same_size_and_time])
@pytest.mark.parametrize("override", [None, Override("a person", "a reason")])
def test_tif_that_changed_after_archiving_is_never_removed(
    done: Path, change: Callable[[Path], None], override: Override | None
) -> None:
    change(raw_tifs(imaging_bouts(done)[1])[0])
    tifs = _tifs(done)
    with pytest.raises(GateError):
        remove_raw_tifs(plan_of(done, [PASS], override=override))
    assert _tifs(done) == tifs
    assert load_removals(done) == ()


def test_new_tif_beside_archived_ones_closes_the_gate(done: Path) -> None:
    bout = imaging_bouts(done)[0]
    shutil.copy(raw_tifs(bout)[0], bout / "later_00009.tif")
    plan = plan_of(done, [PASS])
    assert not plan.allowed
    words = "later_00009.tif is not in the archive: archive the bout again, or move it out of the bout"
    assert [o.message for o in plan.obstacles if o.where == bout.name and not o.can_be_overridden] == [words]
    (bout / "later_00009.tif").unlink()
    assert plan_of(done, [PASS]).allowed


@pytest.mark.parametrize("remedy", ["the tif in place of the link", "the link out of the bout"])
def test_linked_tif_is_never_removed_and_the_gate_says_so(done: Path, tmp_path: Path, remedy: str) -> None:
    """Not even with an override: the link would go, what it leads to would stay, and no room be free."""
    tif, *_ = raw_tifs(imaging_bouts(done)[0])
    elsewhere = tmp_path / "elsewhere.tif"
    shutil.move(tif, elsewhere)
    tif.symlink_to(elsewhere)
    tifs = _tifs(done)
    for override in (None, Override("a person", "needs the room")):
        plan = plan_of(done, [PASS], override=override)
        assert [o.message for o in plan.obstacles] == [
            f"{tif.name} is a link to {elsewhere}: what lies elsewhere is not removed. Put the tif itself in place of "
            "the link, or move the link out of the bout"
        ]
        with pytest.raises(GateError, match="is a link to"):
            remove_raw_tifs(plan)
        assert _tifs(done) == tifs
    tif.unlink()
    if remedy.startswith("the tif"):
        shutil.move(elsewhere, tif)
    events = remove_raw_tifs(plan_of(done, [PASS]))
    assert len(events) == len(tifs) - remedy.startswith("the link")
    assert elsewhere.exists() == remedy.startswith("the link")


def test_nothing_is_removed_from_a_bout_that_is_a_link_until_it_is_the_folder(done: Path, tmp_path: Path) -> None:
    bout = imaging_bouts(done)[0]
    bout.rename(tmp_path / "elsewhere")
    bout.symlink_to(tmp_path / "elsewhere")
    plan = plan_of(done, [PASS])
    assert any(o.where == bout.name and "Put the folder in place of the link" in o.message for o in plan.obstacles)
    with pytest.raises(GateError, match="is a link to"):
        remove_raw_tifs(plan_of(done, [PASS], override=Override("Ada", "room")))
    assert len(_tifs(done)) == 3
    bout.unlink()
    (tmp_path / "elsewhere").rename(bout)
    assert plan_of(done, [PASS]).allowed


def test_archive_that_rotted_closes_the_gate(done: Path) -> None:
    archive = imaging_bouts(done)[0] / ARCHIVE_NAME
    plan = plan_of(done, [PASS])
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 4
    archive.write_bytes(data)
    with pytest.raises(GateError, match="expected whole and valid bzip2 data"):
        remove_raw_tifs(plan)
    archive.unlink()
    with pytest.raises(GateError, match="not there"):
        remove_raw_tifs(plan)
    assert len(_tifs(done)) == 3


def test_archive_never_compared_with_the_tifs_closes_the_gate(done: Path) -> None:
    bout = imaging_bouts(done)[0]
    report = load_report(done, bout.name)
    assert report is not None
    record_path(done, bout.name).write_text(replace(report, compared_with_tifs=False).to_json())
    plan = plan_of(done, [PASS], override=Override("a person", "a reason"))
    assert not plan.allowed
    record_path(done, bout.name).write_text("{}")
    with pytest.raises(ArchiveError):
        plan_of(done, [PASS])


@pytest.mark.parametrize("obstacle", ["failed check", "no quality control", "empty movie", "one FOV short"])
def test_processing_and_quality_close_the_gate_and_a_person_may_open_it(done: Path, obstacle: str) -> None:
    qc = [PASS, FAIL] if obstacle == "failed check" else [PASS]
    if obstacle == "no quality control":
        (done / qc_path(ASSET)).unlink()
    movie = done / "suite2p" / "plane1" / "imaging.frames_motionRegistered.bin"
    if obstacle == "empty movie":
        movie.write_bytes(b"")
    elif obstacle == "one FOV short":
        movie.unlink()
    plan = plan_of(done, qc)
    assert not plan.allowed
    with pytest.raises(GateError):
        remove_raw_tifs(plan)
    who = Override("J. Doe", "the disk is full, registration is known to be poor")
    events = remove_raw_tifs(plan_of(done, qc, override=who))
    assert len(events) == 3
    assert {e.override for e in load_removals(done)} == {who}
    for line in (done / ".meso" / "removals.jsonl").read_text().splitlines():
        assert json.loads(line)["override"]["who"] == "J. Doe"


def test_verdicts_of_another_size_than_published_are_not_read_whole(
    done: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.truncate(done / qc_path(ASSET), 60 << 30)
    monkeypatch.setattr("meso_core.archive.gate.processed.hash_file", lambda path: pytest.fail(f"{path} was read"))
    plan = plan_of(done, override=Override("a person", "a reason"))
    assert any("was changed" in obstacle.message for obstacle in plan.obstacles)


def test_override_names_who_and_why() -> None:
    for who, why in (("", "why"), ("who", " ")):
        with pytest.raises(SettingsError, match="name and the reason"):
            Override(who, why)


def test_removal_that_cannot_be_recorded_does_not_happen(done: Path) -> None:
    (done / ".meso" / "removals.jsonl").mkdir()
    tifs = _tifs(done)
    with pytest.raises(StorageError, match=r"removals\.jsonl.*directory"):
        remove_raw_tifs(plan_of(done, [PASS]))
    assert _tifs(done) == tifs


def test_a_removal_that_is_broken_off_leaves_all_tifs_at_their_places(done: Path) -> None:
    before = snapshot(done)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        remove_raw_tifs(plan_of(done, [PASS]), progress=stop)
    assert {name: found for name, found in snapshot(done).items() if name in before} == before
    assert load_removals(done) == ()
    assert not (done / ".meso" / "removed").exists()
    remove_raw_tifs(plan_of(done, [PASS]))
    assert len(load_removals(done)) == 3


def test_room_is_free_only_after_the_grace_time(done: Path) -> None:
    tifs = _tifs(done)
    remove_raw_tifs(plan_of(done))
    assert {kept.path: kept.file.read_bytes() for kept in kept_tifs(done)} == tifs
    assert free_removed(done, ARCHIVE_ASSET, 7) == ()
    assert len(kept_tifs(done)) == len(tifs)
    freed = free_removed(done, ARCHIVE_ASSET, 0)
    assert {kept.path for kept in freed} == set(tifs)
    assert kept_tifs(done) == ()
    assert not (done / ".meso" / "removed").exists()
    restore(done)
    assert _tifs(done) == tifs


def test_the_grace_time_starts_when_the_tifs_were_moved_whatever_a_record_says(done: Path) -> None:
    remove_raw_tifs(plan_of(done))
    log = done / ".meso" / "removals.jsonl"
    log.write_text(log.read_text().replace('"at": "20', '"at": "10'))
    assert all(kept.event for kept in kept_tifs(done))
    assert free_removed(done, ARCHIVE_ASSET, 1) == ()


@pytest.mark.parametrize("at", ["9999-12-31T23:59:59+00:00", "never", ""])
def test_room_can_be_freed_at_once_whatever_date_a_record_has(done: Path, at: str) -> None:
    remove_raw_tifs(plan_of(done))
    log = done / ".meso" / "removals.jsonl"
    log.write_text("".join(json.dumps({**json.loads(line), "at": at}) + "\n" for line in log.read_text().splitlines()))
    assert free_removed(done, ARCHIVE_ASSET, 7) == ()
    assert len(free_removed(done, ARCHIVE_ASSET, 0)) == 3


def test_restoring_within_the_grace_time_is_a_rename(done: Path) -> None:
    inodes = {tif.name: tif.stat().st_ino for bout in imaging_bouts(done) for tif in raw_tifs(bout)}
    before = snapshot(done)
    remove_raw_tifs(plan_of(done))
    for bout in imaging_bouts(done):
        (bout / ARCHIVE_NAME).unlink()  # not needed
        before.pop(f"{bout.name}/{ARCHIVE_NAME}")
    restored = restore(done)
    assert all(tif.put_back for tif in restored)
    assert {tif.name: tif.stat().st_ino for bout in imaging_bouts(done) for tif in raw_tifs(bout)} == inodes
    assert {name: found for name, found in snapshot(done).items() if name in before} == before


def test_archiving_again_after_removal_keeps_the_record(done: Path) -> None:
    remove_raw_tifs(plan_of(done, [PASS]))
    for bout in imaging_bouts(done):
        old = load_report(done, bout.name)
        report = archive_bout(bout)
        assert old is not None
        assert (report.members, report.compared_with_tifs, report.adopted) == (old.members, True, True)


def test_compression_alone_removes_nothing(session: Path) -> None:
    tifs = _tifs(session)
    for bout in imaging_bouts(session):
        compress_tifs(bout)
        compress_tifs(bout)
    assert _tifs(session) == tifs


def _movie(session: Path, plane: int = 1) -> Path:
    return session / "suite2p" / f"plane{plane}" / "imaging.frames_motionRegistered.bin"


@pytest.mark.parametrize("override", [None, Override("a person", "a reason")])
def test_few_bytes_and_a_stray_verdict_do_not_pass_for_processing(session: Path, override: Override | None) -> None:
    for bout in imaging_bouts(session):
        save_report(session, archive_bout(bout))
    publish_archives(session)
    for plane in range(3):
        _movie(session, plane).parent.mkdir(parents=True)
        _movie(session, plane).write_bytes(b"f")
    plan = plan_of(session, [QCResult("anything", Verdict.PASS, 1, 1, "", "test")], override=override)
    assert {o.where for o in plan.obstacles} == {f"asset {ASSET}", "quality control"}
    assert plan.allowed == (override is not None)


@pytest.mark.parametrize("n_bytes", [-1, 1, -(1 << 14)])
def test_movie_of_another_size_than_all_frames_make_closes_the_gate(done: Path, n_bytes: int) -> None:
    """Also where it was published so: fewer frames than the metadata and the archive count."""
    size = _movie(done).stat().st_size
    os.truncate(_movie(done), size + n_bytes)
    assert not plan_of(done).allowed
    staging = Staging(done, ASSET)
    for name in ("suite2p", "reports"):
        shutil.copytree(done / name, staging.folder / name, dirs_exist_ok=True)
    publish(done, staging.seal(), Basis("1"), MadeBy("run"))
    plan = plan_of(done)
    assert [o.where for o in plan.obstacles] == [f"asset {ASSET}"]
    assert str(size) in plan.obstacles[0].message


def test_movies_that_the_rig_s_metadata_do_not_list_are_looked_at_too(done: Path) -> None:
    """Where channels are depths, each has movies of its own."""
    staging = Staging(done, ASSET)
    for name in ("suite2p", "reports"):
        shutil.copytree(done / name, staging.folder / name, dirs_exist_ok=True)
    further = f"suite2p/plane9/{_movie(done).name}"
    staging.write(further, b"1234")
    publish(done, staging.seal(), Basis("1"), MadeBy("run"))
    assert plan_of(done).allowed
    (done / further).unlink()
    assert [o.message for o in plan_of(done).obstacles if further in o.message] != []


@pytest.mark.parametrize("spoil", ["movie gone", "verdict fails", "verdicts gone", "verdicts damaged", "manifest gone"])
@pytest.mark.parametrize("moment", ["before", "while hashing"])
def test_what_goes_wrong_after_the_plan_keeps_the_tifs(done: Path, spoil: str, moment: str) -> None:
    plan, tifs = plan_of(done), _tifs(done)
    assert plan.allowed

    def meddle(*_: object) -> None:
        if spoil == "movie gone":
            _movie(done).unlink(missing_ok=True)
        elif spoil == "verdict fails":
            (done / qc_path("rois")).write_text(results_to_json((FAIL,)))
        elif spoil == "verdicts gone":
            (done / qc_path(ASSET)).unlink(missing_ok=True)
        elif spoil == "verdicts damaged":
            (done / qc_path(ASSET)).write_text("[{")
        else:
            (done / ".meso" / "manifests" / f"{ASSET}.json").unlink(missing_ok=True)

    if moment == "before":
        meddle()
    with pytest.raises(GateError):
        remove_raw_tifs(plan, progress=lambda *_: meddle())
    assert _tifs(done) == tifs
    assert load_removals(done) == ()


def test_override_is_kept_with_what_it_opened_only_later(done: Path) -> None:
    who = Override("a person", "a reason")
    plan = plan_of(done, override=who)
    assert plan.obstacles == ()
    _movie(done).unlink()
    assert {e.override for e in remove_raw_tifs(plan)} == {who}


@pytest.mark.parametrize("torn", [b'{"archive": "raw_im', b"\0\0\0\0", b"\xff"])
def test_torn_line_of_the_log_counts_as_not_written_and_harms_no_other(done: Path, torn: bytes) -> None:
    log, plan = done / ".meso" / "removals.jsonl", plan_of(done)
    first = remove_raw_tifs(replace(plan, removals=plan.removals[:1]))
    with log.open("ab") as file:
        file.write(torn)
    assert load_removals(done) == first
    rest = remove_raw_tifs(plan_of(done))
    assert load_removals(done) == (*first, *rest)
    assert len(log.read_bytes().splitlines()) == 3


def test_event_whose_line_lacks_nothing_but_its_end_is_kept(done: Path) -> None:
    """Editors drop the last line break; the tif is gone all the same."""
    log, plan = done / ".meso" / "removals.jsonl", plan_of(done)
    first = remove_raw_tifs(replace(plan, removals=plan.removals[:1]))
    log.write_bytes(log.read_bytes().rstrip(b"\n"))
    assert load_removals(done) == first
    rest = remove_raw_tifs(plan_of(done))
    assert load_removals(done) == (*first, *rest)


@pytest.mark.parametrize("damage", [b"{}", b"nonsense", b"[1]", b"\xff\xfe", b"", ODD_PATH])
def test_damage_in_the_middle_of_the_log_is_an_error_that_names_the_line(done: Path, damage: bytes) -> None:
    remove_raw_tifs(plan_of(done))
    log = done / ".meso" / "removals.jsonl"
    first, _, third = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(first + damage + b"\n" + third)
    with pytest.raises(ArchiveError, match=r"removals\.jsonl, field 'line 2'"):
        load_removals(done)


def test_names_with_odd_line_breaks_are_one_line_of_the_log(done: Path) -> None:
    plan = plan_of(done)
    event = remove_raw_tifs(replace(plan, removals=plan.removals[:1]))[0]
    odd = replace(event, path="raw_imaging_data_00/a\u2028b\u0085c.tif")
    record(done, [odd])
    assert load_removals(done) == (event, odd)


def _fill(folder: Path) -> None:
    with suppress(OSError), (folder / "filler").open("wb", buffering=0) as file:
        while file.write(bytes(512)):
            pass


def test_full_disk_costs_neither_the_log_nor_a_tif(done: Path, disk: Callable[[str], Any]) -> None:
    plan, log = plan_of(done), done / ".meso" / "removals.jsonl"
    first = remove_raw_tifs(replace(plan, removals=plan.removals[:1]))
    long = replace(first[0], path="x" * 9000)  # more than is left of the log's last page
    before = log.read_bytes()
    with disk("size=64k") as folder:
        shutil.move(log, folder / log.name)
        log.symlink_to(folder / log.name)
        _fill(folder)
        with pytest.raises(StorageError, match="No space"):
            record(done, [long])
        assert log.read_bytes() == before
        assert load_removals(done) == first


def test_full_disk_keeps_the_record_that_was_there(session: Path, disk: Callable[[str], Any]) -> None:
    report = archive_bout(imaging_bouts(session)[0])
    with disk("size=64k") as folder:
        save_report(folder, report)
        _fill(folder)
        with pytest.raises(StorageError, match="No space"):
            save_report(folder, replace(report, note="more" * 4000))
        assert load_report(folder, report.bout) == report


@pytest.fixture
def shared(archived: Path, others_folder: Path) -> Path:
    """Copy of the archived session where another user may come."""
    session = Path(shutil.copytree(archived, others_folder / "001"))
    for path in (session, *session.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    return session


def test_folder_without_the_right_to_write_keeps_its_tifs_and_the_log_says_nothing(
    shared: Path, another_user: Callable[[], Any]
) -> None:
    tifs = _tifs(shared)
    imaging_bouts(shared)[1].chmod(0o555)
    with another_user(), pytest.raises(GateError, match="files may not be removed from this folder"):
        remove_raw_tifs(plan_of(shared))
    assert _tifs(shared) == tifs
    assert load_removals(shared) == ()


def test_tif_that_cannot_be_moved_is_not_recorded_as_removed(done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The right was there when it was asked for."""
    tifs, rename, moved = _tifs(done), Path.rename, []

    def refuse(path: Path, target: Path) -> Path:
        if path.suffix == ".tif" and moved:
            raise PermissionError(1, "Operation not permitted", str(path))
        moved.append(path)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(StorageError, match="not permitted"):
        remove_raw_tifs(plan_of(done))
    assert _tifs(done) == tifs
    assert load_removals(done) == ()


@pytest.mark.parametrize("what", ["tif", "archive", "record", "bout", "log"])
def test_what_cannot_be_read_is_a_named_error_of_the_gate(
    shared: Path, another_user: Callable[[], Any], what: str
) -> None:
    bout = imaging_bouts(shared)[0]
    (shared / ".meso" / "removals.jsonl").touch()
    path = {
        "tif": raw_tifs(bout)[0],
        "archive": bout / ARCHIVE_NAME,
        "record": record_path(shared, bout.name),
        "bout": bout,
        "log": shared / ".meso" / "removals.jsonl",
    }[what]
    path.chmod(0o000)
    with another_user(), pytest.raises(MesoError, match="Permission denied") as caught:
        remove_raw_tifs(plan_of(shared, override=Override("a person", "a reason")))
    assert path.name in str(caught.value)
    path.chmod(0o777)
    assert len(_tifs(shared)) == 3


@pytest.mark.parametrize("archive_format", ["tar.bz2", "zarr"])
def test_bout_with_fewer_pages_than_its_metadata_promise_is_told_and_closes_the_gate(
    session: Path, archive_format: str
) -> None:
    bout = imaging_bouts(session)[0]
    raw_tifs(bout)[-1].unlink()
    with pytest.warns(MesoWarning, match="50 pages are there"):
        report = archive_bout(bout, archive_format=archive_format)  # type: ignore[arg-type]
    assert "promises 80" in report.note
    save_report(session, report)
    publish_archives(session)
    assert load_report(session, bout.name) == report
    (obstacle,) = (o for o in plan_of(session).obstacles if o.where == bout.name)
    assert "50 pages" in obstacle.message
    assert obstacle.can_be_overridden, "what is there is safe; a person may know that there was no more"


@pytest.mark.parametrize("what", ["dangling link", "folder"])
def test_what_is_named_like_a_tif_and_is_none_is_never_left_out_in_silence(session: Path, what: str) -> None:
    bout = imaging_bouts(session)[0]
    tif = raw_tifs(bout)[-1]
    tif.unlink()
    if what == "folder":
        tif.mkdir()
    else:
        tif.symlink_to("/not/mounted/now.tif")
    for call in (archive_bout, compress_tifs, bout_source, lambda folder: plan_of(folder.parent)):
        with pytest.raises(InputFileError, match=tif.name):
            call(bout)
    assert not (bout / ARCHIVE_NAME).exists()
