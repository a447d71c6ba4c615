"""Before the expensive work: what is judged, by how much, and what an estimate rests on."""

import pytest

from meso_core.errors import ProcessingError, StorageError, TimingError
from meso_core.imaging import Due, Finding, MachineFacts, PastStep, Step, judge_session
from meso_core.qc import QCResult, Verdict
from meso_core.scanimage import bin_per_plane, load_session_metadata
from meso_core.scanimage.metadata.bouts import local_bouts
from meso_core.simulate import simulate_session
from tests.short_session import short

NAME = "SP035/2023-03-03/001"
PLENTY = MachineFacts("/data", 10**12, 10**12)


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    return simulate_session(tmp_path_factory.mktemp("rig"), short()).session_path


@pytest.fixture(scope="module")
def due(rig):
    raw = sum(tif.stat().st_size for tif in rig.rglob("*.tif"))
    return Due(frozenset(Step), raw, metadata=load_session_metadata(rig))


def verdicts(found):
    return {result.check: result.verdict for result in found.results}


def test_a_session_that_fits_passes_and_tells_what_it_rests_on(due):
    found = judge_session(NAME, due, PLENTY)
    found.refuse()
    assert verdicts(found) == {"room_on_disk": Verdict.PASS, "memory_per_fov": Verdict.PASS}
    assert found.estimate.seconds is None
    assert "want of an earlier run" in str(found.estimate)


def test_movies_are_counted_as_they_are_cut(due, rig, tmp_path):
    bin_per_plane(local_bouts(rig), due.metadata.imaging, tmp_path)
    cut = sum(file.stat().st_size for file in tmp_path.rglob("*.bin"))
    alone = judge_session(NAME, Due(frozenset({Step.REGISTRATION}), due.raw_bytes, metadata=due.metadata), PLENTY)
    assert cut < alone.estimate.room_bytes <= 2 * cut


@pytest.mark.parametrize("short_by", [1, 10**9])
def test_a_disk_without_room_is_refused_with_both_sizes_and_a_remedy(due, short_by):
    needed = judge_session(NAME, due, PLENTY).estimate.room_bytes
    found = judge_session(NAME, due, MachineFacts("/data", max(0, needed - short_by), 10**12))
    with pytest.raises(StorageError, match=r"/data: expected room for about .* GB.*Free space on this disk"):
        found.refuse()
    judge_session(NAME, due, MachineFacts("/data", needed, 10**12)).refuse()


def test_what_is_there_already_needs_no_room_and_what_is_fetched_does(due):
    def room(**changes):
        other = Due(due.steps, due.raw_bytes, metadata=due.metadata, **changes)
        return judge_session(NAME, other, PLENTY).estimate.room_bytes

    assert room(left_bytes=1000) == room() - 1000
    assert room(left_bytes=10**12) == 0
    assert room(fetched_bytes=1000) == room() + 1000


def test_memory_that_may_be_short_is_a_warning_and_memory_that_is_short_is_refused(due):
    needed = judge_session(NAME, due, PLENTY).estimate.memory_bytes
    tight = judge_session(NAME, due, MachineFacts("/data", 10**12, int(needed * 0.7)))
    tight.refuse()
    assert verdicts(tight)["memory_per_fov"] is Verdict.WARNING
    with pytest.raises(ProcessingError, match=r"expected about .* GB of memory.*MESO_MEMORY_GB"):
        judge_session(NAME, due, MachineFacts("/data", 10**12, int(needed * 0.4))).refuse()


def test_the_remedy_for_memory_is_one(due):
    """A long recording of large fields asks for less with fewer bins, as the message says."""
    from meso_core.imaging import Suite2pOverrides
    from meso_core.imaging.fovs.schedule import fov_memory
    from meso_core.imaging.options import suite2p_options

    def needed(**options):
        found = suite2p_options(due.metadata.imaging, 0, overrides=Suite2pOverrides.parse(options))
        return fov_memory((512, 512), 200_000, found.settings)

    assert needed(nbins=500, nimg_init=100) < needed() / 3


def test_fields_that_are_left_out_need_no_memory_and_less_room(due):
    def asked(*left_out):
        only = Due(frozenset({Step.REGISTRATION, Step.DETECTION}), 1, metadata=due.metadata, left_out=left_out)
        return judge_session(NAME, only, PLENTY).estimate

    assert asked("FOV_00").room_bytes < asked().room_bytes
    assert asked("FOV_00", "FOV_02").memory_bytes < asked().memory_bytes, "FOV_01 is the smallest"
    assert asked("FOV_00", "FOV_01", "FOV_02").memory_bytes is None


def test_without_metadata_the_size_of_the_tifs_bounds_the_movies(due):
    known = judge_session(NAME, due, PLENTY).estimate
    unknown = judge_session(NAME, Due(due.steps, due.raw_bytes), PLENTY).estimate
    assert unknown.room_bytes > known.room_bytes
    assert unknown.memory_bytes is None


def test_time_follows_from_what_earlier_runs_took_by_the_byte(due):
    movies = judge_session(NAME, Due(frozenset({Step.DETECTION}), 1, metadata=due.metadata), PLENTY)
    n_bytes = movies.estimate.room_bytes / 0.2  # twice a tenth
    past = [
        PastStep(Step.ARCHIVE, due.raw_bytes, due.raw_bytes // 2, 30.0),
        PastStep(Step.REGISTRATION, int(n_bytes / 2), int(n_bytes / 2), 50.0),
        PastStep(Step.DETECTION, int(n_bytes * 2), int(n_bytes), 40.0),
    ]
    found = judge_session(NAME, due, PLENTY, past).estimate
    assert found.seconds == pytest.approx(100 + 20, rel=0.01), "the archive is made beside them"
    assert "about 2 min (measured" in str(found)
    assert judge_session(NAME, due, PLENTY, past[:2]).estimate.seconds is None, "nothing is known of detection"


def test_one_odd_run_does_not_move_the_estimate(due):
    usual = [PastStep(Step.ARCHIVE, 1000, 500, 1.0)] * 4
    alone = Due(frozenset({Step.ARCHIVE}), 10_000)
    found = judge_session(NAME, alone, PLENTY, [*usual, PastStep(Step.ARCHIVE, 1000, 500, 900.0)])
    assert found.estimate.seconds == pytest.approx(10.0)
    assert found.estimate.room_bytes == 5000, "as the earlier ones were compressed"


def test_all_reasons_are_told_at_once_and_one_alone_as_it_is(due):
    error = TimingError("bout: expected pulses, found none. Look.")
    failed = Finding(QCResult("frames_match_pulses", Verdict.FAIL, None, None, str(error), "test"), error)
    with pytest.raises(TimingError) as alone:
        judge_session(NAME, due, PLENTY, others=[failed]).refuse()
    assert alone.value is error
    both = judge_session(NAME, due, MachineFacts("/data", 0, 10**12), others=[failed])
    with pytest.raises(ProcessingError, match=r"\(1\) bout: .*; \(2\) /data: .*Mend each of them"):
        both.refuse()
    with pytest.raises(StorageError):
        both.refuse("room_on_disk")
