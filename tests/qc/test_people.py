"""What people say of a session: kept with its history, never changed by a machine, and read by both gates."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor

import dagster as dg
import pytest
from click.testing import CliRunner

from meso_assets.cli import group
from meso_assets.definitions import build_defs
from meso_assets.defs.alyx.gate import failed_versions, withheld_by_qc
from meso_assets.defs.dagster_internals import last_seen
from meso_assets.defs.declare import PEOPLE
from meso_assets.defs.person import say_of_session
from meso_assets.io.resources import Platform
from meso_assets.runs.run import register_sessions
from meso_assets.runs.settings.settings import load_settings
from meso_core.archive import Override, removal_plan
from meso_core.errors import InputFileError, SettingsError
from meso_core.qc import QCResult, Verdict, judge, parse_limits, qc_path, results_to_json
from meso_core.review import PERSON_VERDICTS, keep_person_verdict, person_verdicts, sayings, session_quality
from meso_core.session import SessionKey
from meso_core.storage import Basis, MadeBy, Session, open_store

KEY = SessionKey("SP035", "2023-03-03", "001")
ASSETS = ("imaging_metadata", "frame_times", "rois", "roi_brain_locations", "session_qc")
GOOD = judge("light_lost", 0.1, "little", "here", "FOV_00")
BAD_TRACES = judge("traces_are_finite", 3, "three", "here", "FOV_00")
NO_TIMES = QCResult("pulse_intervals_match_scanimage", Verdict.FAIL, 1.0, 0.1, "a pulse is missing", "here")


@pytest.fixture
def session(tmp_path, monkeypatch):
    monkeypatch.setenv("MESO_ROOT", str(tmp_path / "sessions"))
    monkeypatch.setenv("MESO_HOME", str(tmp_path / "home"))
    store = open_store(tmp_path / "sessions")
    (tmp_path / "sessions" / str(KEY) / "raw_imaging_data_00").mkdir(parents=True)
    made = Session(KEY, store.local(KEY), store)
    publish(made, "session_qc", GOOD)
    return made


def publish(session, asset, *results):
    staging = session.stage(asset)
    staging.write(qc_path(asset), results_to_json(results).encode())
    staging.write(f"alf/{asset}.txt", repr(results).encode())
    return session.publish(staging.seal(), Basis("1"), MadeBy("by hand"))


def meso(*arguments):
    return CliRunner().invoke(group, arguments)


def test_each_verdict_stays_in_the_history_and_the_last_that_is_no_note_is_in_force(session):
    for says, note in (("accept", ""), ("reject", "bubble"), ("note", "look at FOV_02")):
        keep_person_verdict(session.path, says, "Ada", note, {"rois": "1234"})
    quality = session_quality(session.path)
    assert [one.says for one in quality.people] == ["accept", "reject", "note"]
    assert (quality.person.says, quality.person.note, quality.person.versions) == ("reject", "bubble", {"rois": "1234"})
    assert len({one.version for one in quality.people}) == 3, "each is an input with a version of its own"
    assert person_verdicts(session.path)[0].version == quality.people[0].version


def test_machines_that_judge_again_leave_what_a_person_said(session):
    keep_person_verdict(session.path, "reject", "Ada", "bubble")
    before = (session.path / PERSON_VERDICTS).read_bytes()
    publish(session, "session_qc", GOOD, BAD_TRACES)
    assert (session.path / PERSON_VERDICTS).read_bytes() == before


def test_people_who_speak_at_the_same_time_are_all_heard(session):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda k: keep_person_verdict(session.path, "note", f"P{k}", "seen"), range(24)))
    assert {one.who for one in person_verdicts(session.path)} == {f"P{k}" for k in range(24)}


@pytest.mark.parametrize(
    ("says", "who", "note", "named"),
    [
        ("accept", " ", "", "Give your name"),
        ("reject", "Ada", " ", "Give the reason"),
        ("note", "Ada", "", "Give the reason"),
        ("fine", "Ada", "", "accept, reject, note"),
    ],
)
def test_who_and_why_are_asked_for(session, says, who, note, named):
    with pytest.raises(SettingsError, match=named):
        keep_person_verdict(session.path, says, who, note)
    assert person_verdicts(session.path) == ()


def test_what_has_failed_is_accepted_with_a_reason_alone(session):
    say_of_session(session, "accept", "Ada", "", {})
    publish(session, "session_qc", BAD_TRACES)
    with pytest.raises(SettingsError, match="traces_are_finite first"):
        say_of_session(session, "accept", "Ada", "", {})
    assert say_of_session(session, "accept", "Ada", "not used", {}).versions.keys() == {"session_qc"}


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"says": "accept"}', '{"says":"x","who":"A","note":"","at":"","versions":{}}']
)
def test_a_damaged_record_is_named_and_closes_the_gates(session, text):
    keep_person_verdict(session.path, "accept", "Ada")
    (session.path / PERSON_VERDICTS).write_text(text + "\n")
    for ask in (person_verdicts, session_quality, lambda path: withheld_by_qc(session, ASSETS)):
        with pytest.raises(InputFileError, match="meso qc set"):
            ask(session.path)
    with pytest.raises(InputFileError, match="meso qc set"):
        removal_plan(session.path, "motion_registered_frames", archive_asset="imaging_frames_archive")


def test_a_reject_keeps_everything_from_alyx_whatever_was_allowed_and_an_accept_lets_it_go(session):
    assert withheld_by_qc(session, ASSETS).why == {}
    say_of_session(session, "reject", "Ada", "bubble", {})
    why = withheld_by_qc(session, ASSETS).why
    assert set(why) == set(ASSETS)
    assert all("rejected by Ada" in one and "bubble" in one for one in why.values())
    say_of_session(session, "accept", "Bob", "", {})
    assert withheld_by_qc(session, ASSETS).why == {}


def test_a_failed_verdict_on_the_session_speaks_against_the_result_that_it_is_about_and_what_is_made_of_it(session):
    publish(session, "rois")
    publish(session, "session_qc", GOOD, BAD_TRACES)
    assert set(failed_versions(session)) == {"rois"}
    assert set(withheld_by_qc(session, ASSETS).why) == {"rois", "roi_brain_locations", "session_qc"}


def test_an_accept_covers_what_its_person_has_seen_and_nothing_that_is_made_later(session):
    publish(session, "frame_times", NO_TIMES)
    assert "frame_times" in withheld_by_qc(session, ASSETS).why
    say_of_session(session, "accept", "Ada", "the last minute is not used", {})
    found = withheld_by_qc(session, ASSETS)
    assert found.why == {}
    assert (found.override.who, found.override.why) == ("Ada", "the last minute is not used")
    assert "frame_times" in found.allowed
    publish(session, "frame_times", NO_TIMES, NO_TIMES)
    assert "frame_times" in withheld_by_qc(session, ASSETS).why, "made again, and failed again"


def test_a_reject_keeps_raw_tifs_even_where_somebody_overrides_and_an_accept_opens_nothing_else(session):
    def obstacles(override=None):
        plan = removal_plan(
            session.path, "motion_registered_frames", archive_asset="imaging_frames_archive", override=override
        )
        assert not plan.allowed
        return {one.where: one.can_be_overridden for one in plan.obstacles}

    usual = obstacles()
    say_of_session(session, "reject", "Ada", "bubble", {})
    assert obstacles(Override("Bob", "need room")) == {**usual, "verdict of a person": False}
    say_of_session(session, "accept", "Bob", "it is fine", {})
    assert obstacles() == usual


def test_a_limit_of_a_lab_closes_both_gates_without_anything_being_made_again(session):
    strict = parse_limits({"light_lost": {"warning": 0.01, "fail": 0.05}})
    assert "motion_registered_frames" in failed_versions(session, strict)
    plan = removal_plan(session.path, "motion_registered_frames", archive_asset="imaging_frames_archive", limits=strict)
    assert "check light_lost of FOV_00" in {one.where for one in plan.obstacles}
    assert failed_versions(session) == {}


def test_meso_qc_shows_verdicts_and_people_and_its_status_tells_whether_the_session_is_bad(session):
    told = meso("qc", str(KEY))
    assert told.exit_code == 0, told.output
    assert "light_lost" in told.output
    publish(session, "session_qc", BAD_TRACES)
    assert meso("qc", str(KEY)).exit_code == 1
    assert meso("qc", "set", str(KEY), "accept", "--by", "Ada").exit_code == 1, "a reason is wanted"
    assert meso("qc", "set", str(KEY), "accept", "--by", "Ada", "--note", "not used").exit_code == 0
    accepted = meso("qc", str(KEY))
    assert accepted.exit_code == 0
    assert "accepted by Ada" in accepted.output
    publish(session, "session_qc", BAD_TRACES, BAD_TRACES)
    assert meso("qc", str(KEY)).exit_code == 1, "made again, and failed again"


def test_meso_qc_as_json_tells_of_each_verdict_its_unit_limit_and_how_to_read_it(session, monkeypatch):
    keep_person_verdict(session.path, "reject", "Ada", "bubble")
    monkeypatch.setenv("MESO_QC_LIMITS", '{"light_lost": {"warning": 0.05}}')
    told = json.loads(meso("qc", str(KEY), "--json").stdout)
    (one,) = told["results"]
    assert (one["check"], one["verdict"], one["value"], one["threshold"]) == ("light_lost", "WARNING", 0.1, 0.05)
    assert (one["unit"], one["fov"], one["asset"], one["origin"]) == ("of the light", "FOV_00", "session_qc", "here")
    assert one["how_to_read"].startswith("Light of the last third")
    assert (told["verdict"], told["person"]["says"]) == ("WARNING", "reject")


def test_the_index_over_all_sessions_tells_what_a_person_says(session, tmp_path):
    keep_person_verdict(session.path, "reject", "Ada", "bubble <under> the objective")
    told = meso("report", "--index", "--output", str(tmp_path / "index.html"))
    assert told.exit_code == 0, told.output
    page = (tmp_path / "index.html").read_text()
    (cell,) = re.findall(r'<td class="said fail" data-value="0">(.*?)</td>', page)
    assert re.sub(r"<[^>]*>", "", cell).startswith("✕ rejectedAda, 20")
    assert "bubble &lt;under&gt; the objective" in cell


def test_the_job_of_the_interface_keeps_it_too_and_tells_it_in_the_log_of_the_asset(session):
    settings = load_settings()
    said = {"says": "reject", "who": "Ada", "note": "bubble"}
    with dg.DagsterInstance.ephemeral() as instance:
        register_sessions(instance, Platform.open(settings), [KEY])
        job = build_defs(settings).resolve_job_def("judge_session_by_hand")
        config = {"ops": {"verdict_of_a_person": {"config": said}}, "loggers": {"readable": {}}}
        assert job.execute_in_process(instance=instance, partition_key=str(KEY), run_config=config).success
        (told,) = instance.fetch_observations(dg.AssetKey("session_qc"), limit=2).records
        seen = last_seen(instance, PEOPLE, str(KEY))
        bad = {"ops": {"verdict_of_a_person": {"config": {**said, "note": ""}}}, "loggers": {"readable": {}}}
        failed = job.execute_in_process(instance=instance, partition_key=str(KEY), run_config=bad, raise_on_error=False)
        assert not failed.success, "why is asked for there too"
    (kept,) = person_verdicts(session.path)
    assert (kept.says, kept.who, kept.note) == ("reject", "Ada", "bubble")
    assert told.asset_observation.partition == str(KEY)
    assert told.asset_observation.metadata["version"].value == kept.version
    assert seen == sayings(session.path).version, "Dagster knows the version of the input"
