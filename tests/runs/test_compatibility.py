"""A machine that would make other results than that which leads a run refuses; what a job writes goes with it."""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from meso_assets.defs.dagster_internals import failure_message
from meso_assets.defs.guard import guarded
from meso_assets.runs.executors.compatibility import Sameness
from meso_assets.runs.executors.job_scratch import own_scratch
from meso_assets.runs.settings.engines import as_given_to_job, given_to_job
from meso_assets.runs.settings.settings import MesoSettings
from meso_core.errors import EngineError, WorkStoppedError
from tests.other_machine import two_machines


@pytest.fixture
def here(tmp_path):
    settings = MesoSettings(root=tmp_path, home=tmp_path / "home", cache=tmp_path / "cache", atlas="phantom")
    return Sameness.of_this_machine(settings)


def test_the_same_machine_is_fit_and_its_record_survives_json(here):
    here.refuse(here)
    assert Sameness.from_record(json.dumps(here.as_record())) == here
    assert here.atlas.startswith("phantom, recipe ")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"version": "9.9"}, r"meso 9\.9 on n7 and \S+ on "),
        ({"packages": {"Python": "3.11.0"}}, r"Python 3\.11\.0 on n7 and 3\.\S+ on .*suite2p none on n7 and "),
        ({"atlas": "phantom, recipe 1"}, "atlas phantom, recipe 1 on n7 and phantom, recipe "),
        ({"commit": "0123"}, "commit 0123 on n7 and 4567 on "),
    ],
)
def test_a_node_with_another_version_or_atlas_is_refused_with_both(here, change, told, tried):
    leader = replace(here, commit="4567", records_are_files=False)
    with pytest.raises(EngineError, match=rf"node n7: expected the same code and atlas .*{told}"):
        leader.refuse(replace(leader, host="n7", **change))
    tried("clusters: a node with another version, commit, package or atlas")


def test_a_node_without_git_or_without_the_atlas_yet_is_fit(here):
    leader = replace(here, commit="4567", records_are_files=False)
    leader.refuse(replace(leader, host="n7", commit="", atlas=""))


def test_a_second_machine_may_not_write_the_records_where_they_are_files(here, tried):
    with pytest.raises(EngineError, match=r"found SQLite files, which .* writes too.*PostgreSQL"):
        here.refuse(replace(here, host="n7"))
    replace(here, records_are_files=False).refuse(replace(here, host="n7"))
    tried("clusters: a second machine that would write records in files")


def test_a_job_has_the_cores_and_the_memory_that_it_was_given(tmp_path, monkeypatch):
    settings = MesoSettings(root=tmp_path, cores=64, memory_gb=500.0)
    assert as_given_to_job(settings) is settings
    for name, value in given_to_job(2, 3.5).items():
        monkeypatch.setenv(name, value)
    own = as_given_to_job(settings)
    assert (own.cores, own.memory_gb) == (2, 3.5)


@pytest.fixture
def tmpdir_of_a_node(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield tmp_path
    tempfile.tempdir = None


def test_temporary_files_of_a_job_go_with_it_and_those_of_killed_jobs_with_the_next(tmpdir_of_a_node):
    killed = (
        "import os, signal\nfrom meso_assets.runs.executors.job_scratch import own_scratch\n"
        "with own_scratch('killed') as folder:\n    (folder / 'x').write_bytes(b'x')\n    os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", killed], env={**os.environ}, check=False)
    (above,) = tmpdir_of_a_node.iterdir()
    assert (above / "killed" / "x").exists()
    with own_scratch("one") as one:
        assert not (above / "killed").exists()
        assert Path(tempfile.mkdtemp()).parent == one == Path(os.environ["TMPDIR"])
        os.environ["TMPDIR"] = str(tmpdir_of_a_node)  # as on another node
        tempfile.tempdir = None
        with own_scratch("two"):
            assert one.exists(), "its job is at work"
    assert list(above.iterdir()) == []


def test_temporary_files_of_a_job_at_work_stay_whatever_the_clock_of_the_next_one(tmpdir_of_a_node, tried):
    scratch = "import sys\nfrom meso_assets.runs.executors.job_scratch import own_scratch\n"
    hold = scratch + (
        "with own_scratch('at-work') as folder:\n    (folder / 'x').write_bytes(b'x')\n    print(folder, flush=True)\n"
        "    sys.stdin.read()\n    print((folder / 'x').read_bytes())"
    )
    come = scratch + "with own_scratch('next'):\n    pass"
    machines = two_machines()
    for one, other in (machines, machines[::-1]):
        with one.run(hold) as at_work:
            assert at_work.stdout.readline()
            with other.run(come) as comes:
                assert comes.wait(60) == 0
            assert at_work.communicate()[0] == "b'x'\n"
    tried("clusters: a job clears up beside one with another clock", 2)


@dg.op
def killed_for_memory(context: dg.OpExecutionContext):
    with guarded(context):
        raise WorkStoppedError("a worker that was killed by signal 9 (out of memory, most often)")


@dg.op
def stopped_by_a_disk(context: dg.OpExecutionContext):
    with guarded(context):
        raise WorkStoppedError("no space left")


@pytest.mark.parametrize(
    ("op", "in_job", "tries"),
    [(killed_for_memory, True, 2), (killed_for_memory, False, 1), (stopped_by_a_disk, True, 1)],
)
def test_a_worker_that_was_killed_for_memory_is_tried_once_more_where_an_engine_can_give_more(
    op, in_job, tries, monkeypatch
):
    if in_job:
        for name, value in given_to_job(1, 1.0).items():
            monkeypatch.setenv(name, value)
    job = dg.GraphDefinition(name="job", node_defs=[op]).to_job()
    result = job.execute_in_process(raise_on_error=False)
    kinds = [event.event_type_value for event in result.all_events]
    assert kinds.count("STEP_START") + kinds.count("STEP_RESTARTED") == tries
    (failed,) = [event for event in result.all_events if event.event_type_value == "STEP_FAILURE"]
    assert "out of memory" in failure_message(failed) or "no space left" in failure_message(failed)
