"""The asset that tells Alyx whether a session is good: as far as the setting goes, also where the session is bad."""

import io
import json

import pytest
from PIL import Image

from meso_assets.defs.standing.standings import look_at
from meso_core.qc import Verdict, judge, qc_path, results_to_json
from meso_core.review import keep_person_verdict
from meso_core.storage import Basis, MadeBy

pytest_plugins = ["tests.alyx.one_lab"]

ASSET = "alyx_session_qc"
MAP = "reports/figures/fovs_dorsal.png"


def picture(grey):
    content = io.BytesIO()
    Image.new("L", (4, 3), grey).save(content, "PNG")
    return content.getvalue()


def publish_map(lab, atlas, grey=3):
    """Publish the picture of the fields of view, with a verdict, as they are located in an atlas."""
    staging = lab.session.stage("mean_image_mlapdv")
    staging.write(MAP, picture(grey))
    staging.write(
        qc_path("mean_image_mlapdv"), results_to_json((judge("fov_inside_brain", 0.1, "x", "here"),)).encode()
    )
    lab.session.publish(staging.seal(), Basis("1", settings={"atlas": atlas}), MadeBy("by hand"))


def quality(lab):
    (row,) = lab.given.rows("sessions")
    held = lab.given.call("GET", f"sessions/{row['id']}")
    return held["qc"], held["extended_qc"]


def notes(lab):
    (row,) = lab.given.rows("sessions")
    return lab.given.rows(f"notes?django=object_id,{row['id']}")


def written(lab):
    return [one for one in lab.given.stand_in.requests if one[0] in ("POST", "PATCH", "PUT", "DELETE")]


def is_current(lab):
    settings = lab.settings
    return look_at(lab.session).standings(settings)[ASSET].is_current


def test_a_session_that_failed_is_told_as_such_and_a_second_run_writes_nothing(one_lab):
    one_lab.publish_times(b"first", Verdict.FAIL)
    assert one_lab.run(ASSET)["state"] == "registered"
    qc, extended = quality(one_lab)
    assert (qc, extended["mesoscope"], extended["_mesoscope_a_check"][0]) == ("FAIL", "FAIL", "FAIL")
    before = len(written(one_lab))
    one_lab.run(ASSET)
    assert [one for one in written(one_lab)[before:] if one[1] != "auth-token"] == []


def test_a_word_of_a_person_makes_it_stale_and_the_next_run_tells_it(one_lab):
    one_lab.publish_times(b"first", Verdict.FAIL)
    one_lab.run(ASSET)
    assert is_current(one_lab)
    for says, qc in (("reject", "CRITICAL"), ("accept", "PASS")):
        versions = {name: made.data_version for name, made in one_lab.session.manifests().items()}
        keep_person_verdict(one_lab.folder, says, "Ada", "seen", versions)
        assert not is_current(one_lab)
        one_lab.run(ASSET)
        assert quality(one_lab)[0] == qc
        assert is_current(one_lab)
    assert quality(one_lab)[1]["_mesoscope_person"][:2] == ["accept", "Ada"]


@pytest.mark.parametrize("how", ["off", "dry-run"])
def test_nothing_is_sent_before_it_is_asked_for(one_lab, how):
    one_lab.publish_times(b"first", Verdict.FAIL)
    publish_map(one_lab, "allen")
    assert one_lab.run(ASSET, alyx=how) == {}
    assert quality(one_lab) == ("NOT_SET", None)
    assert notes(one_lab) == []
    kept = json.loads((one_lab.folder / "alyx/session_qc.json").read_text())
    assert (kept["qc"], kept["picture"]) == ("FAIL", MAP)
    plans = one_lab.folder / "alyx/session_qc.plan.json"
    assert plans.is_file() == (how == "dry-run")


def test_the_picture_goes_with_the_words_and_nothing_of_the_phantom(one_lab):
    publish_map(one_lab, "phantom")
    one_lab.run(ASSET)
    assert quality(one_lab) == ("NOT_SET", None), "nothing else was judged"
    assert notes(one_lab) == []
    publish_map(one_lab, "allen")
    one_lab.run(ASSET)
    assert quality(one_lab)[0] == "WARNING"
    (note,) = notes(one_lab)
    assert note["image"]
    assert "WARNING fov_inside_brain: x" in note["text"]


def test_no_picture_of_a_session_goes_that_a_person_has_rejected_but_the_word_does(one_lab):
    publish_map(one_lab, "allen")
    keep_person_verdict(one_lab.folder, "reject", "Ada", "bubble")
    one_lab.run(ASSET)
    assert quality(one_lab)[0] == "CRITICAL"
    assert notes(one_lab) == []


def test_plan_and_audit_show_what_alyx_does_not_hold_of_it(one_lab):
    one_lab.publish_times(b"first", Verdict.FAIL)
    publish_map(one_lab, "allen")
    told = one_lab.meso("alyx", "plan", one_lab.key).output
    assert "session qc: would change 1 session" in told
    assert "qc: 'NOT_SET' → 'FAIL'" in told
    assert "report: would create 1 note" in told
    audit = one_lab.meso("alyx", "audit", one_lab.key).output
    assert f"differs      session {one_lab.key}" in audit
    assert f"Run {ASSET} of {one_lab.key} with MESO_ALYX=online." in audit
    one_lab.run(ASSET)
    after = one_lab.meso("alyx", "audit", one_lab.key).output
    assert ASSET not in after
