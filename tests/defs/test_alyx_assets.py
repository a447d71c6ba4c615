"""The assets of group alyx: what is published of an earlier registration stays, whatever the next one ends as."""

import pytest

from meso_assets.assets.registering import _why_again
from meso_assets.defs.standing.standings import look_at
from meso_assets.runs.reproduce import reproduce
from meso_core.alyx import withheld
from meso_core.errors import StorageError
from meso_core.qc import Verdict
from tests.alyx.standin import faults

pytest_plugins = ["tests.alyx.one_lab"]


def test_bytes_of_protected_revisions_stay_on_disk_whatever_the_next_run_ends_as(one_lab):
    for content in (b"first", b"second", b"third"):
        one_lab.publish_times(content)
        one_lab.run()
        one_lab.protect_all()
    assert one_lab.revisions() == [b"second", b"third"], "two in a row"
    for how in ("online", "off", "dry-run"):
        one_lab.run(alyx=how)
        assert kept(one_lab) == [b"second", b"third"], how
    one_lab.publish_times(b"third", Verdict.FAIL)
    one_lab.run()
    assert kept(one_lab) == [b"second", b"third"], "withheld"
    one_lab.publish_times(b"fourth")
    one_lab.given.stand_in.stop()
    assert one_lab.run()["state"] == "pending"
    one_lab.given.stand_in.start()
    assert kept(one_lab) == [b"second", b"third"], "pending"
    one_lab.run()
    assert kept(one_lab) == [b"second", b"third", b"fourth"]


def kept(lab):
    """The revisions, of which each is on disk and in the record of the asset."""
    found = lab.revisions()
    manifest = lab.session.manifest("alyx_datasets")
    assert len([file for file in manifest.files if "/#" in file.path]) == len(found)
    return found


def test_a_revision_that_was_lost_is_named_and_the_others_stay(one_lab, capsys):
    for content in (b"first", b"second", b"third"):
        one_lab.publish_times(content)
        one_lab.run()
        one_lab.protect_all()
    lost, stays = sorted(one_lab.folder.glob("alf/FOV_00/#*#/*"))
    lost.unlink()
    one_lab.publish_times(b"fourth")
    one_lab.run()
    assert f"{lost.parent.name}/mpci.times.npy: missing; this revision is in Alyx" in capsys.readouterr().out
    assert stays.read_bytes() == b"third"
    assert one_lab.revisions() == [b"(none)", b"third", b"fourth"]
    assert f"only in Alyx dataset alf/FOV_00/{lost.parent.name}/" in one_lab.meso("alyx", "audit", one_lab.key).output


def test_a_registration_that_broke_off_leaves_its_record_also_where_an_earlier_one_was_whole(one_lab):
    one_lab.publish_times(b"first")
    assert one_lab.run()["state"] == "registered"
    (row,) = one_lab.given.rows("datasets")
    one_lab.given.call("DELETE", f"datasets/{row['url'][-36:]}")
    server = one_lab.given.stand_in
    server.faults.next("POST", "/register-file", faults.Fault(meanwhile=server.stop, drop=True))
    assert one_lab.run()["state"] == "pending", "what Alyx lacks is known, and the sensor must find it"
    server.start()
    assert one_lab.run()["state"] == "registered"
    assert len(one_lab.given.rows("datasets")) == 1


def test_a_server_that_is_away_leaves_a_whole_registration_as_it_is(one_lab):
    one_lab.publish_times(b"first")
    before = one_lab.run()
    one_lab.given.stand_in.stop()
    assert one_lab.run() == before


def names_at_the_server(one_lab):
    return {row["name"] for row in one_lab.given.rows("datasets")}


def test_what_was_made_from_what_failed_is_not_sent(one_lab):
    """The catalogue says that regions of interest are made from the registered frames."""
    one_lab.publish(
        "motion_registered_frames", "suite2p/plane0/imaging.frames_motionRegistered.bin", b"f", Verdict.FAIL
    )
    one_lab.publish("rois", one_lab.activity, b"activity", Verdict.PASS)
    one_lab.publish_times(b"first")
    one_lab.run()
    assert names_at_the_server(one_lab) == {one_lab.times.rpartition("/")[2]}


def test_an_override_holds_for_what_the_person_has_seen_and_not_for_what_is_made_later(one_lab):
    allow = ("alyx", "allow", str(one_lab.session.key), "--who", "Ada", "--why", "seen")
    assert "nothing to allow" in one_lab.meso(*allow).output
    one_lab.publish_times(b"first", Verdict.FAIL)
    one_lab.run()
    assert names_at_the_server(one_lab) == set()
    told = one_lab.meso(*allow)
    assert (told.exit_code, "frame_times as now, allowed by Ada" in told.output) == (0, True)
    one_lab.run()
    (first,) = one_lab.given.rows("datasets")
    one_lab.publish_times(b"second", Verdict.FAIL)
    one_lab.run()
    (after,) = one_lab.given.rows("datasets")
    assert after["hash"] == first["hash"], "the new content was not seen by anybody"


def test_to_make_a_result_again_beside_the_session_asks_no_server(one_lab):
    """The record is of an earlier meso, which did not note how far it went with Alyx."""
    one_lab.publish("alyx_snapshots", "alyx/snapshots.json", b"{}")
    before = len(one_lab.given.stand_in.requests)
    again = reproduce(one_lab.settings, one_lab.session, "alyx_snapshots")
    assert [file.path for file in again.files] == ["alyx/snapshots.json"]
    assert len(one_lab.given.stand_in.requests) == before


@pytest.mark.parametrize("text", ["{", "[]", '{"state": "gone"}'])
def test_a_damaged_record_is_made_again_as_its_remedy_says(one_lab, text):
    one_lab.publish_times(b"first")
    before = one_lab.run()
    (one_lab.folder / "alyx" / "datasets.sent.json").write_text(text)
    assert not look_at(one_lab.session).standings(one_lab.settings)["alyx_datasets"].is_current
    with pytest.raises(StorageError, match="somebody else"):  # what a person has written is not replaced
        one_lab.run()
    (one_lab.folder / "alyx" / "datasets.sent.json").unlink()
    assert one_lab.run() == before


def test_what_was_never_sent_is_not_told_as_gone_from_the_server(one_lab, capsys):
    one_lab.publish_times(b"first")
    for _ in range(2):
        one_lab.run(alyx="dry-run")
    told = "".join(capsys.readouterr())
    assert "the server was asked anew what would change" in told
    assert "does not hold all of it any more" not in told
    assert _why_again(withheld(["seen as bad"])) == "it may not be sent"
