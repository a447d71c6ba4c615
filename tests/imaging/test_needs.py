"""What steps need follows from the session's own size, and never from the machine that asks."""

from dataclasses import replace

import pytest

from meso_core.imaging import Due, MachineFacts, PastStep, Step, StepNeeds, Suite2pOverrides, Work, judge_session
from meso_core.scanimage import load_session_metadata
from meso_core.simulate import simulate_session
from tests.short_session import short

ELSEWHERE = MachineFacts("/data", 10**12, None, cores=1024)


@pytest.fixture(scope="module")
def due(tmp_path_factory):
    rig = simulate_session(tmp_path_factory.mktemp("rig"), short()).session_path
    raw = sum(tif.stat().st_size for tif in rig.rglob("*.tif"))
    return Due(frozenset(Step), raw, metadata=load_session_metadata(rig))


def needs(due, machine=ELSEWHERE, past=()):
    return judge_session("SP035/2023-03-03/001", due, machine, past).needs


def test_every_kind_of_work_has_needs_and_a_field_of_view_takes_its_own_memory(due):
    found = needs(due)
    assert set(found) == {*Work}
    memory = judge_session("SP035/2023-03-03/001", due, ELSEWHERE).estimate.memory_bytes
    assert found[Work.REGISTER] == found[Work.DETECT]
    assert found[Work.REGISTER].memory_gb * 1e9 >= memory
    assert found[Work.REGISTER].cores == 1
    assert found[Work.REGISTER].with_more_memory().memory_gb == 2 * found[Work.REGISTER].memory_gb


def test_more_frames_take_more_minutes_and_the_smallest_session_still_gets_half_an_hour(due):
    small, large = needs(due), needs(replace(due, raw_bytes=10**12, metadata=None))
    assert {need.minutes for need in small.values()} == {30}
    # 1 TB by one core at 10 MB/s, twice over
    assert large[Work.REGISTER].minutes == 10**12 // 10**7 * 2 // 60 + 1
    assert large[Work.SMALL] == small[Work.SMALL]


def test_earlier_runs_count_where_they_were_slower_than_what_is_assumed(due):
    due = replace(due, raw_bytes=10**11, metadata=None)
    slow, quick = (PastStep(Step.DETECTION, 10**9, 1, seconds) for seconds in (1e4, 1.0))
    usual = needs(due)[Work.DETECT].minutes
    assert needs(due, past=[quick])[Work.DETECT].minutes == usual
    assert needs(due, past=[slow])[Work.DETECT].minutes == pytest.approx(100 * usual, rel=0.01)


def test_a_finer_atlas_takes_more_memory(due):
    at = {size: needs(replace(due, atlas_resolution_um=size))[Work.LOCATE].memory_gb for size in (None, 50, 25, 10)}
    assert at[None] == needs(due)[Work.SMALL].memory_gb
    assert at[None] < at[50] < at[25] < at[10]


def test_a_gpu_is_asked_for_only_where_a_person_wants_one(due):
    assert not any(need.gpu for need in needs(due).values())
    with_gpu = needs(replace(due, overrides=Suite2pOverrides.parse({"torch_device": "cuda"})))
    assert {work for work, need in with_gpu.items() if need.gpu} == {
        Work.CUT,
        Work.REGISTER,
        Work.DETECT,
        Work.PUBLISH,
    }


def test_a_step_gets_no_more_cores_than_there_are_nor_than_it_can_use(due):
    of = {n: needs(due, replace(ELSEWHERE, cores=n))[Work.ARCHIVE].cores for n in (1, 2, 1024)}
    assert of == {1: 1, 2: 2, 1024: 8}


def test_memory_of_this_machine_is_not_judged_for_steps_that_go_elsewhere(due):
    checks = {result.check for result in judge_session("SP035/2023-03-03/001", due, ELSEWHERE).results}
    assert "memory_per_fov" not in checks
    assert StepNeeds(1, 4.0, False, 30) == needs(due)[Work.SMALL]
