"""Sessions of an earlier version get the names of today: their history, verdicts and states are what they were."""

import os
import shutil
from contextlib import contextmanager
from dataclasses import asdict, replace

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest

from meso_assets.definitions import build_defs
from meso_assets.defs.catalogue import CATALOGUE, RAW
from meso_assets.defs.dagster_internals import latest_versions, materializations
from meso_assets.defs.declare import raw_asset
from meso_assets.defs.lineage.audits import audited
from meso_assets.defs.notices.ledger import open_ledger
from meso_assets.defs.running.histories import check_answers
from meso_assets.defs.standing.raw_seen import observe
from meso_assets.defs.standing.standings import look_at
from meso_assets.io.resources import Platform
from meso_assets.io.session_names import SESSION_PARTITION, Registered, add_sessions, known_sessions, labs_by_subject
from meso_assets.runs.instance import open_instance
from meso_assets.runs.instance.renaming import EARLIER_NAME, bring_names_up_to_date, rename_all
from meso_assets.runs.settings.settings import load_settings
from meso_assets.runs.status.status import status_of
from meso_core.session import SessionKey, find_sessions
from meso_core.simulate import simulate_session
from tests.short_session import short

ASSETS = ("imaging_metadata", "frame_times", "frame_qc")
RAWS = [raw_asset(kind) for kind in RAW]
CHECKS = [(name, check) for name in ASSETS for check in CATALOGUE[name].checks]
#: Two labs hold SP035, one holds SP040.
GOOD, BAD, NEW = (
    SessionKey("SP035", "2023-03-03", "001", "labA"),
    SessionKey("SP035", "2023-03-03", "001", "labB"),
    SessionKey("SP040", "2023-03-03", "001", "labA"),
)
NAMES = {GOOD: GOOD.name_with_lab, BAD: BAD.name_with_lab, NEW: NEW.name}
KEYS = tuple(NAMES)


def settings_in(folder):
    places = {"root": folder / "sessions", "home": folder / "home", "cache": folder / "cache"}
    return load_settings({**places, "atlas": "phantom", "atlas_resolution_um": 50, "quiet_minutes": 0.0})


def process(settings, instance, name):
    """Run what is quick, as a run of the daemon does."""
    job = build_defs(settings.model_copy(update={"executor": "in_process"})).resolve_job_def("process_session")
    return job.execute_in_process(
        instance=instance,
        partition_key=name,
        asset_selection=[dg.AssetKey(asset) for asset in ASSETS],
        run_config={"loggers": {"readable": {}}},
        raise_on_error=False,
    )


def see(settings, instance, key, name):
    """Tell Dagster of the raw files, as the sensor does."""
    observe(instance, name, look_at(Platform.open(settings).at(key)).given_versions())


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    """Folder of an earlier version."""
    return made_earlier(tmp_path_factory.mktemp("earlier"))


def made_earlier(folder):
    """Make one session twice, one that fails, and one that is only seen, as an earlier version called them."""
    settings = settings_in(folder)
    made = simulate_session(settings.root, short(lab="labA"), faults=["surplus_pulses"])
    simulate_session(settings.root, short(lab="labB"), faults=["dropped_pulses"])
    shutil.copytree(made.session_path, NEW.folder(settings.root))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DAGSTER_HOME", raising=False)
        with open_instance(settings) as instance:
            instance.add_dynamic_partitions(SESSION_PARTITION, [str(key) for key in KEYS])
            for key in KEYS:
                see(settings, instance, key, str(key))
            assert process(settings, instance, str(GOOD)).success
            daq = next(made.session_path.glob("raw_sync_data/*.npy"))
            os.utime(daq, (daq.stat().st_mtime + 60,) * 2)
            see(settings, instance, GOOD, str(GOOD))
            assert process(settings, instance, str(GOOD)).success
            assert not process(settings, instance, str(BAD)).success
    return folder


@pytest.fixture
def settings(earlier, tmp_path, monkeypatch):
    """A copy of that folder; the sessions are the same ones, for an audit compares times."""
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    shutil.copytree(earlier / "home", tmp_path / "home")
    return settings_in(earlier).model_copy(update={"home": tmp_path / "home"})


def told(instance, settings, key, name):
    """All that Dagster, the status and the audit tell of a session, but its name."""
    resolver = CachingStaleStatusResolver(
        instance, build_defs(settings).resolve_asset_graph(), loading_context=LoadingContextForTest(instance)
    )
    (status,) = status_of(settings, instance, [key])
    observed = {
        asset: [
            (record.run_id, record.timestamp, record.asset_observation.tags)
            for record in instance.fetch_observations(
                dg.AssetRecordsFilter(dg.AssetKey(asset), asset_partitions=[name]), limit=100
            ).records
        ]
        for asset in RAWS
    }
    answers = {
        check: [
            (entry.run_id, entry.timestamp, entry.step_key, answer.passed, answer.metadata, answer.description)
            for entry in check_answers(instance, *check, name)
            for answer in [entry.dagster_event.event_specific_data]
        ]
        for check in CHECKS
    }
    return {
        "made": {asset: materializations(instance, asset, name) for asset in CATALOGUE},
        "observed": observed,
        "answers": answers,
        "staleness": {a: resolver.get_status(dg.AssetKey(a), name).value for a in CATALOGUE},
        "versions": {asset: latest_versions(instance, asset, [name]).get(name) for asset in (*CATALOGUE, *RAWS)},
        "status": [{**asdict(cell), "session": ""} for cell in status.cells],
        "audit": audited(Platform.open(settings).at(key), settings, instance).findings,
        "runs": [run.run_id for run in instance.get_runs(dg.RunsFilter(tags={"dagster/partition": name}))],
    }


def test_of_each_event_its_checks_and_its_runs_all_is_told_under_the_new_name(settings):
    all_is_told_under_the_new_name(settings)


@pytest.mark.nightly
def test_so_it_is_where_the_records_are_in_postgresql(tmp_path, postgres, monkeypatch):
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.setenv("MESO_POSTGRES", postgres.new_database())
    settings = settings_in(made_earlier(tmp_path))
    assert not list(settings.dagster_home.rglob("*.db")), "nothing beside the server"
    all_is_told_under_the_new_name(settings)


def all_is_told_under_the_new_name(settings):
    with open_instance(settings) as instance:
        before = {key: told(instance, settings, key, str(key)) for key in KEYS}
    assert len(before[GOOD]["made"]["frame_times"]) == 2
    assert any(before[GOOD]["answers"].values())
    assert "failed" in {cell["state"].value for cell in before[BAD]["status"]}
    assert {cell["state"].value for cell in before[GOOD]["status"] if cell["asset"] in ASSETS} == {"done"}
    assert {before[GOOD]["staleness"][asset] for asset in ASSETS} == {"FRESH"}
    keys = find_sessions(settings.root)
    done = bring_names_up_to_date(settings, keys, pytest.fail)
    assert {one.old: one.new for one in done} == {str(key): name for key, name in NAMES.items()}
    with open_instance(settings) as instance:
        assert known_sessions(instance) == set(NAMES.values())
        after = {key: told(instance, settings, key, NAMES[key]) for key in KEYS}
        mice = [run.tags for run in instance.get_runs()]
    for key in KEYS:
        assert repr(after[key]) == repr(before[key])
    assert {tags["meso/subject"] for tags in mice} == {"SP035"}
    assert {tags["meso/lab"]: tags[EARLIER_NAME] for tags in mice} == {"labA": str(GOOD), "labB": str(BAD)}
    assert bring_names_up_to_date(settings, keys, pytest.fail) == ()


class Killed(BaseException):
    """The process is gone; nothing may catch it, as no error does."""


@contextmanager
def killed_after(n, monkeypatch):
    """End the process, as it were, at the n-th time that it writes to the records."""
    left = iter(range(n))

    def counted(write):
        def counting(*args, **kwargs):
            if next(left, None) is None:
                raise Killed
            return write(*args, **kwargs)

        return counting

    with monkeypatch.context() as patch:
        for name in ("report_dagster_event", "add_dynamic_partitions", "add_run_tags", "delete_dynamic_partition"):
            patch.setattr(dg.DagsterInstance, name, counted(getattr(dg.DagsterInstance, name)))
        yield


def test_a_renaming_that_is_killed_goes_on_where_it_was(settings, monkeypatch, tried):
    keys = find_sessions(settings.root)
    with open_instance(settings) as instance:
        before = {key: told(instance, settings, key, str(key)) for key in KEYS}
    n_kills = 0
    while True:
        try:
            with killed_after(7, monkeypatch):
                bring_names_up_to_date(settings, keys, pytest.fail)
            break
        except Killed:
            n_kills += 1
            with open_instance(settings) as instance:
                registered = Registered.of(instance)
                for key in KEYS:
                    name = registered.find(key)
                    assert registered.key(name) == key
                    made = {asset: materializations(instance, asset, name) for asset in CATALOGUE}
                    assert made == before[key]["made"], "what is registered has its whole history"
    tried("kills: of a renaming", n_kills)
    assert n_kills > 5
    with open_instance(settings) as instance:
        assert known_sessions(instance) == set(NAMES.values())
        after = told(instance, settings, GOOD, NAMES[GOOD])
    assert repr(after) == repr(before[GOOD])


def test_a_session_with_a_run_or_a_backfill_that_goes_on_keeps_its_name_until_then(settings, monkeypatch):
    said = []
    with open_instance(settings) as instance:
        tags = {"dagster/partition": str(NEW)}
        instance.add_run(dg.DagsterRun("process_session", "a run", tags=tags, status=dg.DagsterRunStatus.STARTED))
        labs = labs_by_subject(find_sessions(settings.root))
        monkeypatch.setattr("meso_assets.runs.instance.renaming.backfills_go_on", lambda _: True)
        assert list(rename_all(instance, labs, said.append)) == []
        monkeypatch.undo()
        assert {one.old for one in rename_all(instance, labs, said.append)} == {str(GOOD), str(BAD)}
        assert known_sessions(instance) == {NAMES[GOOD], NAMES[BAD], str(NEW)}
        assert add_sessions(instance, [NEW]) == {NEW: str(NEW)}
    assert "until the backfill has ended" in said[0]
    assert f"{NEW} keeps this name until its run has ended" in said[1]


def test_what_was_told_of_a_failed_session_is_known_by_its_new_name(settings):
    with open_ledger(settings.home) as ledger:
        ledger.failing = {str(BAD): {"frame_times": "pulses are missing"}, "audit_sessions": {"audit_sessions": "why"}}
        ledger.save()
    bring_names_up_to_date(settings, find_sessions(settings.root), pytest.fail)
    with open_ledger(settings.home) as ledger:
        assert set(ledger.failing) == {NAMES[BAD], "audit_sessions"}


def test_sessions_of_a_subject_that_a_second_lab_gets_are_told_apart_at_the_next_start():
    first, second = SessionKey("SP036", "2023-03-01", "001", "labA"), SessionKey("SP036", "2023-03-01", "001", "labB")
    with dg.DagsterInstance.ephemeral() as instance:
        assert add_sessions(instance, [first]) == {first: first.name}
        instance.report_runless_asset_event(dg.AssetMaterialization("frame_times", partition=first.name))
        both = labs_by_subject([first, second])
        assert add_sessions(instance, [first, second]) == {first: first.name, second: second.name_with_lab}
        (done,) = rename_all(instance, both, pytest.fail)
        assert (done.old, done.new, done.n_events) == (first.name, first.name_with_lab, 1)
        assert add_sessions(instance, [first, second]) == {key: key.name_with_lab for key in (first, second)}
        third = replace(first, number="002")
        assert add_sessions(instance, [first, third], both)[third] == third.name_with_lab
