"""What may be sent: published files that are datasets, but for what the phantom made or quality control forbids."""

import json

import pytest
from test_alyx_fov import KEY

from meso_core.alyx import (
    Action,
    Kind,
    Registration,
    Sent,
    State,
    allow,
    ended,
    failed_checks,
    files_to_register,
    forbidding,
    override_of,
    plan_datasets,
    registered,
    stage_revisions,
)
from meso_core.errors import InputFileError, SettingsError
from meso_core.qc import QCResult, Verdict, qc_path, results_to_json
from meso_core.session import ListedFile
from meso_core.storage import Basis, MadeBy, Session, hash_file, open_store

pytest_plugins = ["tests.alyx.one_session"]

ASSETS = ("rois", "frame_times", "mean_image_mlapdv", "never_made")


@pytest.fixture
def session(tmp_path):
    store = open_store(tmp_path / "sessions")
    (tmp_path / "sessions" / str(KEY)).mkdir(parents=True)
    session = Session(KEY, store.local(KEY), store)
    publish(session, "rois", "alf/FOV_00/mpci.ROIActivityF.npy", "suite2p/plane0/ops.npy", verdict=Verdict.FAIL)
    publish(session, "frame_times", "alf/FOV_00/mpci.times.npy", verdict=Verdict.WARNING)
    publish(session, "mean_image_mlapdv", "alf/FOV_00/mpciMeanImage.mlapdv_estimate.npy", atlas="phantom")
    return session


def publish(session, asset, *paths, verdict=None, atlas=None):
    staging = session.stage(asset)
    for path in paths:
        staging.write(path, f"content of {path}".encode())
    if verdict is not None:
        result = QCResult("a_check", verdict, 1, 0, "seen", "here")
        staging.write(qc_path(asset), results_to_json((result,)).encode())
    basis = Basis("1", settings={} if atlas is None else {"atlas": atlas})
    return session.publish(staging.seal(), basis, MadeBy("by hand"))


def test_datasets_are_chosen_with_hash_and_quality_and_all_else_is_left_out_with_its_reason(session):
    own = files_to_register(session, ASSETS, {})
    content = hash_file(session.path / "alf/FOV_00/mpci.times.npy")
    (times,) = (file for file in own.files if file.asset == "frame_times")
    assert (times.path, times.size, times.md5, times.qc) == (
        "alf/FOV_00/mpci.times.npy",
        content.size,
        content.md5,
        "WARNING",
    )
    assert set(own.left_out) == {
        "suite2p/plane0/ops.npy",
        "reports/qc/rois.json",
        "reports/qc/frame_times.json",
        "alf/FOV_00/mpciMeanImage.mlapdv_estimate.npy",
    }
    assert own.not_made == ("never_made",)


def test_what_the_phantom_made_stays_out_whatever_a_person_allows(session):
    allow(
        session.path, "Ada", "for the demo", {"mean_image_mlapdv": session.manifest("mean_image_mlapdv").data_version}
    )
    own = files_to_register(session, ASSETS, {})
    assert "mpciMeanImage.mlapdv_estimate.npy" not in {file.name for file in own.files}
    assert "phantom" in own.withheld["mean_image_mlapdv"]


def test_what_failed_quality_control_stays_out_and_says_why(session):
    from meso_core.qc import stored_results

    refused = forbidding(failed_checks(stored_results(session.path)), ASSETS, {})
    assert set(refused) == {"rois"}, "a warning forbids nothing"
    own = files_to_register(session, ASSETS, refused)
    assert {file.asset for file in own.files} == {"frame_times"}
    assert "a_check: seen" in own.withheld["rois"]


def test_what_was_made_from_what_failed_stays_out_too_and_names_it():
    reads = {"b": ("a",), "c": ("b",), "d": ("x",)}
    found = forbidding({"a": "a failed (why)"}, ["a", "b", "c", "d"], reads)
    assert set(found) == {"a", "b", "c"}
    assert found["a"] == "a failed (why)"
    assert "c is made from" in found["c"]
    assert "a failed (why)" in found["c"]


def test_an_override_names_who_and_why_and_for_what_and_is_kept(session):
    assert override_of(session.path) is None
    allow(session.path, "Ada", "seen, is fine", {"rois": "1234"})
    kept = override_of(session.path)
    assert (kept.who, kept.why, kept.versions) == ("Ada", "seen, is fine", {"rois": "1234"})
    for who, why in (("", "fine"), ("Ada", " ")):
        with pytest.raises(SettingsError, match="name and the reason"):
            allow(session.path, who, why, {})


def test_an_override_that_does_not_say_for_what_it_was_given_allows_nothing(session):
    file = session.path / ".meso/alyx/override.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text('{"who": "Ada", "why": "seen", "at": "2024-05-01T10:00:00Z"}')
    assert override_of(session.path).versions == {}


@pytest.mark.parametrize("text", ["[]", '{"who": "Ada", "why": "", "at": ""}', '{"who": 5, "why": "a", "at": ""}', "{"])
def test_a_damaged_override_is_named(session, text):
    allow(session.path, "Ada", "seen, is fine", {})
    (session.path / ".meso/alyx/override.json").write_text(text)
    with pytest.raises(InputFileError, match="meso alyx allow"):
        override_of(session.path)


def test_reference_images_that_the_rig_left_are_registered_as_they_are(session):
    path = "raw_imaging_data_00/reference/referenceImage.raw.tif"
    (session.path / path).parent.mkdir(parents=True)
    (session.path / path).write_bytes(b"a tif")
    other = "raw_imaging_data_00/reference/reference_00001.tif"
    listed = [ListedFile(path, 5, 0), ListedFile(other, 5, 0)]
    own = files_to_register(session, ASSETS, {}, listed)
    assert [file.md5 for file in own.files if file.path == path] == [hash_file(session.path / path).md5]
    assert other not in {file.path for file in own.files}


def test_a_revision_is_copied_to_where_one_looks_for_it_but_not_into_folders_of_the_rig(session):
    staging = session.stage("alyx_datasets")
    revised = "alf/FOV_00/#2024-05-01#/mpci.times.npy"
    raw = "raw_imaging_data_00/imaging.frames.tar.bz2"
    activity = "alf/FOV_00/mpci.ROIActivityF.npy"
    sent = [
        Sent(Kind.DATASET, "alf/FOV_00/mpci.times.npy", "1", Action.CREATE, path=revised),
        Sent(Kind.DATASET, raw, "2", Action.CREATE, path=f"raw_imaging_data_00/#2024-05-01#/{raw.partition('/')[2]}"),
        Sent(Kind.DATASET, activity, "3", Action.NOTHING, path=activity),
    ]
    own = files_to_register(session, ("frame_times",), {})
    stage_revisions(staging, session, own, sent, ())
    (file,) = staging.seal().files
    assert file.path == revised
    assert file.sha256 == hash_file(session.path / "alf/FOV_00/mpci.times.npy").sha256


def test_a_server_that_goes_away_leaves_a_record_that_waits_and_the_next_finishes(session, lab, lab_server, connection):
    own = files_to_register(session, ASSETS, {})

    def plan(client):
        return plan_datasets(own, client, repository=lab.repository, today="2024-05-01")

    connection.rest("sessions", "list")
    lab_server.stop()
    away = registered([plan], connection, session.path)
    assert (away.state, away.did_nothing) == (State.PENDING, False)
    assert "no connection" in away.reason
    record = publish_record(session, away)
    assert ended(session.path, record.files).since == away.since
    lab_server.start()
    back = registered([plan], connection, session.path)
    assert back.state is State.REGISTERED
    assert ended(session.path, publish_record(session, back).files).state is State.REGISTERED
    again = registered([plan], connection, session.path)
    assert again.did_nothing
    assert again.to_json() == back.to_json(), "the same records, the same bytes"


def publish_record(session, registration):
    staging = session.stage("alyx_datasets")
    staging.write("alyx/datasets.sent.json", registration.to_json().encode())
    return session.publish(staging.seal(), Basis("1"), MadeBy("by hand"))


def test_a_record_holds_ids_and_links_and_no_secret(session, lab, connection):
    own = files_to_register(session, ASSETS, {})
    found = registered(
        [lambda client: plan_datasets(own, client, repository=lab.repository, today="2024-05-01")],
        connection,
        session.path,
    )
    body = json.loads(found.to_json())
    assert body["state"] == "registered"
    assert {record["id"] for record in body["records"]} == {row["url"][-36:] for row in lab.rows("datasets")}
    assert lab.password not in found.to_json()
    assert "Token" not in found.to_json()


def test_a_withheld_part_says_so(session):
    told = Registration(State.WITHHELD, "the phantom")
    assert told.summary == "withheld: the phantom"
    assert json.loads(told.to_json())["records"] == []
