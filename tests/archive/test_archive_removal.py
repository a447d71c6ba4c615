"""The gate: raw tifs go only when nothing can be lost."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from archive_disk import snapshot

from meso_core.archive import (
    ARCHIVE_NAME,
    Override,
    PlannedRemoval,
    RemovalPlan,
    archive_bout,
    compress_tifs,
    load_removals,
    load_report,
    removal_plan,
    remove_raw_tifs,
    restore,
    save_report,
)
from meso_core.archive.report import record_path
from meso_core.errors import ArchiveError, GateError, SettingsError
from meso_core.qc import QCResult, Verdict
from meso_core.session import imaging_bouts, raw_tifs

PASS = QCResult("crispness_rises", Verdict.PASS, 1.2, 1.0, "registration sharpened the mean image", "test")
FAIL = replace(PASS, verdict=Verdict.FAIL, value=0.4, message="registration blurred the mean image")


@pytest.fixture(scope="module")
def archived(tiny_session: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Session with verified archives of both bouts and motion-registered frames; tests copy it."""
    session = tmp_path_factory.mktemp("archived") / "001"
    for bout in imaging_bouts(tiny_session.session_path):
        shutil.copytree(bout, session / bout.name)
        save_report(session, archive_bout(session / bout.name))
    _register(session)
    return session


@pytest.fixture
def done(archived: Path, tmp_path: Path) -> Path:
    """Copy of that session, times included."""
    return Path(shutil.copytree(archived, tmp_path / "001"))


def _register(session: Path) -> None:
    """Leave what motion registration leaves."""
    for plane in ("plane0", "plane1", "plane2"):
        (session / "suite2p" / plane).mkdir(parents=True)
        (session / "suite2p" / plane / "imaging.frames_motionRegistered.bin").write_bytes(b"frames")


def _tifs(session: Path) -> dict[str, bytes]:
    return {f"{b.name}/{t.name}": t.read_bytes() for b in imaging_bouts(session) for t in raw_tifs(b)}


def test_removed_and_restored_tifs_are_the_same(done: Path) -> None:
    tifs, before = _tifs(done), snapshot(done)
    plan = removal_plan(done, [PASS])
    assert plan.allowed
    assert snapshot(done) == before, "the dry run changed something"
    assert {r.path for r in plan.removals} == set(tifs)
    assert plan.freed_bytes == sum(map(len, tifs.values()))
    events = remove_raw_tifs(plan)
    assert _tifs(done) == {}
    assert load_removals(done) == events
    assert [(e.path, e.sha256, e.md5) for e in events] == [(r.path, r.sha256, r.md5) for r in plan.removals]
    assert all(e.override is None and e.at.endswith("+00:00") for e in events)
    assert not removal_plan(done, [PASS]).allowed  # nothing left
    restore(done)
    assert _tifs(done) == tifs
    assert {k: v for k, v in snapshot(done).items() if k in before} == before


def test_second_bout_without_an_archive_keeps_the_tifs_of_both(session: Path) -> None:
    """The first bout's archive exists, the second's does not: the tool that this replaces deletes the second's tifs."""
    first, second = imaging_bouts(session)
    save_report(session, archive_bout(first))
    _register(session)
    before = snapshot(session)
    everything = Override("a person", "needs the room")
    for override in (None, everything):
        plan = removal_plan(session, [PASS], override=override)
        assert [o.where for o in plan.obstacles] == [second.name]
        with pytest.raises(GateError, match=second.name):
            remove_raw_tifs(plan)
    # nor with a plan that somebody made up
    archive = f"{first.name}/{ARCHIVE_NAME}"
    facts = [(f"{second.name}/{t.name}", t.stat()) for t in raw_tifs(second)]
    forged = tuple(PlannedRemoval(path, s.st_size, s.st_mtime_ns, "0", "0", archive, "0") for path, s in facts)
    with pytest.raises(GateError, match="no verification"):
        remove_raw_tifs(RemovalPlan(session, forged, (), everything))
    # nor when the first bout's tifs are gone already
    for tif in raw_tifs(first):
        tif.unlink()
    with pytest.raises(GateError, match=second.name):
        remove_raw_tifs(removal_plan(session, [PASS], override=everything))
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
        remove_raw_tifs(removal_plan(done, [PASS], override=override))
    assert _tifs(done) == tifs
    assert load_removals(done) == ()


def test_new_tif_beside_archived_ones_closes_the_gate(done: Path) -> None:
    bout = imaging_bouts(done)[0]
    shutil.copy(raw_tifs(bout)[0], bout / "later_00009.tif")
    plan = removal_plan(done, [PASS])
    assert not plan.allowed
    assert "later_00009.tif is not in the archive" in plan.obstacles[0].message


def test_archive_that_rotted_closes_the_gate(done: Path) -> None:
    archive = imaging_bouts(done)[0] / ARCHIVE_NAME
    plan = removal_plan(done, [PASS])
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 4
    archive.write_bytes(data)
    with pytest.raises(GateError, match="other content than was verified"):
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
    plan = removal_plan(done, [PASS], override=Override("a person", "a reason"))
    assert not plan.allowed
    record_path(done, bout.name).write_text("{}")
    with pytest.raises(ArchiveError):
        removal_plan(done, [PASS])


@pytest.mark.parametrize("obstacle", ["failed check", "no quality control", "empty movie", "one FOV short"])
def test_processing_and_quality_close_the_gate_and_a_person_may_open_it(done: Path, obstacle: str) -> None:
    qc = {"failed check": [PASS, FAIL], "no quality control": []}.get(obstacle, [PASS])
    movie = done / "suite2p" / "plane1" / "imaging.frames_motionRegistered.bin"
    if obstacle == "empty movie":
        movie.write_bytes(b"")
    elif obstacle == "one FOV short":
        movie.unlink()
    plan = removal_plan(done, qc)
    assert not plan.allowed
    with pytest.raises(GateError):
        remove_raw_tifs(plan)
    who = Override("J. Doe", "the disk is full, registration is known to be poor")
    events = remove_raw_tifs(removal_plan(done, qc, override=who))
    assert len(events) == 3
    assert {e.override for e in load_removals(done)} == {who}
    for line in (done / ".meso" / "removals.jsonl").read_text().splitlines():
        assert json.loads(line)["override"]["who"] == "J. Doe"


def test_override_names_who_and_why() -> None:
    for who, why in (("", "why"), ("who", " ")):
        with pytest.raises(SettingsError, match="name and the reason"):
            Override(who, why)


def test_removal_that_cannot_be_recorded_does_not_happen(done: Path) -> None:
    (done / ".meso" / "removals.jsonl").mkdir()
    tifs = _tifs(done)
    with pytest.raises(OSError, match="directory"):
        remove_raw_tifs(removal_plan(done, [PASS]))
    assert _tifs(done) == tifs


def test_tifs_gone_after_a_kill_are_on_record_and_the_rest_can_follow(done: Path) -> None:
    plan = removal_plan(done, [PASS])

    def stop(count: int, total: int, what: str) -> None:
        if what == "tifs removed":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        remove_raw_tifs(plan, progress=stop)
    assert len(load_removals(done)) == 1
    assert len(_tifs(done)) == 2
    remove_raw_tifs(removal_plan(done, [PASS]))
    assert len(load_removals(done)) == 3
    assert _tifs(done) == {}


def test_archiving_again_after_removal_keeps_the_record(done: Path) -> None:
    remove_raw_tifs(removal_plan(done, [PASS]))
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
