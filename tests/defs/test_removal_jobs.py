"""The daily job that frees the room of removed tifs: all sessions, whatever one of them says."""

from __future__ import annotations

import re
import warnings

import dagster as dg
import pytest
from click.testing import CliRunner

from meso_assets.cli import group
from meso_assets.definitions import build_defs
from meso_assets.defs.removal import removal
from meso_assets.defs.running.claims import Claims
from meso_assets.io.resources import Platform
from meso_assets.runs.settings.settings import MesoSettings
from meso_core.errors import GateError, MesoWarning


@pytest.fixture
def platform(tmp_path):
    for number in ("001", "002", "003"):
        (tmp_path / "Subjects" / "SP035" / "2023-03-03" / number).mkdir(parents=True)
    return Platform.open(MesoSettings(root=tmp_path / "Subjects", home=tmp_path / "home", removed_kept_days=3))


def sessions(platform):
    return [platform.session(str(key)) for key in platform.store.sessions()]


def removed(session):
    """Leave a tif as a removal does that was killed: it is due."""
    tif = session.path / ".meso" / "removed" / "raw_imaging_data_00" / "a.tif"
    tif.parent.mkdir(parents=True)
    tif.touch()


def test_a_session_with_a_run_at_work_keeps_its_tifs_and_the_others_do_not_wait_for_it(platform):
    first, second, third = sessions(platform)
    for session in (first, second):
        removed(session)
    at_work = Claims(first.path, "a run")
    assert at_work.take(["motion_registered_frames"]) == ()
    found = dict(sweep_by_number(platform))
    assert "motion_registered_frames is made by run a run" in str(found["001"])
    assert "Wait until that has ended" in str(found["001"])
    assert (first.path / ".meso/removed/raw_imaging_data_00/a.tif").exists()
    assert found["002"] == found["003"] == ()
    assert (second.path / "raw_imaging_data_00/a.tif").exists(), "put back: nothing tells of its removal"
    assert not (third.path / ".meso").exists()
    at_work.give_all_back()  # the remedy
    assert dict(sweep_by_number(platform))["001"] == ()


def test_a_session_that_is_moved_away_meanwhile_keeps_no_other_from_being_freed(platform):
    *_, third = sessions(platform)
    removed(third)
    going = removal.sweep(platform)
    next(going)
    (third.path.parent / "002").rename(third.path.parent.parent / "elsewhere")
    with pytest.warns(MesoWarning, match="put back"):
        found = {key.number: freed for key, freed in going}
    assert "no such session" in str(found["002"])
    assert found["003"] == ()
    assert (third.path / "raw_imaging_data_00/a.tif").exists()


def test_a_session_whose_log_is_damaged_is_named_and_the_tifs_of_the_others_are_listed(platform, monkeypatch):
    first, second, _ = sessions(platform)
    for session in (first, second):
        removed(session)
    (first.path / ".meso" / "removals.jsonl").write_text("nonsense\nmore\n")
    monkeypatch.setenv("MESO_ROOT", str(platform.settings.root))
    monkeypatch.setenv("MESO_HOME", str(platform.settings.home))
    ran = CliRunner().invoke(group, ["remove-raw"])
    assert ran.exit_code == 2, ran.output
    assert re.search(r"^SP035/2023-03-03/001: .*removals\.jsonl", ran.output, re.M), ran.output
    assert "SP035/2023-03-03/002\nkept      raw_imaging_data_00/a.tif" in ran.output


def sweep_by_number(platform):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MesoWarning)
        return [(key.number, freed) for key, freed in removal.sweep(platform)]


def test_no_run_begins_with_the_tifs_of_a_session_while_they_are_freed(platform, monkeypatch):
    (session, *_), found = sessions(platform), []
    removed(session)
    monkeypatch.setattr(
        removal,
        "free",
        lambda session, _: found.extend(Claims(session.path, "a run").take(["rois", "motion_registered_frames"])),
    )
    list(removal.sweep(platform))
    assert [claim.asset for claim in found] == ["motion_registered_frames"]
    assert found[0].command


def test_one_session_in_doubt_is_told_and_the_others_go_on(platform, monkeypatch):
    asked = []
    for session in sessions(platform):
        removed(session)

    def free(session, kept_days):
        asked.append((str(session.key), kept_days))
        if session.key.number == "002":
            raise GateError("the archive holds other content")
        return ()

    monkeypatch.setattr(removal, "free", free)
    ran = removal.free_removed_tifs.execute_in_process(resources={"platform": platform}, raise_on_error=False)
    assert not ran.success
    assert asked == [(f"SP035/2023-03-03/{number}", 3.0) for number in ("001", "002", "003")]
    (failure,) = (event for event in ran.all_events if event.is_step_failure)
    assert "SP035/2023-03-03/002: the archive holds other content" in str(failure.event_specific_data.error)


def test_sessions_without_removed_tifs_are_left_as_they_are(platform):
    assert removal.free_removed_tifs.execute_in_process(resources={"platform": platform}).success
    assert not list(platform.store.folder.rglob(".meso"))


def test_the_job_that_removes_keeps_runs_away_that_read_tifs_unless_it_only_looks(platform, monkeypatch):
    key, found = "SP035/2023-03-03/001", []

    def look(session, who, why, *, limits):
        claims = Claims(session.path, "a run")
        found.append([str(claim) for claim in claims.take(["motion_registered_frames"])])
        claims.give_all_back()
        raise GateError("no archive")

    monkeypatch.setattr(removal, "plan_removal", look)
    for dry_run in (False, True):
        config = {"ops": {"raw_tifs_removed": {"config": {"dry_run": dry_run}}}}
        with dg.DagsterInstance.ephemeral() as instance:
            instance.add_dynamic_partitions("session", [key])
            removal.remove_raw_tifs.execute_in_process(
                config, instance=instance, partition_key=key, resources={"platform": platform}, raise_on_error=False
            )
    (told,), nobody = found
    assert told.startswith("motion_registered_frames is kept by `remove_raw_tifs`, process ")
    assert nobody == []
    assert Claims(platform.session(key).path, "later").take(["motion_registered_frames"]) == ()


def test_it_runs_every_day_by_itself(platform):
    """A person asked for each removal; nobody has to ask twice."""
    schedule = build_defs(platform.settings).get_repository_def().get_schedule_def("removed_tifs_daily")
    assert schedule.cron_schedule == "30 4 * * *"
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
    assert schedule.job_name == "free_removed_tifs"
