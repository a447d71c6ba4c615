"""``meso alyx plan``, ``audit`` and ``meso audit --alyx``: what is told, and how they end."""

import json

import pytest

from meso_core.qc import Verdict

pytest_plugins = ["tests.alyx.one_lab"]


def test_a_plan_tells_what_would_be_sent_and_what_has_no_plan_and_sends_nothing(one_lab):
    one_lab.publish_times(b"first")
    told = one_lab.meso("alyx", "plan", one_lab.key)
    assert told.exit_code == 0, told.output
    assert f"create   dataset {one_lab.times}" in told.output
    assert "no plan for fields of view: imaging_metadata, mean_image_mlapdv not made yet" in told.output
    assert told.output.splitlines()[-1] == "would create 1 dataset"
    assert one_lab.given.rows("datasets") == []


def test_a_plan_as_json_is_the_same(one_lab):
    one_lab.publish_times(b"first")
    record = json.loads(one_lab.meso("alyx", "plan", one_lab.key, "--json").output)
    names = [one["name"] for plan in record["plans"] for one in plan["records"] if one["action"] == "create"]
    assert names == [one_lab.times]
    assert (len(record["without"]), record["withheld"]) == (1, [])


def test_a_plan_with_a_conflict_ends_with_one(one_lab):
    one_lab.publish("frame_times", "alf/FOV_00/foo.bar.npy", b"a file that Alyx has no type for")
    told = one_lab.meso("alyx", "plan", one_lab.key)
    assert told.exit_code == 1
    assert "enter the dataset type foo.bar" in told.output


def test_plan_and_audit_show_what_the_gate_withholds_and_why(one_lab):
    one_lab.publish_times(b"first", Verdict.FAIL)
    plan = one_lab.meso("alyx", "plan", one_lab.key)
    assert "withheld, files of frame_times: frame_times failed quality control (a_check: seen)" in plan.output
    assert "meso alyx allow" in plan.output
    assert plan.output.splitlines()[-1] == "would change 1 session", "the verdict alone goes"
    audit = one_lab.meso("alyx", "audit", one_lab.key)
    assert "withheld     session" in audit.output
    assert "meso alyx allow" in audit.output


def test_an_audit_tells_what_it_could_not_compare_and_does_not_end_well(one_lab):
    one_lab.publish_times(b"first")
    one_lab.run()
    told = one_lab.meso("alyx", "audit")
    assert told.exit_code == 1
    assert f"{one_lab.key}: 1 finding" in told.output
    assert (
        f"not compared session {one_lab.key}: fields of view: imaging_metadata, mean_image_mlapdv not made yet."
        in told.output
    )


def test_an_audit_names_a_session_that_the_server_does_not_have_and_goes_on(one_lab):
    other = one_lab.folder.parents[1] / "2023-03-04" / "001" / "raw_imaging_data_00"
    other.mkdir(parents=True)
    (other / "x.tif").write_bytes(b"x")
    told = one_lab.meso("alyx", "audit", "--json")
    assert told.exit_code == 1
    records = [json.loads(line) for line in told.output.splitlines()]
    by_session = {record["session"]: record["findings"] for record in records}
    assert set(by_session) == {one_lab.key, "SP035/2023-03-04/001"}
    (finding,) = by_session["SP035/2023-03-04/001"]
    assert finding["reason"] == "not compared"
    assert "expected one session in Alyx, found 0 sessions" in finding["told"]


@pytest.mark.parametrize("command", [("alyx", "audit"), ("audit", "--alyx")])
def test_an_audit_finds_what_differs_both_ways(one_lab, command):
    one_lab.publish_times(b"first")
    one_lab.publish("rois", one_lab.activity, b"activity")
    one_lab.run()
    one_lab.publish_times(b"second")
    described = {"path": one_lab.key, "name": one_lab.given.repository, "filenames": ["alf/FOV_01/mpci.times.npy"]}
    one_lab.given.call("POST", "/register-file", json=described)
    (row,) = one_lab.given.rows("datasets?name=mpci.ROIActivityF.npy")
    one_lab.given.call("DELETE", f"datasets/{row['url'][-36:]}")
    told = one_lab.meso(*command, one_lab.key)
    assert told.exit_code == 1, told.output
    assert f"unregistered dataset {one_lab.activity}: " in told.output
    assert f"differs      dataset {one_lab.times}: hash" in told.output
    assert "only in Alyx dataset alf/FOV_01/mpci.times.npy: " in told.output
    assert f"Run alyx_datasets of {one_lab.key} with MESO_ALYX=online." in told.output


def test_an_audit_without_a_server_ends_with_its_name(one_lab):
    one_lab.given.stand_in.stop()
    told = one_lab.meso("alyx", "audit", one_lab.key)
    assert told.exit_code != 0
    assert "no connection" in str(told.exception)


@pytest.mark.parametrize(("mode", "remedy"), [("off", "Set it."), ("online", "Set it, or set MESO_ALYX to off.")])
def test_a_plan_without_an_address_names_a_remedy_that_is_not_true_already(one_lab, mode, remedy):
    told = one_lab.meso("alyx", "plan", one_lab.key, alyx=mode, alyx_url="")
    assert told.exit_code != 0
    assert str(told.exception).endswith(remedy)
