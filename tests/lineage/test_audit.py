"""The audit names everything that is not as it was recorded, and nothing else."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from meso_core.errors import SettingsError, StorageError
from meso_core.lineage import (
    Kind,
    Materialization,
    accept_findings,
    earlier_verdicts,
    keep_verdict,
    last_verdict,
    with_accepted,
)
from meso_core.session import SessionKey
from meso_core.storage import LocalStore, Manifest
from tests.lineage.recorded import KEY, Recorded, overwrite

MOVIE, OTHER_MOVIE, CELLS = "suite2p/plane0/movie.bin", "suite2p/plane1/movie.bin", "alf/FOV_00/cells.npy"


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def recorded(tmp_path) -> Recorded:
    """Made twice, so that there is a history."""
    return Recorded(tmp_path / "root").make_all("first").make_all("second")


def found(verdict):
    return {(finding.kind, finding.asset, finding.path) for finding in verdict.findings}


def kinds(verdict):
    return {(finding.kind, finding.asset) for finding in verdict.findings}


def flip_a_byte(recorded):
    file = recorded.path / MOVIE
    content = bytearray(file.read_bytes())
    content[3] ^= 1
    overwrite(file, bytes(content))


def swap_neighbours(recorded):
    one, other = recorded.path / MOVIE, recorded.path / OTHER_MOVIE
    mine, its = one.read_bytes(), other.read_bytes()
    overwrite(one, its)
    overwrite(other, mine)


def take_a_file_of_another_run(recorded):
    overwrite(recorded.path / MOVIE, b"movies 0 first".ljust(64))


def edit_a_manifest(recorded):
    record = recorded.record("movies")
    sha256 = Manifest.from_json(record.read_text(), "").files[0].sha256
    record.write_text(record.read_text().replace(sha256, "0" * 64))


def forge(recorded, asset="movies", path=MOVIE):
    """Change a file, and the record with all hashes in it."""
    content = b"forged".ljust(64)
    overwrite(recorded.path / path, content)
    sha256, md5 = hashlib.sha256(content).hexdigest(), hashlib.md5(content).hexdigest()

    def change(manifest):
        files = [replace(f, sha256=sha256, md5=md5) if f.path == path else f for f in manifest.files]
        return replace(manifest, files=tuple(files))

    recorded.edit(asset, change)


def edit_what_no_hash_in_the_record_covers(recorded):
    recorded.edit("cells", lambda manifest: replace(manifest, made_by=replace(manifest.made_by, host="elsewhere")))


def claim_another_run(recorded):
    recorded.edit("cells", lambda manifest: replace(manifest, made_by=replace(manifest.made_by, run_id="run-x")))


def lose_events(recorded):
    recorded.events["movies"].clear()


def lose_the_last_event(recorded):
    del recorded.events["cells"][0]


def set_the_clock_back(recorded):
    """A run on a machine whose clock is a day late; Dagster, there too, has the same time."""
    late = (datetime.now(UTC) - timedelta(days=1)).isoformat(timespec="seconds")
    recorded.make("cells", "third")
    recorded.edit("cells", lambda manifest: replace(manifest, published_at=late))
    manifest = recorded.manifests()["cells"]
    at = datetime.fromisoformat(late).timestamp()
    recorded.events["cells"][0] = replace(recorded.events["cells"][0], at=at, manifest=manifest.digest)


def restore_a_backup(recorded):
    backup = recorded.root.parent / "backup"
    shutil.copytree(recorded.path, backup)
    recorded.make("cells", "third")
    shutil.rmtree(recorded.path)
    shutil.copytree(backup, recorded.path)


def restore_a_backup_and_register_it(recorded):
    restore_a_backup(recorded)
    recorded.tell(recorded.manifests()["cells"], "run-later")


def restore_files_only(recorded):
    backup = recorded.root.parent / "backup"
    shutil.copytree(recorded.path / "alf", backup)
    recorded.make("cells", "third")
    shutil.copytree(backup, recorded.path / "alf", dirs_exist_ok=True)


def history(recorded, asset="movies"):
    (file,) = (recorded.path / ".meso/manifests/history" / asset).glob("*.json")
    return file


def edit_the_history(recorded):
    file = history(recorded)
    file.write_text(file.read_text().replace('"host": "rig"', '"host": "rog"'))


def remove_the_history(recorded):
    history(recorded).unlink()


def cut_the_history_off(recorded):
    recorded.edit("movies", lambda manifest: replace(manifest, chain=replace(manifest.chain, previous="")))


def lose_a_file(recorded):
    (recorded.path / CELLS).unlink()


def lose_a_record(recorded):
    recorded.record("cells").unlink()


def leave_a_file(recorded):
    (recorded.path / "alf/FOV_00/.cells.npy.123.part").write_bytes(b"half")


def cut_a_file(recorded):
    (recorded.path / CELLS).write_bytes(b"short")


_OF_THE_FORGED = {(Kind.EDITED, "movies"), (Kind.STALE, "cells")}
TAMPERED = {
    flip_a_byte: {(Kind.CHANGED, "movies")},
    swap_neighbours: {(Kind.CHANGED, "movies")},
    take_a_file_of_another_run: {(Kind.CHANGED, "movies")},
    cut_a_file: {(Kind.CHANGED, "cells")},
    restore_files_only: {(Kind.CHANGED, "cells")},
    lose_a_file: {(Kind.MISSING, "cells")},
    lose_a_record: {(Kind.MISSING, "cells"), (Kind.ORPHANED, "cells")},
    leave_a_file: {(Kind.ORPHANED, "cells")},
    edit_a_manifest: {(Kind.DAMAGED, "movies"), (Kind.ORPHANED, "movies"), (Kind.STALE, "cells")},
    forge: _OF_THE_FORGED,
    edit_what_no_hash_in_the_record_covers: {(Kind.EDITED, "cells")},
    claim_another_run: {(Kind.UNREGISTERED, "cells")},
    lose_events: {(Kind.UNREGISTERED, "movies")},
    lose_the_last_event: {(Kind.UNREGISTERED, "cells")},
    set_the_clock_back: {(Kind.CLOCK, "cells")},
    restore_a_backup: {(Kind.EARLIER, "cells")},
    restore_a_backup_and_register_it: {(Kind.HISTORY, "cells")},
    edit_the_history: {(Kind.HISTORY, "movies")},
    remove_the_history: {(Kind.HISTORY, "movies")},
    cut_the_history_off: {(Kind.EDITED, "movies"), (Kind.HISTORY, "movies")},
}


@pytest.mark.parametrize("tamper", TAMPERED, ids=lambda tamper: tamper.__name__)
def test_the_deep_audit_names_what_was_tampered_with(recorded, tamper):
    assert recorded.audit().findings == ()
    tamper(recorded)
    verdict = recorded.audit()
    assert kinds(verdict) == TAMPERED[tamper]
    assert verdict.faults == verdict.findings
    for finding in verdict.findings:
        assert finding.session == str(KEY)
        assert all((finding.expected, finding.found, finding.remedy))


@pytest.mark.parametrize("deep", [True, False])
def test_a_lost_record_is_named_by_its_file_and_by_what_dagster_knows_of_it(recorded, deep):
    """A quick audit asks Dagster's log for the last version alone: no run, no time, no digest."""
    version = recorded.manifests()["cells"].data_version
    if not deep:
        recorded.events = {
            name: [Materialization("", 0.0, events[0].data_version)] for name, events in recorded.events.items()
        }
    assert recorded.audit(deep=deep).findings == ()
    kept = recorded.record("cells").read_bytes()
    lose_a_record(recorded)
    (lost,) = [one for one in recorded.audit(deep=deep).findings if one.kind is Kind.MISSING]
    whose = "of run run-0006" if deep else f"of version {version[:12]}"
    assert str(lost) == (
        f"{KEY} cells: expected the record {whose} that Dagster knows, .meso/manifests/cells.json, found no such file. "
        "Bring it back from a backup of .meso/manifests; without one, move the files that are left of cells out of the "
        f"session, and run `meso run {KEY} --assets cells`."
    )
    recorded.record("cells").write_bytes(kept)
    assert recorded.audit(deep=deep).findings == (), "brought back, as the remedy says"
    lose_a_record(recorded)
    shutil.move(recorded.path / "alf/FOV_00", recorded.root.parent / "moved")
    shutil.move(recorded.path / "alf/FOV_01", recorded.root.parent / "moved too")
    recorded.make("cells", "anew")
    left = recorded.audit(deep=deep)
    assert kinds(left) == {(Kind.HISTORY, "cells")}, "made anew, as the remedy says; the loss is for a person to accept"


@pytest.mark.parametrize(
    ("hosts", "behind_s", "is_found"),
    [
        (("rig", "rig"), 60, True),
        (("rig", "pc"), 60, False),
        (("rig", "pc"), 480, False),
        (("rig", "pc"), 3600, True),
        (("rig", ""), 60, True),
    ],
    ids=["one clock set back", "a minute apart", "eight minutes apart", "an hour apart", "not known whose clock"],
)
def test_times_that_cannot_follow_each_other_are_those_of_one_clock_or_far_apart(
    recorded, hosts, behind_s, is_found, monkeypatch
):
    """What a clock that is behind made of what was made before, and in its place."""

    class Behind(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) - timedelta(seconds=behind_s)

    first, later = hosts
    recorded.make("movies", "again", host=first)
    with monkeypatch.context() as there:
        there.setattr("meso_core.storage.publication.staging.datetime", Behind)
        recorded.make("cells", "again", host=later)
        recorded.make("movies", "again", host=later)
    recorded.events["movies"][0] = replace(recorded.events["movies"][0], at=time.time() - behind_s)
    recorded.events["cells"][0] = replace(recorded.events["cells"][0], at=time.time() - behind_s)
    found = {finding.asset for finding in recorded.audit().findings if finding.kind is Kind.CLOCK}
    assert found == ({"movies", "cells"} if is_found else set())


@pytest.mark.parametrize(
    ("tamper", "path", "found"),
    [
        (swap_neighbours, MOVIE, f"the content of {OTHER_MOVIE}"),
        (take_a_file_of_another_run, MOVIE, "what run run-0002 published on"),
        (flip_a_byte, MOVIE, "content changed since it was published"),
        (cut_a_file, CELLS, "5 bytes"),
    ],
)
def test_a_changed_file_is_told_with_what_it_is(recorded, tamper, path, found):
    tamper(recorded)
    (finding,) = [one for one in recorded.audit().findings if one.path == path]
    assert finding.found.startswith(found)
    assert "curated" not in finding.remedy, "a run takes over what a person did to labels, and nothing else"


def test_without_an_event_log_a_forged_record_shows_in_the_chain(recorded):
    """Those that were made from it name the record that was their input."""
    forge(recorded)
    assert (Kind.EDITED, "movies") in kinds(recorded.audit(log=False))
    assert (Kind.EDITED, "movies") not in kinds(Recorded(recorded.root.parent / "other").make_all().audit(log=False))


@pytest.mark.parametrize(
    "error",
    [
        StorageError.at(
            "s3://b/x", expected="a server that can read this", found="no answer", remedy="Check the network"
        ),
        PermissionError(13, "Permission denied"),
    ],
)
def test_a_file_that_cannot_be_read_is_not_told_as_changed(recorded, monkeypatch, error):
    real = LocalStore.sha256

    def fail(store, key, path, read=lambda _: None):
        if path == MOVIE:
            raise error
        return real(store, key, path, read)

    monkeypatch.setattr(LocalStore, "sha256", fail)
    verdict = recorded.audit()
    assert found(verdict) == {(Kind.UNREAD, "movies", MOVIE)}
    (finding,) = verdict.findings
    assert finding.is_fault
    assert finding.found == f"could not be read: {str(error).rstrip('.')}"


def test_a_file_that_is_shorter_is_told_so_though_it_cannot_be_read(recorded, monkeypatch):
    (recorded.path / MOVIE).write_bytes(b"short")

    def fail(store, key, path, read=lambda _: None):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(LocalStore, "sha256", fail)
    assert (Kind.CHANGED, "movies", MOVIE) in found(recorded.audit())


def test_a_file_whose_size_tells_that_it_is_changed_is_not_read(recorded):
    total = sum(manifest.total_bytes for manifest in recorded.manifests().values())
    size = (recorded.path / MOVIE).stat().st_size
    (recorded.path / MOVIE).write_bytes(bytes(1_000_000))
    verdict = recorded.audit()
    (finding,) = [one for one in verdict.findings if one.path == MOVIE]
    assert (finding.kind, finding.found) == (Kind.CHANGED, "1000000 bytes")
    assert verdict.bytes_read == total - size


def test_a_file_of_another_size_with_the_content_of_an_earlier_run_is_told_as_that(tmp_path):
    recorded = Recorded(tmp_path)
    recorded.make("metadata")
    path = recorded.manifests()["metadata"].files[0].path
    before = (recorded.path / path).read_bytes()
    recorded.make("metadata", "longer than before" * 9)
    assert len(before) != (recorded.path / path).stat().st_size
    (recorded.path / path).write_bytes(before)
    (finding,) = [one for one in recorded.audit().findings if one.path == path]
    assert finding.found.startswith("what run run-0001 published on")


def test_a_renamed_and_a_copied_session_are_told_by_each_record(recorded):
    copy = Recorded(recorded.root, SessionKey.parse("SP036/2023-03-03/001"))
    shutil.copytree(recorded.path, copy.path, dirs_exist_ok=True)
    told = copy.audit()
    assert {asset for kind, asset in kinds(told) if kind is Kind.OTHER_SESSION} == {"metadata", "movies", "cells"}
    assert all(str(KEY) in one.found for one in told.findings if one.kind is Kind.OTHER_SESSION)
    assert {kind for kind, _ in kinds(told)} == {Kind.OTHER_SESSION}
    assert recorded.audit().findings == (), "the one that was copied is as it was"


def test_a_record_of_another_session_is_told(recorded, tmp_path):
    other = Recorded(recorded.root, SessionKey.parse("SP036/2023-03-03/001")).make_all("second")
    shutil.copy(other.record("cells"), recorded.record("cells"))
    assert (Kind.OTHER_SESSION, "cells") in kinds(recorded.audit())


def test_an_input_that_came_out_otherwise_is_told_with_the_numbers_that_changed(tmp_path):
    recorded = Recorded(tmp_path)
    recorded.make("metadata", facts={"centerMM.ML": 2.6, "fovs": 2})
    recorded.make("movies")
    recorded.make("metadata", "other", facts={"centerMM.ML": 2.7, "fovs": 2})
    (finding,) = recorded.audit().findings
    assert (finding.kind, finding.asset) == (Kind.STALE, "movies")
    assert "metadata has changed" in finding.found
    assert finding.found.endswith("metadata: centerMM.ML changed from 2.6 to 2.7")


def test_another_code_version_is_told_apart_from_other_inputs(recorded):
    recorded.code = "2"
    verdict = recorded.audit()
    assert kinds(verdict) == {(Kind.OTHER_CODE, name) for name in recorded.events}
    assert all("code version 1 → 2" in finding.found for finding in verdict.findings)


def test_a_result_of_other_settings_is_told_apart_from_one_of_other_code_with_both_values(tmp_path):
    recorded = Recorded(tmp_path / "root", settings={"atlas_resolution_um": 25}).make_all()
    recorded.settings = {"atlas_resolution_um": 10}
    for finding in recorded.audit(to_keep="to keep it, set it back").findings:
        assert finding.kind is Kind.OTHER_SETTINGS
        assert finding.expected == "made with the settings of now"
        assert finding.found == "setting atlas_resolution_um: 25 → 10"
        assert finding.remedy == f"Run `meso run {KEY} --assets {finding.asset}`; or, to keep it, set it back"
    assert {finding.asset for finding in recorded.audit().findings} == set(recorded.events)
    recorded.code = "2"
    assert kinds(recorded.audit(to_keep="no")) == {(Kind.OTHER_CODE, name) for name in recorded.events}
    assert all(one.remedy.endswith(f"{one.asset}`") for one in recorded.audit(to_keep="no").findings)


def test_what_a_run_is_making_is_told_and_is_no_fault(recorded):
    lose_a_file(recorded)
    leave_a_file(recorded)
    verdict = recorded.audit(running="cells")
    assert kinds(verdict) == {(Kind.RUNNING, "cells")}
    assert verdict.faults == ()


def test_files_of_others_are_told_and_are_no_fault(recorded):
    (recorded.path / "alf" / "_ibl_trials.table.pqt").write_bytes(b"behaviour")
    verdict = recorded.audit()
    assert found(verdict) == {(Kind.NOT_OURS, "", "alf")}
    assert verdict.faults == ()


def test_the_quick_pass_finds_what_sizes_and_times_show_and_reads_no_file(recorded, monkeypatch):
    lose_a_file(recorded)
    os.utime(recorded.path / OTHER_MOVIE)
    flip_a_byte(recorded)
    verdict = recorded.audit(deep=False)
    assert found(verdict) == {(Kind.MISSING, "cells", CELLS)}, "touched, and the same; flipped with its time kept"
    assert verdict.bytes_read == 0
    (recorded.path / OTHER_MOVIE).write_bytes(b"other".ljust(64))
    assert (Kind.CHANGED, "movies", OTHER_MOVIE) in found(recorded.audit(deep=False))


def test_none_of_a_hundred_untouched_sessions_is_flagged(tmp_path):
    """Made once or again, one asset or all, found current by a later run, with a damaged record that was replaced."""
    for number in range(100):
        recorded = Recorded(tmp_path, SessionKey.parse(f"SP{number:03d}/2023-03-03/001"))
        recorded.make("metadata")
        if number % 3:
            recorded.make("movies")
            recorded.make("cells")
        if number % 5 == 1:
            recorded.make("cells", "again")
            recorded.make("cells", "again")
        if number % 7 == 1:
            recorded.tell(recorded.manifests()["metadata"], "run-that-found-it-current")
        if number % 20 == 1:
            recorded.record("cells").write_text("{")
            for file in (recorded.path / "alf").glob("FOV*"):
                shutil.rmtree(file)
            with pytest.warns(match="damaged record is kept"):
                recorded.make("cells", "anew")
        for deep in (True, False):
            assert recorded.audit(deep=deep).findings == (), recorded.key


def test_progress_counts_the_bytes_of_all_files(recorded):
    calls = []
    verdict = recorded.audit(progress=lambda *call: calls.append(call))
    total = sum(manifest.total_bytes for manifest in recorded.manifests().values())
    assert verdict.bytes_read == total
    assert calls[-1] == (total, total, "bytes compared")


def test_a_verdict_is_kept_with_the_session_and_read_back(recorded):
    first = recorded.audit()
    assert last_verdict(recorded.path) is None
    assert keep_verdict(recorded.path, first)
    assert not keep_verdict(recorded.path, recorded.audit(deep=False)), "nothing new"
    lose_a_file(recorded)
    second = recorded.audit()
    assert keep_verdict(recorded.path, second)
    assert last_verdict(recorded.path) == second
    lines = [json.loads(line) for line in earlier_verdicts(recorded.path)]
    assert [line["faults"] for line in lines] == [1, 0, 0]
    assert lines[0]["findings"] == {"missing": 1}
    assert recorded.audit().findings == second.findings, "what the audit keeps is not audited"


@pytest.mark.parametrize("tamper", [forge, remove_the_history, set_the_clock_back])
def test_what_no_run_brings_back_can_be_accepted_by_a_person_and_stays_told(recorded, tamper):
    tamper(recorded)
    verdict = recorded.audit()
    accepted = accept_findings(recorded.path, verdict, "Ada", "the disk was repaired")
    assert {finding.kind for finding in accepted} <= {Kind.EDITED, Kind.HISTORY, Kind.CLOCK}
    again = with_accepted(recorded.path, recorded.audit())
    assert kinds(again) == kinds(verdict)
    assert len(again.faults) == len(verdict.faults) - len(accepted) < len(verdict.faults)
    assert "Accepted by Ada on" in "".join(map(str, again.findings))
    lose_a_file(recorded)
    assert any(finding.kind is Kind.MISSING for finding in with_accepted(recorded.path, recorded.audit()).faults)


def test_what_a_run_mends_is_not_accepted_and_nobody_accepts_without_a_name(recorded):
    lose_a_file(recorded)
    assert accept_findings(recorded.path, recorded.audit(), "Ada", "because") == ()
    with pytest.raises(SettingsError, match="who and why"):
        accept_findings(recorded.path, recorded.audit(), " ", "because")
