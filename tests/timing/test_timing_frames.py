"""Times of frames and lines: against the truth of simulated sessions, and where pulses and frames disagree."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from timing_rig import imaging_meta, udp, write_events, write_session

from meso_core.errors import InputFileError, MesoError, MesoWarning, MetadataError, MissingInputError, TimingError
from meso_core.qc import Verdict, worst
from meso_core.scanimage import ImagingLayout, load_session_metadata, parse_imaging_metadata
from meso_core.session import SessionKey
from meso_core.simulate import load_truth, preset, simulate_session
from meso_core.timing import extract_frame_times, find_frame_times, get_timeshifts

SAMPLE = 1e-3  # s, of the DAQ


def assert_within_one_sample(found, truth):
    """A pulse is read at the first sample after it: never before, never more than a sample later."""
    assert len(found.times) == len(truth.fovs)
    for times, shift, fov in zip(found.times, found.timeshift, truth.fovs, strict=True):
        assert times.dtype == shift.dtype == np.float64
        late = times - fov.frame_times
        assert late.min() > -1e-4, "a FOV's first line is timed on the microscope's clock, 10 ppm off"
        assert late.max() < SAMPLE + 1e-4
        # the header prints the line period with six digits
        np.testing.assert_allclose(shift, fov.timeshift, rtol=2e-6)


def test_times_are_within_one_sample_of_the_truth(tiny_session):
    found = extract_frame_times(tiny_session.session_path)
    assert_within_one_sample(found, load_truth(tiny_session.truth_path))
    assert worst(found.results) is Verdict.PASS
    assert found.found.source == "software events"


def simulated(tmp_path, faults=(), **changes):
    """A session without pages, which takes no time to make."""
    config = dataclasses.replace(preset("tiny"), write_movie=False, **changes)
    return simulate_session(tmp_path / "Subjects", config, faults=faults)


ROIS = preset("tiny").rois
DEEP = tuple(
    dataclasses.replace(roi, zs=zs) for roi, zs in zip(ROIS, ((100.0, 200.0), (200.0,), (200.0, 300.0)), strict=True)
)


@pytest.mark.parametrize(
    "changes",
    [
        {"zs": (100.0, 200.0), "frames_per_bout": (61, 40)},
        {"zs": (100.0, 200.0, 300.0), "frames_per_bout": (61, 41), "flyback_frames": 1},
        {"zs": (100.0, 200.0, 300.0), "frames_per_bout": (61, 40), "rois": DEEP},
        {"zs": (300.0, 100.0, 200.0), "frames_per_bout": (31, 20)},
        {"channels": (1, 3), "frames_per_bout": (30, 11)},
        {"frame_rate_hz": 0.8, "frames_per_bout": (20, 10)},
        {"frame_rate_hz": 40.0, "frames_per_bout": (2000, 100), "daq_extra_channels": 2},
    ],
    ids=[
        "stops-in-mid-volume",
        "fly-back-frames",
        "unequal-slices",
        "not-in-order",
        "two-channels",
        "a-frame-in-more-than-a-second",
        "fast",
    ],
)
def test_depths_channels_and_rates_are_within_one_sample_of_the_truth(tmp_path, changes):
    made = simulated(tmp_path, **changes)
    found = extract_frame_times(made.session_path)
    assert_within_one_sample(found, load_truth(made.truth_path))
    assert worst(found.results) is Verdict.PASS


def test_bouts_are_found_as_well_without_software_events(tmp_path):
    made = simulated(tmp_path)
    by_events = extract_frame_times(made.session_path)
    (made.session_path / "raw_sync_data" / "_timeline_softwareEvents.log.htsv").unlink()
    by_gaps = extract_frame_times(made.session_path)
    assert by_gaps.found.source == "gaps"
    for a, b in zip(by_events.times, by_gaps.times, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_wrapped_counter_loses_no_frame(tmp_path):
    made = simulated(tmp_path, faults=("counter_wrap",))
    found = extract_frame_times(made.session_path)
    assert_within_one_sample(found, load_truth(made.truth_path))
    assert "1 counter wraps" in found.results[0].message
    assert worst(found.results) is Verdict.PASS


def test_surplus_pulses_are_dropped_with_a_warning_and_a_check_that_shows_it(tmp_path):
    made = simulated(tmp_path, faults=("surplus_pulses",))
    with pytest.warns(MesoWarning, match="last 2 pulses were dropped"):
        found = extract_frame_times(made.session_path)
    assert_within_one_sample(found, load_truth(made.truth_path))
    assert [bout.n_surplus for bout in found.bouts] == [2, 2]
    shown = [r for r in found.results if r.check == "frames_match_pulses"]
    assert [(r.verdict, r.value) for r in shown] == [(Verdict.WARNING, 2)] * 2


def test_missing_pulses_are_an_error_that_shows_both_counts(tmp_path):
    made = simulated(tmp_path, faults=("dropped_pulses",))
    with pytest.raises(TimingError, match=r"data_01: .* 40 frames up to the last .*, found 37 pulses .* apart at most"):
        extract_frame_times(made.session_path)


def test_a_bout_that_the_daq_missed_is_an_error(tmp_path):
    made = simulated(tmp_path, faults=("missing_bout",))
    with pytest.raises(TimingError, match="1 bouts on the DAQ"):
        extract_frame_times(made.session_path)


def test_a_folder_that_was_taken_away_leaves_the_other_bout_in_place(tmp_path):
    made = simulated(tmp_path, faults=("missing_folder",))
    with pytest.warns(MesoWarning, match="2 bouts .* 1 imaging folders"):
        found = extract_frame_times(made.session_path)
    truth = load_truth(made.truth_path)
    kept = truth.bout_frames[1]
    np.testing.assert_allclose(found.times[0] - truth.fovs[0].row_start * truth.line_period, kept, atol=SAMPLE + 1e-4)


def test_a_pulse_lost_in_the_middle_is_seen_though_the_numbers_agree(tmp_path):
    """One pulse lost, one surplus at the end: only the intervals tell."""
    session, _ = write_session(tmp_path, n_frames=(40,), n_pulses=(41,))
    raw = session / "raw_sync_data" / "_timeline_DAQdata.raw.npy"
    counts = np.load(raw)
    counts[2500:, 1] -= 1  # the pulse at sample 2500 was not counted
    counts[2499:, 1] = np.maximum.accumulate(counts[2499:, 1])
    np.save(raw, counts)
    with pytest.warns(MesoWarning, match="at frame number 21; a pulse is missing there"):
        found = extract_frame_times(session)
    (result,) = (r for r in found.results if r.check == "pulse_intervals_match_scanimage")
    assert result.verdict is Verdict.FAIL
    assert result.value == pytest.approx(0.1, abs=1e-3)


def test_hiccups_of_the_counter_are_reported(tmp_path):
    session, _ = write_session(tmp_path, n_frames=(40,))
    raw = session / "raw_sync_data" / "_timeline_DAQdata.raw.npy"
    counts = np.load(raw)
    counts[1000:, 1] += 1  # two edges between two samples: a bounce
    np.save(raw, counts)
    with pytest.warns(MesoWarning, match="1 samples with several edges"):
        found = extract_frame_times(session)
    assert found.results[0].verdict is Verdict.WARNING
    assert found.times[0].size == 40


@settings(max_examples=25, deadline=None)
@given(
    n_frames=st.lists(st.integers(1, 30), min_size=1, max_size=3),
    slices=st.sampled_from([(0,), (0, 0, 1), (0, 1, 1), (0, 1, 2)]),
    surplus=st.integers(0, 3),
    use_events=st.booleans(),
    order=st.sampled_from(["C", "F"]),
)
@pytest.mark.filterwarnings("ignore::meso_core.errors.MesoWarning")
def test_every_frame_gets_the_pulse_of_its_own(tmp_path_factory, n_frames, slices, surplus, use_events, order):
    meta = imaging_meta(slices)
    n_pulses = [n + surplus for n in n_frames]
    session, pulses = write_session(
        tmp_path_factory.mktemp("s"), n_frames, n_pulses, meta, order=order, counter_start=2.0**32 - 3
    )
    if use_events:
        events = [udp(kind, t) for p in pulses for kind, t in (("BlockStart", p[0] - 0.5), ("BlockEnd", p[-1] + 0.5))]
        write_events(session / "raw_sync_data", events)
    found = extract_frame_times(session)
    layout = ImagingLayout.from_meta(meta)
    period = meta["scanImageParams"]["hRoiManager"]["linePeriod"]
    for fov, times in zip(layout.fovs, found.times, strict=True):
        own = [p[:n][fov.slice_index :: layout.frames_per_volume] for p, n in zip(pulses, n_frames, strict=True)]
        np.testing.assert_allclose(times, np.concatenate(own) + fov.row_start * period, atol=1e-9)
        assert times.size == sum(-(-(n - fov.slice_index) // layout.n_slices) for n in n_frames if n > fov.slice_index)


def test_lines_are_timed_from_the_first_line_of_their_field():
    meta = imaging_meta((0, 0, 1), n_lines=32, gap=6, frame_rate=10.0)
    shifts = get_timeshifts(meta)
    period = meta["scanImageParams"]["hRoiManager"]["linePeriod"]
    np.testing.assert_allclose(shifts.first_line, np.array([0, 38, 0]) * period)
    assert shifts.slices == (0, 0, 1)
    for line in shifts.lines:
        np.testing.assert_allclose(line, np.arange(32) * period)


def test_the_real_session_has_the_line_times_of_its_microscope(real_data):
    (path,) = (real_data / "headers").glob("SP061*meta.json")
    meta = json.loads(path.read_text())
    shifts = get_timeshifts(meta)
    # eight fields of 512 lines, 74 lines of flight between: 586 lines of 41.6025 µs from one to the next
    np.testing.assert_allclose(shifts.first_line, 586 * np.arange(8) * 4.16025e-05)
    assert shifts.first_line[-1] + shifts.lines[-1][-1] < meta["scanImageParams"]["hRoiManager"]["scanFramePeriod"]


def test_datasets_carry_the_field_s_names(tiny_session):
    found = extract_frame_times(tiny_session.session_path)
    datasets = found.datasets()
    assert list(datasets) == ["FOV_00", "FOV_01", "FOV_02"]
    assert list(datasets["FOV_00"]) == ["mpci.times", "mpciStack.timeshift"]
    assert datasets["FOV_01"]["mpci.times"] is found.times[1]


def test_a_line_period_that_scanimage_measured_anew_is_taken_for_each_bout(tmp_path):
    session, pulses = write_session(tmp_path, n_frames=(10, 10))
    path = session / "raw_imaging_data_01" / "_ibl_rawImagingData.meta.json"
    meta = json.loads(path.read_text())
    meta["scanImageParams"]["hRoiManager"]["linePeriod"] *= 1.0005
    path.write_text(json.dumps(meta))
    found = extract_frame_times(session)
    start = 37 * meta["scanImageParams"]["hRoiManager"]["linePeriod"]
    np.testing.assert_allclose(found.times[1][10:], pulses[1] + start, atol=1e-9)


def test_bouts_of_other_fields_are_refused(tmp_path):
    session, _ = write_session(tmp_path, n_frames=(10, 10))
    bouts = load_session_metadata(session).bouts
    other = dataclasses.replace(bouts[1], imaging=parse_imaging_metadata(imaging_meta(gap=9)))
    with pytest.raises(MetadataError, match=r"raw_imaging_data_01.*lines 38 to 69 .*, found .*lines 42 to 73 "):
        extract_frame_times(session, [bouts[0], other])


def test_a_session_staged_elsewhere_is_told_by_its_key(tmp_path):
    session, pulses = write_session(tmp_path, n_frames=(10,), events=[udp("BlockStart", 10.1), udp("BlockEnd", 11.6)])
    staged = session.rename(tmp_path / "scratch")
    with pytest.warns(MesoWarning, match="bouts were found from gaps"):
        extract_frame_times(staged)
    found = extract_frame_times(staged, session=SessionKey("SP035", "2023-03-03", "001"))
    assert found.found.source == "software events"
    np.testing.assert_allclose(found.times[0], pulses[0])


@pytest.mark.parametrize(
    ("spoil", "error", "match"),
    [
        (lambda f: f.unlink(), MissingInputError, "or the tifs to make them from"),
        (lambda f: np.save(f, np.array([0.0, np.nan])), InputFileError, "finite time"),
        (lambda f: np.save(f, np.zeros((2, 2))), InputFileError, "shape"),
        (lambda f: f.write_bytes(f.read_bytes()[:-3]), InputFileError, "npy array"),
        (lambda f: f.write_bytes(b"PK"), InputFileError, "npy array"),
        (lambda f: np.save(f, np.array(["a"])), InputFileError, "dtype"),
        (lambda f: np.save(f, np.arange(9.0)), InputFileError, "10 times, one per page .*found 9 times"),
    ],
)
def test_damaged_frame_timestamps_are_named(tmp_path, spoil, error, match):
    session, _ = write_session(tmp_path, n_frames=(10,))
    spoil(session / "raw_imaging_data_00" / "rawImagingData.times_scanImage.npy")
    with pytest.raises(error, match=match):
        extract_frame_times(session)


FILES = [
    "raw_sync_data/_timeline_DAQdata.raw.npy",
    "raw_sync_data/_timeline_DAQdata.timestamps.npy",
    "raw_sync_data/_timeline_DAQdata.meta.json",
    "raw_sync_data/_timeline_softwareEvents.log.htsv",
    "raw_imaging_data_01/_ibl_rawImagingData.meta.json",
    "raw_imaging_data_01/rawImagingData.times_scanImage.npy",
]


@settings(max_examples=60, deadline=None)
@given(file=st.sampled_from(FILES), share=st.floats(0, 1, exclude_max=True))
@pytest.mark.filterwarnings("ignore::meso_core.errors.MesoWarning")
def test_any_file_cut_anywhere_is_a_named_error_or_changes_nothing(cut_session, tmp_path_factory, file, share):
    """Only the event log can lose something without harm: the last event, and what a gap tells as well."""
    session, whole = cut_session
    damaged = shutil.copytree(session, tmp_path_factory.mktemp("cut") / "SP035" / "2023-03-03" / "001")
    content = (session / file).read_bytes()
    (damaged / file).write_bytes(content[: int(share * len(content))])
    try:
        found = extract_frame_times(damaged)
    except MesoError:
        return
    assert file.endswith("htsv")
    assert all(np.array_equal(a, b) for a, b in zip(found.times, whole.times, strict=True))


@pytest.fixture(scope="module")
def cut_session(tmp_path_factory):
    events = [
        udp("ExpStart", 9),
        udp("BlockStart", 10.2),
        udp("BlockEnd", 12),
        udp("BlockStart", 14),
        udp("ExpEnd", 30),
    ]
    session, _ = write_session(tmp_path_factory.mktemp("whole"), (12, 10), events=events)
    return session, extract_frame_times(session)


def test_no_bout_is_an_error(tmp_path):
    with pytest.raises(MissingInputError, match="an imaging bout"):
        extract_frame_times(tmp_path, [])


def test_a_folder_of_daq_files_and_the_metadata_are_all_that_is_needed(tiny_session, tmp_path):
    """No file of the microscope is opened once the metadata are loaded."""
    metadata = load_session_metadata(tiny_session.session_path)
    shutil.copytree(tiny_session.session_path / "raw_sync_data", tmp_path / "daq")
    found = find_frame_times(tmp_path / "daq", metadata, session=tiny_session.key)
    want = extract_frame_times(tiny_session.session_path)
    assert [t.tobytes() for t in found.times] == [t.tobytes() for t in want.times]
    assert (found.bouts, found.results) == (want.bouts, want.results)


def test_page_times_that_the_rig_did_not_deliver_come_from_the_tifs(fresh_session):
    made = fresh_session()
    want = load_session_metadata(made.session_path)
    for path in made.session_path.rglob("rawImagingData.times_scanImage.npy"):
        path.unlink()
    for bout, before in zip(load_session_metadata(made.session_path).bouts, want.bouts, strict=True):
        np.testing.assert_allclose(bout.page_times, before.page_times, atol=1e-9)
        assert bout.imaging == before.imaging


@pytest.mark.parametrize("period", [0, -1e-5, None, "fast", 2.0])
def test_an_impossible_line_period_is_refused(period):
    meta = imaging_meta()
    meta["scanImageParams"]["hRoiManager"]["linePeriod"] = period
    with pytest.raises(MetadataError, match="linePeriod"):
        get_timeshifts(meta)


def test_raw_files_are_left_as_they_were(tmp_path):
    session, _ = write_session(tmp_path, n_frames=(10,))
    before = {p: p.read_bytes() for p in session.rglob("*") if p.is_file()}
    extract_frame_times(session)
    assert before == {p: p.read_bytes() for p in session.rglob("*") if p.is_file()}


def test_the_same_input_gives_the_same_bytes(tmp_path):
    session, _ = write_session(tmp_path, n_frames=(10, 7))
    a, b = extract_frame_times(session), extract_frame_times(session)
    assert [t.tobytes() for t in a.times] == [t.tobytes() for t in b.times]
    assert a.results == b.results
