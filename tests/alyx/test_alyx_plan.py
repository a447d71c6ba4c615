"""Plans: what would change is shown field by field, carried out once, and refused when the lab_server has moved on."""

from dataclasses import replace

import pytest
from test_alyx_fov import KEY, META, located

from meso_core.alyx import (
    Action,
    Kind,
    OwnFile,
    OwnFiles,
    carry_out,
    plan_craniotomy,
    plan_datasets,
    plan_fovs,
    register,
    register_fov,
    summary,
    update_surgery_json,
)
from meso_core.alyx.files.datasets import next_revision
from meso_core.errors import AlyxError, MesoWarning, SettingsError, StalePlanError
from meso_core.location import Provenance
from tests.alyx.standin import faults

pytest_plugins = ["tests.alyx.one_session"]

NAMES = ("mpci.times.npy", "mpciROIs.masks.sparse_npz", "mpciMeanImage.brainLocationIds_ccf_2017_estimate.npy")
FILES = OwnFiles(
    str(KEY),
    tuple(
        OwnFile(f"alf/FOV_{fov:02d}/{name}", 10 + i, f"{fov}{i}".rjust(32, "a"), "rois", "1.0", "PASS")
        for fov in range(3)
        for i, name in enumerate(NAMES)
    ),
    {},
)
FIRST = FILES.files[0].path


def fov_plan(connection, **where):
    return plan_fovs(register_fov(META, located(**where), session=KEY), connection)


def dataset_plan(connection, lab, files=FILES, today="2024-05-01"):
    return plan_datasets(files, connection, repository=lab.repository, today=today)


def with_content(md5, size=99):
    return replace(FILES, files=(replace(FILES.files[0], md5=md5, size=size), *FILES.files[1:]))


def test_a_plan_says_in_words_what_it_would_do_and_sends_nothing(lab, connection):
    plan = fov_plan(connection)
    assert plan.summary == "would create 1 imaging stack, 3 fields of view, 3 locations"
    assert lab.rows("fields-of-view") == []
    both = summary([plan, dataset_plan(connection, lab)])
    assert both == "would create 1 imaging stack, 3 fields of view, 3 locations, 9 datasets"


def test_carrying_out_answers_ids_and_leaves_nothing_to_do(lab, connection):
    outcome = carry_out(fov_plan(connection), connection)
    assert {one.id for one in outcome.records if one.kind is Kind.FOV} == {
        row["id"] for row in lab.rows("fields-of-view")
    }
    assert all(one.link.startswith(lab.url) for one in outcome.records)
    assert fov_plan(connection).is_empty
    carry_out(dataset_plan(connection, lab), connection)
    assert dataset_plan(connection, lab).is_empty
    assert len(lab.rows("datasets")) == 9


def test_a_change_is_told_field_by_field(connection):
    carry_out(fov_plan(connection), connection)
    plan = fov_plan(connection, shift=10.0)
    assert plan.summary == "would change 3 locations"
    assert {change.field for one in plan.work for change in one.changes} == {"x", "y", "z"}


def test_a_plan_that_is_older_than_the_server_is_refused_and_sends_nothing(lab, connection):
    plan = fov_plan(connection)
    carry_out(fov_plan(connection, provenance=Provenance.HISTOLOGY), connection)
    before = lab.rows("fov-location")
    with pytest.raises(StalePlanError, match="Make the plan again"):
        carry_out(plan, connection)
    assert lab.rows("fov-location") == before


def test_what_somebody_else_made_between_plan_and_act_is_found_not_doubled(lab_server, lab, connection, waits):
    eid = lab.rows("sessions")[0]["id"]

    def somebody():
        lab.call(
            "POST",
            "fields-of-view",
            json={"session": eid, "name": "FOV_00", "imaging_type": "mesoscope", "stack": None},
        )

    lab_server.faults.next("POST", "/fields-of-view", faults.Fault(meanwhile=somebody))
    _, outcome = register(lambda: fov_plan(connection), connection, wait=waits.append)
    assert sorted(row["name"] for row in lab.rows("fields-of-view")) == ["FOV_00", "FOV_01", "FOV_02"]
    assert len({row["id"] for row in lab.rows("imaging-stack")}) == 1
    assert fov_plan(connection).is_empty
    assert len(outcome.records) == 7


def test_a_field_of_view_that_the_session_has_not_is_marked_and_kept(lab, connection):
    eid = lab.rows("sessions")[0]["id"]
    extra = {"session": eid, "name": "FOV_07", "imaging_type": "mesoscope", "stack": None, "json": {"by": "hand"}}
    lab.call("POST", "fields-of-view", json=extra)
    with pytest.warns(MesoWarning, match="FOV_07"):
        plan = fov_plan(connection)
    assert "FOV_07" in plan.remarks[0]
    carry_out(plan, connection)
    (row,) = lab.rows("fields-of-view?name=FOV_07")
    assert row["json"] == {"by": "hand", "not_in_session": True}
    with pytest.warns(MesoWarning, match="FOV_07"):
        assert fov_plan(connection).is_empty


def test_a_region_that_the_server_has_not_is_a_conflict_before_anything_is_sent(lab, connection):
    plan = plan_fovs(register_fov(META, located(ids=(0, 123456789)), session=KEY), connection)
    assert {one.action for one in plan.records if one.kind is Kind.LOCATION} == {Action.CONFLICT}
    with pytest.raises(AlyxError, match="no brain region 123456789"):
        carry_out(plan, connection)
    assert lab.rows("fields-of-view") == []


def test_the_session_of_another_date_is_named(connection):
    other = replace(KEY, date="2023-03-04")
    with pytest.raises(AlyxError, match="number 1 of this subject is of 2023-03-03"):
        plan_fovs(register_fov(META, located(), session=other), connection)


def test_a_subject_that_the_server_has_not_is_named(connection):
    with pytest.raises(AlyxError, match="no subject SP999"):
        plan_fovs(register_fov(META, located(), session=replace(KEY, subject="SP999")), connection)


def test_a_session_of_another_lab_is_named(connection):
    with pytest.raises(AlyxError, match="expected a session of lab elsewhere"):
        plan_fovs(register_fov(META, located(), session=replace(KEY, lab="elsewhere")), connection)


def test_a_session_of_the_same_name_in_another_lab_is_told_apart_by_the_folder(lab, connection):
    lab.call("POST", "/labs", json={"name": "elsewhere", "repositories": []})
    (ours,) = lab.rows("sessions")
    other = lab.session("SP035", "2023-03-03", 1, lab="elsewhere")
    for name, eid in ((lab.lab, ours["id"]), ("elsewhere", other)):
        assert plan_fovs(register_fov(META, located(), session=replace(KEY, lab=name)), connection).eid == eid
    with pytest.raises(AlyxError, match="of lab elsewhere") as caught:
        fov_plan(connection)
    assert f"{ours['id']} of lab {lab.lab}" in str(caught.value)
    assert f"elsewhere/Subjects or {lab.lab}/Subjects" in str(caught.value)
    assert "elete" not in str(caught.value)


def test_new_content_changes_a_dataset_in_place(lab, connection):
    carry_out(dataset_plan(connection, lab), connection)
    plan = dataset_plan(connection, lab, with_content("f" * 32))
    assert plan.summary == "would change 1 dataset"
    assert {c.field for c in plan.work[0].changes} == {"hash", "file_size"}
    carry_out(plan, connection)
    assert len(lab.rows("datasets")) == 9
    assert dataset_plan(connection, lab, with_content("f" * 32)).is_empty


def protect(lab, dataset):
    if not lab.rows("tags"):
        lab.call("POST", "tags", json={"name": "published", "protected": True})
    lab.call("PATCH", f"datasets/{dataset}", json={"tags": ["published"]})


def test_a_protected_dataset_gets_a_revision_and_keeps_its_content(lab, connection):
    first = carry_out(dataset_plan(connection, lab), connection).records[0]
    protect(lab, first.id)
    assert dataset_plan(connection, lab).is_empty, "the same content needs none"
    plan = dataset_plan(connection, lab, with_content("f" * 32))
    assert [one.payload["path"] for one in plan.work] == ["alf/FOV_00/#2024-05-01#/mpci.times.npy"]
    (new,) = (one for one in carry_out(plan, connection).records if one.name == FIRST)
    assert new.path == "alf/FOV_00/#2024-05-01#/mpci.times.npy"
    assert lab.call("GET", f"datasets/{first.id}")["hash"] == FILES.files[0].md5
    assert dataset_plan(connection, lab, with_content("f" * 32)).is_empty
    protect(lab, new.id)
    third = dataset_plan(connection, lab, with_content("e" * 32))
    assert [one.payload["path"] for one in third.work] == ["alf/FOV_00/#2024-05-01a#/mpci.times.npy"]


def test_revisions_of_a_day_are_named_as_one_names_them():
    taken = ["", "2024-05-01"]
    for expected in ("2024-05-01a", "2024-05-01b", "2024-05-01c"):
        taken.append(next_revision("2024-05-01", taken))
        assert taken[-1] == expected
    with pytest.raises(AlyxError, match="tomorrow"):
        next_revision("d", ["d", *(f"d{chr(i)}" for i in range(ord("a"), ord("z") + 1))])


def test_a_quality_that_a_person_gave_holds_for_the_content_that_it_was_given_for(lab, connection):
    (first, *_) = carry_out(dataset_plan(connection, lab), connection).records
    assert lab.call("GET", f"datasets/{first.id}")["qc"] == "PASS"
    lab.call("PATCH", f"datasets/{first.id}", json={"qc": "CRITICAL"})
    (file,) = lab.call("GET", f"datasets/{first.id}")["file_records"]
    lab.call("DELETE", f"files/{file['id']}")
    plan = dataset_plan(connection, lab)
    assert plan.summary == "would change 1 dataset", "the same content, to be entered at the repository again"
    carry_out(plan, connection)
    assert lab.call("GET", f"datasets/{first.id}")["qc"] == "CRITICAL"
    (change,) = dataset_plan(connection, lab, with_content("f" * 32)).work
    assert "qc: 'CRITICAL' → 'PASS'" in str(change)
    carry_out(dataset_plan(connection, lab, with_content("f" * 32)), connection)
    assert lab.call("GET", f"datasets/{first.id}")["qc"] == "PASS"


def test_a_file_that_the_server_takes_for_missing_is_corrected(lab, connection):
    first = carry_out(dataset_plan(connection, lab), connection).records[0]
    (file,) = lab.call("GET", f"datasets/{first.id}")["file_records"]
    lab.call("PATCH", f"files/{file['id']}", json={"exists": False})
    plan = dataset_plan(connection, lab)
    assert plan.summary == "would change 1 file record"
    carry_out(plan, connection)
    assert lab.call("GET", f"files/{file['id']}")["exists"] is True
    assert dataset_plan(connection, lab).is_empty


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("alf/FOV_00/foo.bar.npy", "enter the dataset type foo.bar"),
        ("alf/FOV_00/mpci.times.xyz9", "enter the format"),
        ("alf/FOV 00/mpci.times.npy", "rename the folder"),
    ],
)
def test_what_the_server_would_drop_or_cut_is_a_conflict_before_anything_is_sent(lab, connection, path, why):
    files = replace(FILES, files=(replace(FILES.files[0], path=path), *FILES.files[1:]))
    plan = dataset_plan(connection, lab, files)
    assert len(plan.conflicts) == 1
    with pytest.raises(AlyxError, match=why):
        carry_out(plan, connection)
    assert lab.rows("datasets") == []


def test_a_repository_that_the_server_has_not_is_named_with_those_that_it_has(lab, connection):
    for name in ("", "attic"):
        with pytest.raises(SettingsError, match=f"MESO_ALYX_REPOSITORY.*{lab.repository}"):
            plan_datasets(FILES, connection, repository=name, today="2024-05-01")


def test_requests_do_not_grow_with_the_number_of_files(lab, connection):
    many = replace(
        FILES, files=tuple(replace(f, path=f"alf/FOV_{i:02d}/{f.name}") for i in range(8) for f in FILES.files[:3])
    )
    connection.rest("sessions", "list")
    before = connection.n_requests
    carry_out(dataset_plan(connection, lab, many), connection)
    assert connection.n_requests - before <= 1 + 5 + 1 + 8  # schema, what the plan reads, the state, a post per FOV
    before = connection.n_requests
    assert dataset_plan(connection, lab, many).is_empty
    assert connection.n_requests - before <= 3


def test_the_craniotomy_is_planned_like_all_else_and_a_missing_one_is_a_remark(lab, connection):
    update = update_surgery_json({"centerMM": {"ML": 2.7, "AP": -1.3}}, [0.6, 0.0, 0.8], "SP035")
    plan = plan_craniotomy(update, connection)
    assert plan.summary == "would change 1 craniotomy"
    assert carry_out(plan, connection).summary == "changed 1 craniotomy"
    assert plan_craniotomy(update, connection).is_empty
    with pytest.warns(MesoWarning, match="craniotomies at other places"):
        elsewhere = plan_craniotomy(replace(update, center=(0.0, 0.0)), connection)
    assert elsewhere.is_empty
    assert elsewhere.remarks
