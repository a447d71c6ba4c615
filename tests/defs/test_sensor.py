"""The sensor: new sessions become partitions, what is due in ready ones is run, and nothing is lost on the way."""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from hashlib import md5 as md5_of
from hashlib import sha256 as sha256_of

import dagster as dg
import pytest

from meso_assets.definitions import build_defs
from meso_assets.defs.catalogue import CATALOGUE
from meso_assets.defs.dagster_internals import sessions_at_work
from meso_assets.defs.sensors.sensors import in_turn, requests, scan
from meso_assets.defs.standing import session_index
from meso_assets.defs.standing.standings import look_at
from meso_assets.defs.standing.summaries import AssetSummary, SessionSummary, summary_of
from meso_assets.io.resources import Platform
from meso_assets.runs.instance import open_instance
from meso_assets.runs.settings.settings import load_settings
from meso_core.archive import ARCHIVE_NAME, ArchiveReport, save_report
from meso_core.review import keep_person_verdict
from meso_core.storage import Basis, Cause, MadeBy, Standing

KEY = "SP035/2023-03-03/001"
ARCHIVE = f"raw_imaging_data_00/{ARCHIVE_NAME}"
MISSING = AssetSummary.of(Standing(Basis("1"), None, ("not made yet",), (), frozenset({Cause.MISSING})))
OLD_CODE = AssetSummary.of(Standing(Basis("2"), None, ("code version 1 → 2",), (), frozenset({Cause.MAKING})))
CURRENT = AssetSummary(reasons=(), causes=(), is_made=True)

#: What takes seconds, and is made first.
QUICK = {name for name, declared in CATALOGUE.items() if declared.is_quick}
#: Made again with whatever is made again.
RECORDS_READERS = ("session_qc", "alyx_datasets", "alyx_session_qc", "session_report")


def state(key=KEY, ready=True, due=None):
    due = {"frame_qc": MISSING} if due is None else due
    return SessionSummary(key, ready, "because", {**dict.fromkeys(CATALOGUE, CURRENT), **due}, f"{key}:state")


@pytest.fixture
def root(tmp_path):
    bout = tmp_path / "Subjects" / KEY / "raw_imaging_data_00"
    bout.mkdir(parents=True)
    (bout / "x_00001.tif").write_bytes(b"tif")
    (bout.parent / "raw_session.flag").touch()
    return tmp_path / "Subjects"


@pytest.fixture
def settings(root, tmp_path):
    return load_settings({"root": root, "home": tmp_path / "home"})


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def look(instance, settings, cursor=None):
    return scan(dg.build_sensor_context(instance=instance, cursor=cursor), Platform.open(settings))


def selected(request):
    return {key.to_user_string() for key in request.asset_selection}


def then(instance, settings, request):
    """The run that is asked for when this one has ended."""
    instance.create_run_for_job(_job(), tags={"dagster/run_key": request.run_key}, status=dg.DagsterRunStatus.FAILURE)
    (run,) = look(instance, settings).run_requests
    return run


def make_everything(settings):
    """Publish something for each asset, upstream first, with the basis of the moment."""
    session = Platform.open(settings).session(KEY)
    for name, declared in CATALOGUE.items():
        staging = session.stage(name)
        staging.write(ARCHIVE if name == "imaging_frames_archive" else f"{name}.txt", b"x")
        session.publish(staging.seal(), look_at(session).standing(declared, settings).basis, MadeBy("by hand"))
    sha256, md5 = sha256_of(b"x").hexdigest(), md5_of(b"x").hexdigest()
    bout, _, archive = ARCHIVE.partition("/")
    save_report(session.path, ArchiveReport(bout, "tar.bz2", archive, (), 1, sha256, md5, 1.0))
    (session.path / "raw_session.flag").touch()  # a slow disk took seconds: what the test adds must not be late by that


def test_a_new_ready_session_becomes_a_partition_runs_of_everything_and_a_record_of_each_kind_of_raw_files(
    instance, settings
):
    result = look(instance, settings)
    (run,) = result.run_requests
    assert run.partition_key == KEY
    assert selected(run) == QUICK
    assert selected(then(instance, settings, run)) == set(CATALOGUE)
    assert result.dynamic_partitions_requests[0].partition_keys == [KEY]
    seen = {event.asset_key.to_user_string(): event.tags["dagster/data_version"] for event in result.asset_events}
    assert seen == look_at(Platform.open(settings).session(KEY)).given_versions()


def test_a_changed_session_gets_another_run_key_and_an_unchanged_one_the_same(instance, settings, root):
    first = look(instance, settings).run_requests[0].run_key
    assert look(instance, settings).run_requests[0].run_key == first
    (root / KEY / "raw_imaging_data_00" / "x_00002.tif").write_bytes(b"late")
    assert look(instance, settings).run_requests[0].run_key != first


@pytest.mark.parametrize("watch", [False, True])
def test_the_sensor_is_on_from_the_start_where_a_lab_wants_that(settings, watch):
    found = build_defs(settings.model_copy(update={"watch": watch})).get_repository_def()
    expected = dg.DefaultSensorStatus.RUNNING if watch else dg.DefaultSensorStatus.STOPPED
    assert found.get_sensor_def("sessions_arrive").default_status is expected


def test_a_late_bout_waits_until_it_is_quiet(settings, root):
    make_everything(settings)
    session = Platform.open(settings).session(KEY)
    flag = (root / KEY / "raw_session.flag").stat().st_mtime_ns
    (root / KEY / "raw_imaging_data_01").mkdir()
    for number in (1, 2):
        tif = root / KEY / "raw_imaging_data_01" / f"x_0000{number}.tif"
        tif.write_bytes(b"late")
        os.utime(tif, ns=(flag, flag + number * 10**10))
        told = summary_of(session, settings, now_ns=flag + number * 10**10 + 1)
        assert (told.ready, "after raw_session.flag" in told.reason) == (False, True)
    assert summary_of(session, settings, now_ns=flag + 2 * 10**10 + int(settings.quiet_minutes * 60e9)).ready


def test_a_state_that_was_run_before_is_not_asked_for_again(instance, settings):
    (request,) = look(instance, settings).run_requests
    last = then(instance, settings, request)
    instance.create_run_for_job(_job(), tags={"dagster/run_key": last.run_key})
    assert look(instance, settings).run_requests == []


def test_what_reads_records_alone_goes_on_once_where_a_run_has_failed(instance, settings):
    """Dagster passes over what comes after a failure, although some of it does without."""
    due = {"frame_times": MISSING, "alyx_datasets": MISSING}
    failed = state(due=due)

    def runs(asked, at_work=()):
        return requests([failed], [KEY], asked, settings, at_work).run_requests

    (first,) = runs([])
    assert selected(first) >= {"frame_times", "alyx_datasets"}
    assert runs([first.run_key], [KEY]) == [], "it is still at work"
    (then,) = runs([first.run_key])
    assert selected(then) == {"alyx_datasets"}
    assert then.run_key != first.run_key
    assert runs([first.run_key, then.run_key]) == []
    (alone,) = requests([state(due={"alyx_datasets": MISSING})], [KEY], [], settings).run_requests
    assert requests([state(due={"alyx_datasets": MISSING})], [KEY], [alone.run_key], settings).run_requests == []


def test_the_sessions_of_which_a_run_has_not_ended_are_known(instance):
    run = instance.create_run_for_job(_job(), tags={"dagster/partition": "a"})
    instance.create_run_for_job(_job(), tags={"dagster/partition": "b"}, status=dg.DagsterRunStatus.SUCCESS)
    instance.create_run_for_job(_job(), tags={})
    assert sessions_at_work(instance) == {"a"}
    instance.report_run_failed(run)
    assert sessions_at_work(instance) == set()


def test_while_a_run_goes_on_no_other_is_asked_for_although_what_is_due_becomes_less(instance, settings, root):
    """Each asset that a run has made changes the state of its session: that must not start a run beside it."""
    (first,) = look(instance, settings).run_requests
    tags = {"dagster/run_key": first.run_key, "dagster/partition": KEY}
    run = instance.create_run_for_job(_job(), tags=tags, status=dg.DagsterRunStatus.STARTED)
    make_everything(settings)
    (root / KEY / "raw_imaging_data_00" / "exptQC.mat").write_bytes(b"late")
    assert look(instance, settings).run_requests == []
    instance.report_run_failed(run)
    (then,) = look(instance, settings).run_requests
    assert then.run_key != first.run_key


def test_a_session_processed_by_hand_is_not_asked_for(instance, settings):
    make_everything(settings)
    assert look(instance, settings).run_requests == []


def test_a_daq_that_comes_late_asks_for_what_reads_it_and_nothing_else(instance, settings, root):
    make_everything(settings)
    daq = root / KEY / "raw_sync_data"
    daq.mkdir()
    (daq / "_timeline_DAQdata.raw.npy").write_bytes(b"late")
    (first,) = look(instance, settings).run_requests
    assert selected(first) == {"frame_times"}
    run = then(instance, settings, first)
    assert selected(run) == {"frame_times", *RECORDS_READERS}, "what comes out is told again"
    for one in (first, run):
        assert "raw_daq" in one.tags["meso/why"]


def test_what_is_downstream_of_what_is_due_is_run_with_it(instance, settings, root):
    make_everything(settings)
    (root / KEY / "raw_imaging_data_00" / "exptQC.mat").write_bytes(b"late")
    (first,) = look(instance, settings).run_requests
    following = {"motion_registered_frames", "rois", "roi_brain_locations", *RECORDS_READERS}
    assert selected(first) == {"frame_qc"}
    assert selected(then(instance, settings, first)) == {"frame_qc", *following}


def test_what_follows_an_asset_that_somebody_made_again_is_run_by_itself(instance, settings):
    """Whoever made it, in the interface or in a terminal; where the same came out, nothing follows."""
    make_everything(settings)
    session = Platform.open(settings).session(KEY)

    def by_hand(content):
        staging = session.stage("mean_image_mlapdv")
        staging.write("mean_image_mlapdv.txt", content)
        basis = look_at(session).standing(CATALOGUE["mean_image_mlapdv"], settings).basis
        session.publish(staging.seal(), basis, MadeBy("by hand"))

    by_hand(b"x")
    assert look(instance, settings).run_requests == []
    by_hand(b"y")
    (first,) = look(instance, settings).run_requests
    followers = {"roi_brain_locations", "alyx_fov_records", *RECORDS_READERS}
    assert selected(first) == {"alyx_fov_records"}
    run = then(instance, settings, first)
    assert selected(run) == followers
    assert "mean_image_mlapdv has changed" in run.tags["meso/why"]


@pytest.mark.parametrize("changed", ["setting", "code"])
def test_changed_settings_and_code_are_seen_and_run_only_where_a_lab_wants_that(
    instance, settings, changed, monkeypatch
):
    make_everything(settings)
    if changed == "setting":
        settings = settings.model_copy(update={"archive_format": "zarr"})
    else:
        declared = CATALOGUE["imaging_frames_archive"]
        monkeypatch.setitem(CATALOGUE, declared.name, replace(declared, code_version="2"))
    session = Platform.open(settings).session(KEY)
    assert set(summary_of(session, settings, now_ns=10**19).due) == {"imaging_frames_archive"}
    assert look(instance, settings).run_requests == [], "it waits until somebody asks"
    (run,) = look(instance, settings.model_copy(update={"rerun_stale": True})).run_requests
    assert selected(run) == {"imaging_frames_archive", *RECORDS_READERS}


def test_a_word_of_a_person_asks_for_what_shows_and_tells_it(instance, settings, root):
    make_everything(settings)
    keep_person_verdict(root / KEY, "reject", "Ada", "bubble")
    (run,) = look(instance, settings).run_requests
    assert selected(run) == {"session_report", "alyx_session_qc"}
    assert "person_verdicts has changed" in run.tags["meso/why"]


def test_a_late_note_asks_for_the_snapshots_alone(instance, settings, root):
    make_everything(settings)
    (root / KEY / "snapshots").mkdir()
    (root / KEY / "snapshots" / "late_note.txt").write_text("the window was cleaned")
    (run,) = look(instance, settings).run_requests
    assert selected(run) == {"alyx_snapshots"}


def test_a_flag_that_the_server_takes_away_asks_for_no_other_run(instance, settings, root):
    (first,) = look(instance, settings).run_requests
    last = then(instance, settings, first)
    (root / KEY / "raw_session.flag").unlink()
    quiet = settings.model_copy(update={"quiet_minutes": 0.0})
    found = summary_of(Platform.open(quiet).session(KEY), quiet, now_ns=10**19)
    assert (found.quick_key, found.run_key) == (first.run_key, last.run_key)


def test_a_root_that_cannot_be_listed_skips_the_tick_with_a_warning(instance, settings, root, monkeypatch):
    instance.add_dynamic_partitions("session", [KEY])
    shutil.rmtree(root)
    context, warnings = dg.build_sensor_context(instance=instance), []
    monkeypatch.setattr(context.log, "warning", warnings.append)
    result = scan(context, Platform.open(settings))
    assert isinstance(result, dg.SkipReason)
    assert "could not be listed" in result.skip_message
    assert warnings == [result.skip_message]
    assert instance.get_dynamic_partitions("session") == [KEY]


def test_a_session_that_is_taken_away_keeps_its_partition_and_its_history(instance, settings, root):
    instance.add_dynamic_partitions("session", [KEY])
    shutil.rmtree(root / "SP035")
    result = look(instance, settings)
    assert (result.run_requests, list(result.dynamic_partitions_requests)) == ([], [])
    assert instance.get_dynamic_partitions("session") == [KEY]


def test_folders_that_are_passed_over_are_told_beside_the_tick(instance, settings, root):
    (root / "SP035" / "2023-99-99" / "001").mkdir(parents=True)
    make_everything(settings)
    told = look(instance, settings)
    assert told.run_requests == []
    assert told.skip_reason.skip_message.startswith("1 folders are passed over")
    assert "SP035/2023-99-99: there is no such date" in told.skip_reason.skip_message


@pytest.mark.parametrize("number", ["1", "01"])
def test_a_session_numbered_without_zeros_has_the_partition_of_its_number(instance, settings, root, number):
    (root / KEY).rename(root / KEY.replace("001", number))
    (run,) = look(instance, settings).run_requests
    assert run.partition_key == KEY


def test_two_folders_of_one_session_start_nothing(instance, settings, root):
    shutil.copytree(root / KEY, root / KEY.replace("001", "1"))
    told = look(instance, settings)
    assert told.run_requests == []
    assert "means the same session as" in told.skip_reason.skip_message


def test_litter_in_a_session_makes_nothing_stale_and_a_copy_that_goes_on_waits(instance, settings, root):
    make_everything(settings)
    bout = root / KEY / "raw_imaging_data_00"
    for name in ("._x_00001.tif", ".DS_Store", "Thumbs.db", "._exptQC.mat", "@eaDir/x_00001.tif", "reference/._r.tif"):
        (bout / name).parent.mkdir(exist_ok=True)
        (bout / name).write_bytes(b"no data")
    session = Platform.open(settings).session(KEY)
    assert summary_of(session, settings, now_ns=10**19).due == {}
    (bout / "x_00002.tif.part").write_bytes(b"tif")
    (bout / "exptQC.mat").write_bytes(b"late")
    told = summary_of(session, settings, now_ns=10**19)
    assert (told.ready, told.reason.split(":")[0]) == (False, "still being copied")
    assert look(instance, settings).run_requests == []
    (bout / "x_00002.tif.part").rename(bout / "x_00002.tif")
    assert len(look(instance, settings).run_requests) == 1


def test_one_session_with_an_unreadable_description_does_not_stop_the_others(instance, settings, root):
    bad = root / "SP035" / "2023-03-03" / "002"
    (bad / "raw_imaging_data_00").mkdir(parents=True)
    (bad / "raw_imaging_data_00" / "x_00001.tif").write_bytes(b"tif")
    (bad / "_ibl_experiment.description.yaml").write_text("devices: [unclosed")
    assert [run.partition_key for run in look(instance, settings).run_requests] == [KEY]


def test_one_look_asks_for_no_more_runs_than_allowed_and_adds_all_partitions(settings):
    states = [state(f"SP035/2023-03-03/{i:03d}") for i in range(20)]
    result = requests(states, known=set(), asked=set(), settings=settings)
    assert len(result.run_requests) == 5
    assert len(result.dynamic_partitions_requests[0].partition_keys) == 20
    asked = {run.run_key for run in result.run_requests}
    assert not asked & {run.run_key for run in requests(states, set(), asked, settings).run_requests}


@pytest.mark.parametrize("one", [state(ready=False), state(due={}), state(due={"rois": OLD_CODE})])
def test_a_session_that_is_not_ready_or_has_nothing_due_becomes_a_partition_but_no_run(settings, one):
    result = requests([one], known=set(), asked=set(), settings=settings)
    assert result.run_requests == []
    assert len(result.dynamic_partitions_requests) == 1


def test_a_look_goes_on_where_the_last_one_ended_and_comes_round_to_all():
    keys = ["a", "b", "c", "d"]
    assert in_turn(keys, None) == keys
    assert in_turn(keys, "b") == ["c", "d", "a", "b"]
    assert in_turn(keys, "z") == keys


def test_a_tick_ends_in_time_and_the_next_goes_on_until_all_were_looked_at_and_then_looks_at_none(
    instance, settings, root, monkeypatch
):
    for day in range(2, 8):
        shutil.copytree(root / KEY, root / "SP035" / f"2023-03-{day + 10}" / "001")
    now, looked = [0.0], []
    look_at_one = session_index.summary_of

    def slow(session, *args, **kwargs):
        now[0] += 5.0
        looked.append(str(session.key))
        return look_at_one(session, *args, **kwargs)

    monkeypatch.setattr(session_index, "summary_of", slow)
    monkeypatch.setattr(session_index, "SETTLED_AFTER_NS", 10_000_000)
    monkeypatch.setattr("meso_assets.defs.sensors.sensors.time.monotonic", lambda: now[0])
    time.sleep(0.05)
    cursor, added = None, []
    for _ in range(3):
        before = len(looked)
        told = look(instance, settings, cursor)
        cursor = told.cursor
        added += [key for request in told.dynamic_partitions_requests for key in request.partition_keys]
        assert len(looked) - before <= 3, "12 s"
    assert (
        sorted(set(added)) == sorted(looked) == sorted({KEY, *(f"SP035/2023-03-{day + 10}/001" for day in range(2, 8))})
    )
    look(instance, settings, cursor)
    assert len(looked) == 7, "nothing has changed"


def test_of_very_many_sessions_a_tick_logs_some_and_counts_the_others(instance, settings, root, monkeypatch):
    monkeypatch.setattr("meso_assets.defs.sensors.sensors._MOST_LINES", 2)
    for day in range(11, 16):
        (root / "SP035" / f"2023-03-{day}" / "001").mkdir(parents=True)
    context, lines = dg.build_sensor_context(instance=instance), []
    monkeypatch.setattr(context.log, "info", lines.append)
    scan(context, Platform.open(settings))
    assert lines == [
        "SP035/2023-03-11/001: nothing of the rig there yet",
        "SP035/2023-03-12/001: nothing of the rig there yet",
        "and 3 more (`meso status` and the overview list all)",
        f"{KEY}: quick results first: {', '.join(name for name in CATALOGUE if name in QUICK)}",
    ]


def test_dagsters_own_server_evaluates_the_sensor(settings):
    with open_instance(settings):
        environment = {**os.environ, **settings.as_environment()}
    command = [sys.executable, "-m", "dagster", "sensor", "preview", "sessions_arrive", "-m", "meso_assets.definitions"]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=200)
    assert "run requests for 1 run(s)" in told.stdout + told.stderr


def _job() -> dg.JobDefinition:
    @dg.op
    def nothing() -> None: ...

    @dg.job
    def empty() -> None:
        nothing()

    return empty


def test_no_session_is_begun_while_the_engine_is_not_there(instance, settings, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    skipped = look(instance, settings.model_copy(update={"executor": "slurm"}))
    assert isinstance(skipped, dg.SkipReason)
    assert "no session is begun: MESO_EXECUTOR=slurm: expected SLURM's commands" in skipped.skip_message
    assert look(instance, settings).run_requests
