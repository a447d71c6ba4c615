"""The verdict on a session in Alyx: sent once, beside what others have written, and never better than a worse word."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meso_core.alyx import Action, carry_out, plan_report_note, plan_session_qc, register, session_verdict
from meso_core.errors import AlyxError, StalePlanError
from meso_core.qc import QCResult, Verdict, judge
from meso_core.review import PersonVerdict, SessionQuality

VERSIONS = {"frame_times": "1", "rois": "1", "session_qc": "1"}
GOOD = judge("light_lost", 0.1, "little", "here", "FOV_00")
DIM = judge("light_lost", 0.31234567891, "a third is gone", "here", "FOV_01")
LATE = QCResult("frames_match_pulses", Verdict.FAIL, 3, 0, "three pulses are missing", "here")
OUTSIDE = judge("fov_inside_brain", 0.5, "half is outside", "here", "FOV_00")
REJECT = PersonVerdict("reject", "Ada", "bubble", "2024-03-02T09:00:00Z", {})
ACCEPT = PersonVerdict("accept", "Bob", "not used", "2024-03-03T09:00:00Z", VERSIONS)


def verdict(key, results=None, people=(), versions=VERSIONS, **more):
    results = {"session_qc": (GOOD, DIM)} if results is None else results
    return session_verdict(SessionQuality(results, tuple(people)), versions, key, **more)


@pytest.fixture
def told(site, ours, client):
    """A session at a server, and telling it of its quality."""

    class Told:
        key, eid, folder = ours.key, ours.eid, ours.folder
        connection = client()

        def held(self):
            row = site.call("GET", f"/sessions/{self.eid}")
            return row["qc"], row["extended_qc"]

        def notes(self):
            return sorted(site.rows(f"notes?django=object_id,{self.eid}"), key=lambda row: row["text"])

        def set(self, **fields):
            site.call("PATCH", f"/sessions/{self.eid}", json=fields)

        def plan(self, one, make=plan_session_qc):
            return make(one, self.connection)

        def send(self, one, make=plan_session_qc):
            return register(lambda: make(one, self.connection), self.connection, self.folder, wait=lambda _: None)

        def pictured(self, path="snapshots/b.jpg", digest="a" * 64, **more):
            return replace(verdict(self.key, **more), picture=path, sha256=digest)

    return Told()


def test_the_quality_and_each_check_go_once(told):
    plan, _ = told.send(verdict(told.key))
    assert plan.summary == "would change 1 session"
    qc, extended = told.held()
    assert qc == "WARNING"
    assert extended == {
        "mesoscope": "WARNING",
        "_mesoscope_light_lost": ["WARNING", 0.312346, 0.25, "FOV_01"],
        "_mesoscope_qc": "WARNING",
    }
    before = told.connection.n_requests
    again, outcome = told.send(verdict(told.key))
    assert again.is_empty
    assert outcome.summary == "nothing to do"
    assert told.connection.n_requests - before == 2, "the session is found and read; nothing is written"


def test_what_others_wrote_stays_and_our_checks_that_are_no_more_go(told):
    others = {"task": "PASS", "_task_delays": 0.9, "experimenter": "FAIL", "mesoscopeX": 1}
    told.set(extended_qc={**others, "_mesoscope_gone_since": ["PASS", 1, 2, None], "mesoscope_person": "CRITICAL"})
    told.send(verdict(told.key))
    extended = told.held()[1]
    assert {key: value for key, value in extended.items() if key in others} == others
    assert extended.keys() - others.keys() == {"mesoscope", "_mesoscope_light_lost", "_mesoscope_qc"}


def test_entries_of_an_earlier_send_are_all_that_ibllib_sums_up(told):
    """It takes the worst of the keys without an underscore, each of which must be an outcome."""
    told.send(verdict(told.key, people=[ACCEPT]))
    summed = [value for key, value in told.held()[1].items() if not key.startswith("_")]
    assert sorted(summed) == ["PASS", "WARNING"]


@pytest.mark.parametrize(
    ("there", "results", "then"),
    [
        ("NOT_SET", (GOOD,), "PASS"),
        ("PASS", (LATE,), "FAIL"),
        ("CRITICAL", (LATE,), "CRITICAL"),
        ("FAIL", (GOOD,), "FAIL"),
        ("PASS", (GOOD,), "PASS"),
    ],
)
def test_a_quality_that_somebody_else_has_set_gives_way_to_a_worse_one_alone(told, there, results, then):
    told.set(qc=there)
    plan, _ = told.send(verdict(told.key, {"frame_times": results}))
    assert told.held()[0] == then
    assert bool(plan.remarks) == (then == there != plan_value(results))
    assert told.plan(verdict(told.key, {"frame_times": results})).is_empty, "a second look finds nothing to do"


def plan_value(results):
    return max(one.verdict for one in results).name


def test_a_quality_of_ours_may_become_better(told):
    told.send(verdict(told.key, {"frame_times": (LATE,)}))
    told.send(verdict(told.key, {"frame_times": (GOOD,)}))
    assert told.held()[0] == "PASS"
    told.set(qc="FAIL")
    told.send(verdict(told.key, {"frame_times": (GOOD,)}))
    assert told.held()[0] == "FAIL", "somebody has set it since"


@pytest.mark.parametrize(
    ("people", "versions", "qc"),
    [
        ((), VERSIONS, "FAIL"),
        ((ACCEPT,), VERSIONS, "PASS"),
        ((ACCEPT,), {**VERSIONS, "frame_times": "2"}, "FAIL"),
        ((ACCEPT,), {**VERSIONS, "session_qc": "2"}, "WARNING"),
        ((ACCEPT, REJECT), VERSIONS, "CRITICAL"),
        ((REJECT, ACCEPT), VERSIONS, "PASS"),
        ((ACCEPT, PersonVerdict("note", "Cem", "tilted", "2024-03-04T09:00:00Z", {})), VERSIONS, "PASS"),
    ],
)
def test_what_a_person_says_counts_first_and_an_accept_covers_what_was_seen(told, people, versions, qc):
    one = verdict(told.key, {"frame_times": (LATE,), "session_qc": (DIM,)}, people, versions)
    told.send(one)
    held, extended = told.held()
    assert held == qc
    assert extended["mesoscope"] == "FAIL", "what machines found stays beside it"
    said = next((one for one in reversed(people) if one.says != "note"), None)
    assert extended.get("mesoscope_person") == (said and {"accept": "PASS", "reject": "CRITICAL"}[said.says])
    assert extended.get("_mesoscope_person") == (said and [said.says, said.who, said.at, said.note])


def test_nothing_is_told_of_what_was_made_with_the_phantom(told):
    results = {"mean_image_mlapdv": (OUTSIDE,), "session_qc": (GOOD, OUTSIDE)}
    one = verdict(told.key, results, unsaid={"mean_image_mlapdv": "phantom"})
    assert (one.qc, [key for key in one.extended if "brain" in key]) == ("PASS", [])
    assert "fov_inside_brain" not in one.text
    assert verdict(told.key, results).qc == "FAIL"
    assert verdict(told.key, {}).qc == "NOT_SET"


def test_a_value_that_is_no_number_is_null(told):
    one = QCResult("noise_level", Verdict.WARNING, float("nan"), float("inf"), "no cells", "here")
    told.send(verdict(told.key, {"session_qc": (one,)}))
    assert told.held()[1]["_mesoscope_noise_level"] == ["WARNING", None, None, None]


@pytest.mark.parametrize("odd", ["a text", [1, 2], 3])
def test_an_extended_qc_that_is_no_table_is_left_to_a_person(told, odd):
    told.set(extended_qc=odd)
    (one,) = told.plan(verdict(told.key)).conflicts
    assert "correct it in Alyx" in one.why
    with pytest.raises(AlyxError, match="correct it in Alyx"):
        told.send(verdict(told.key))
    assert told.held()[1] == odd


def test_a_plan_does_not_overwrite_what_came_after_it(told):
    plan = told.plan(verdict(told.key))
    told.set(extended_qc={"task": "PASS"})
    with pytest.raises(StalePlanError):
        carry_out(plan, told.connection)
    told.send(verdict(told.key))
    assert told.held()[1]["task"] == "PASS"


def test_the_note_holds_the_picture_and_the_verdicts_in_words_and_is_made_once(told):
    one = told.pictured()
    told.send(one, plan_report_note)
    (note,) = told.notes()
    assert note["image"]
    lines = note["text"].splitlines()
    assert lines[0] == f"Session report of {told.key.name}. Look: 1 of 2 verdicts asks for a look."
    assert lines[1] == "WARNING light_lost (FOV_01): a third is gone"
    assert told.plan(one, plan_report_note).is_empty


def test_another_word_changes_the_text_of_the_note_alone_also_where_no_picture_may_go(told):
    told.send(told.pictured(), plan_report_note)
    (before,) = told.notes()
    for one in (told.pictured(people=[ACCEPT]), verdict(told.key, people=[REJECT])):
        told.send(one, plan_report_note)
        (after,) = told.notes()
        assert (after["id"], after["text"]) == (before["id"], one.text)
    assert "rejected by Ada" in after["text"]


def test_another_picture_is_another_note_and_the_earlier_one_says_so(told):
    told.send(told.pictured(), plan_report_note)
    newer = told.pictured("raw_imaging_data_00/snapshots/a.png", "b" * 64)
    told.send(newer, plan_report_note)
    texts = [note["text"] for note in told.notes()]
    assert texts == ["Another note holds the report of this session as it is now.", newer.text]
    assert told.plan(newer, plan_report_note).is_empty


def test_without_a_picture_that_may_go_no_note_is_made_and_notes_of_others_stay(told, site):
    site.call(
        "POST",
        "/notes",
        json={"user": site.user, "content_type": "session", "object_id": told.eid, "text": "mine", "json": None},
    )
    told.send(verdict(told.key), plan_report_note)
    told.send(told.pictured(), plan_report_note)
    assert sorted(note["text"] == "mine" for note in told.notes()) == [False, True]


def test_plans_of_pictures_and_of_the_report_do_not_see_each_others_notes(told, ours):
    ours.register(told.connection, "snapshots")
    told.send(told.pictured(), plan_report_note)
    assert ours.plans(told.connection)["snapshots"].is_empty
    actions = [one.action for one in told.plan(told.pictured(), plan_report_note).records]
    assert actions == [Action.NOTHING]
