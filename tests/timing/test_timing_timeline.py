"""The DAQ reader: counters, clocks, damaged files."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from timing_rig import counter, write_session, write_timeline

from meso_core.errors import InputFileError, MesoError, MissingInputError, TimingError
from meso_core.timing import Timeline, extract_frame_times, timeline
from meso_core.timing.timeline import META_FILE, RAW_FILE, TIMESTAMPS_FILE


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f8", "<f4", ">f8", "<u4", "<i8"])
def test_edges_are_found_whatever_the_memory_order_and_number_type(tmp_path, order, dtype):
    pulses = np.array([3, 17, 18, 400])
    channels = {"a": np.arange(600), "neural_frames": counter(pulses, 600), "b": np.full(600, 7)}
    timeline = Timeline(write_timeline(tmp_path, channels, order=order, dtype=dtype))
    (edges,) = timeline.counter_edges("neural_frames")
    np.testing.assert_array_equal(edges.samples, pulses)
    np.testing.assert_allclose(edges.times, 10 + pulses / 1000, atol=1e-12)


def test_several_counters_come_from_one_pass_in_the_order_asked_for(tmp_path):
    first, second = np.array([5, 50]), np.array([7, 70, 71])
    channels = {"neural_frames": counter(first, 100), "volume_counter": counter(second, 100)}
    timeline = Timeline(write_timeline(tmp_path, channels))
    found = timeline.counter_edges("volume_counter", "NEURAL_FRAMES")
    np.testing.assert_array_equal(found[0].samples, second)
    np.testing.assert_array_equal(found[1].samples, first)


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(st.integers(0, 3), min_size=2, max_size=60),
    bits=st.sampled_from([16, 24, 32]),
    before_wrap=st.integers(0, 40),
    window=st.sampled_from([1, 8, 64, 2**20]),
)
def test_every_edge_is_found_once_across_wraps_and_windows(tmp_path_factory, steps, bits, before_wrap, window):
    total = np.cumsum(steps)
    counts = (2**bits - 1 - before_wrap + total) % 2**bits
    folder = write_timeline(tmp_path_factory.mktemp("daq"), {"neural_frames": counts, "other": total})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timeline, "WINDOW_BYTES", window)
        (edges,) = Timeline(folder).counter_edges("neural_frames")
    np.testing.assert_array_equal(edges.samples, np.flatnonzero(np.diff(total)) + 1)
    assert edges.n_wraps == (total[-1] > before_wrap >= total[0])
    assert edges.n_resets == 0
    assert edges.n_multiple == np.count_nonzero(np.diff(total) > 1)


def test_a_counter_that_is_set_back_is_a_reset_and_makes_no_edge_of_its_own(tmp_path):
    counts = np.array([100, 101, 101, 0, 0, 1, 1, 2])
    (edges,) = Timeline(write_timeline(tmp_path, {"neural_frames": counts})).counter_edges("neural_frames")
    np.testing.assert_array_equal(edges.samples, [1, 5, 7])
    assert (edges.n_wraps, edges.n_resets) == (0, 1)


def test_times_between_two_rows_are_linear_as_in_the_short_form(tmp_path):
    counts = counter([10, 990], 1000)
    long = Timeline(write_timeline(tmp_path / "long", {"neural_frames": counts}))
    short = Timeline(write_timeline(tmp_path / "short", {"neural_frames": counts}, compact_times=True))
    a, b = long.counter_edges("neural_frames")[0], short.counter_edges("neural_frames")[0]
    np.testing.assert_allclose(a.times, b.times, rtol=0, atol=1e-11)


def test_timestamps_as_a_column_as_matlab_writes_them_are_taken(tmp_path):
    folder = write_timeline(tmp_path, {"neural_frames": counter([10], 20)})
    np.save(folder / TIMESTAMPS_FILE, np.asfortranarray(np.load(folder / TIMESTAMPS_FILE)[:, None]))
    assert Timeline(folder).counter_edges("neural_frames")[0].times == pytest.approx([10.01])


@settings(max_examples=40, deadline=None)
@given(samples=st.sets(st.integers(0, 199)), window=st.sampled_from([1, 8, 64, 2**20]), column=st.booleans())
def test_times_of_any_samples_are_those_of_the_file(tmp_path_factory, samples, window, column):
    folder = write_timeline(tmp_path_factory.mktemp("times"), {"neural_frames": np.zeros(200)})
    stamps = np.cumsum(np.random.default_rng(0).uniform(0.5, 1.5, 200))
    np.save(folder / TIMESTAMPS_FILE, np.asfortranarray(stamps[:, None]) if column else stamps)
    wanted = np.array(sorted(samples), dtype=np.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timeline, "WINDOW_BYTES", window)
        np.testing.assert_array_equal(Timeline(folder).times(wanted), stamps[wanted])


def test_opening_reads_no_samples(tmp_path):
    """A damaged count in a channel that nobody asks for harms nobody."""
    counts = counter([10], 50)
    broken = np.full(50, np.nan)
    timeline = Timeline(write_timeline(tmp_path, {"broken": broken, "neural_frames": counts}))
    assert timeline.counter_edges("neural_frames")[0].samples.tolist() == [10]
    with pytest.raises(InputFileError, match=r"field 'broken'.*at sample 0"):
        timeline.counter_edges("broken")


def spoil_meta(folder, change):
    path = folder / "_timeline_DAQdata.meta.json"
    meta = json.loads(path.read_text())
    change(meta)
    path.write_text(json.dumps(meta))


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        (lambda m: m.pop("inputs"), InputFileError, "'inputs'.*list of the DAQ's channels"),
        (lambda m: m["inputs"][0].pop("measurement"), InputFileError, r"inputs\[0\]"),
        (lambda m: m["inputs"][0].update(arrayColumn=9), InputFileError, "arrayColumn.*column from 1 to 2"),
        (lambda m: m["inputs"][0].update(arrayColumn=1.5), InputFileError, "arrayColumn"),
        (lambda m: m["inputs"][0].update(arrayColumn=float("nan")), InputFileError, "arrayColumn.*found nan"),
        (lambda m: m["inputs"][0].update(arrayColumn=-1), TimingError, "channel 'neural_frames'"),
        (lambda m: m["inputs"][0].update(name="x"), TimingError, "channel 'neural_frames'.*found x"),
        (lambda m: m["inputs"][0].update(measurement="Voltage"), TimingError, "expected EdgeCount, found Voltage"),
    ],
    ids=[
        "no-inputs",
        "no-measurement",
        "column-beyond",
        "half-column",
        "no-number",
        "not-recorded",
        "not-named",
        "not-a-counter",
    ],
)
def test_metadata_that_do_not_fit_are_refused_by_field(tmp_path, change, error, match):
    folder = write_timeline(tmp_path, {"neural_frames": counter([3], 9), "b": np.zeros(9)})
    spoil_meta(folder, change)
    with pytest.raises(error, match=match):
        Timeline(folder).counter_edges("neural_frames")


def test_a_single_channel_written_without_a_list_is_read(tmp_path):
    folder = write_timeline(tmp_path, {"neural_frames": counter([3], 9)})
    spoil_meta(folder, lambda m: m.update(inputs=m["inputs"][0]))
    assert Timeline(folder).counter_edges("neural_frames")[0].samples.tolist() == [3]


@pytest.mark.parametrize("name", ["raw.npy", "timestamps.npy", "meta.json"])
def test_a_missing_file_is_named(tmp_path, name):
    folder = write_timeline(tmp_path, {"neural_frames": counter([3], 9)})
    (folder / f"_timeline_DAQdata.{name}").unlink()
    with pytest.raises(MissingInputError, match=name):
        Timeline(folder)


@settings(max_examples=60, deadline=None)
@given(share=st.floats(0, 1, exclude_max=True), name=st.sampled_from(["raw.npy", "timestamps.npy", "meta.json"]))
def test_a_file_cut_anywhere_is_a_named_error(tmp_path_factory, share, name):
    folder = write_timeline(tmp_path_factory.mktemp("cut"), {"neural_frames": counter([3], 9), "b": np.zeros(9)})
    path = folder / f"_timeline_DAQdata.{name}"
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputFileError, match=name.replace(".", r"\.")):
        Timeline(folder)


@pytest.mark.parametrize(
    ("stamps", "match"),
    [
        (np.arange(8.0), "9 timestamps.*8 timestamps"),
        (np.zeros((3, 3)), "shape"),
        (np.array([0, 1, 2, np.nan, 4, 5, 6, 7, 8]), "finite times that ascend"),
        (np.array([0, 1, 2, 3, 4, 5, 6, 1, 8.0]), "finite times that ascend"),
    ],
)
def test_timestamps_that_cannot_be_are_refused(tmp_path, stamps, match):
    folder = write_timeline(tmp_path, {"neural_frames": counter([3, 7], 9)})
    np.save(folder / TIMESTAMPS_FILE, stamps)
    with pytest.raises(InputFileError, match=match):
        Timeline(folder).counter_edges("neural_frames")


def test_pickled_objects_are_never_loaded(tmp_path):
    folder = write_timeline(tmp_path, {"neural_frames": counter([3], 9)})
    np.save(folder / RAW_FILE, np.array([[{}]], dtype=object), allow_pickle=True)
    with pytest.raises(MesoError, match="array of Python objects"):
        Timeline(folder)


# names of the input that counts frames


@pytest.mark.parametrize("name", ["neural_frames", "neuralFrames", "NeuralFrames", "neural frames", "frames", "Frames"])
def test_the_frame_clock_is_found_by_all_usual_names(tmp_path, name):
    session, pulses = write_session(tmp_path)
    meta = session / "raw_sync_data" / META_FILE
    meta.write_text(meta.read_text().replace("neural_frames", name))
    assert extract_frame_times(session).pulses.tolist() == np.concatenate(pulses).tolist()


def test_the_better_name_wins_where_a_camera_has_frames_too(tmp_path):
    folder = write_timeline(tmp_path, {"frames": counter([1, 2], 9), "neuralFrames": counter([3, 7], 9)})
    assert Timeline(folder).channel("neural_frames", "frames").name == "neuralFrames"


def test_another_name_is_refused_and_taken_where_it_is_set(tmp_path):
    session, pulses = write_session(tmp_path)
    meta = session / "raw_sync_data" / META_FILE
    meta.write_text(meta.read_text().replace("neural_frames", "mesoscope_ttl"))
    with pytest.raises(
        TimingError, match=r"'neural_frames' or 'frames', found chrono, mesoscope_ttl, .* MESO_FRAME_CHANNEL"
    ):
        extract_frame_times(session)
    found = extract_frame_times(session, frame_channel="mesoscope_ttl")
    assert found.pulses.tolist() == np.concatenate(pulses).tolist()


def test_two_spellings_of_one_name_are_no_answer_and_one_of_them_can_be_set(tmp_path):
    folder = write_timeline(tmp_path, {"Neural_Frames": counter([1, 2], 9), "neuralFrames": counter([3, 7], 9)})
    timeline = Timeline(folder)
    with pytest.raises(TimingError, match="one channel 'neural_frames', found Neural_Frames, neuralFrames"):
        timeline.channel("neural_frames", "frames")
    assert timeline.channel("neuralFrames").column == 1
