"""The simulated DAQ recording says when the frames were, as ibllib reads it."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from meso_core.simulate import load_truth, preset, simulate_session


def _load(session: Path) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    folder = session / "raw_sync_data"
    raw = np.load(folder / "_timeline_DAQdata.raw.npy", mmap_mode="r")
    (first, start), (last, stop) = np.load(folder / "_timeline_DAQdata.timestamps.npy")
    meta = json.loads((folder / "_timeline_DAQdata.meta.json").read_text())
    times = np.interp(np.arange(len(raw)), [first, last], [start, stop])
    return raw, times, {c["name"]: c["arrayColumn"] - 1 for c in meta["inputs"]}


def _edges(session: Path, name: str) -> np.ndarray:
    raw, times, column = _load(session)
    return times[np.flatnonzero(np.diff(np.asarray(raw[:, column[name]]))) + 1]


def test_counter_rises_within_one_sample_after_each_true_frame(tiny_session) -> None:
    truth = load_truth(tiny_session.truth_path)
    late = _edges(tiny_session.session_path, "neural_frames") - np.concatenate(truth.bout_frames)
    assert (late >= 0).all()
    assert (late <= 1 / truth.config.daq_rate_hz + 1e-9).all()


def test_channels_lie_in_one_piece_as_matlab_writes_them(tiny_session) -> None:
    raw, times, column = _load(tiny_session.session_path)
    assert raw.dtype == np.float64
    assert raw.flags.f_contiguous
    assert raw.shape == (len(times), len(column))
    assert np.diff(times) == pytest.approx(1e-3, rel=1e-9)


def test_channels_are_of_every_kind(tiny_session) -> None:
    folder = tiny_session.session_path / "raw_sync_data"
    inputs = json.loads((folder / "_timeline_DAQdata.meta.json").read_text())["inputs"]
    assert {c["measurement"] for c in inputs} == {"Voltage", "EdgeCount", "Position"}
    raw, _, column = _load(tiny_session.session_path)
    # nobody plugged in audio: it goes up and down in nearly every sample
    assert np.count_nonzero(np.diff(np.asarray(raw[:, column["audio"]]))) > 0.99 * len(raw)
    wheel = np.asarray(raw[:, column["rotary_encoder"]])
    assert wheel.min() >= 0
    assert wheel.max() > 2**31  # below zero the counter wraps


def test_volumes_are_counted_once_for_all_slices(tmp_path: Path) -> None:
    rois = tuple(replace(r, shape=(32, 32)) for r in preset("tiny").rois[:2])
    config = replace(preset("tiny"), rois=rois, zs=(100.0, 150.0), frames_per_bout=(9, 6), write_movie=False)
    made = simulate_session(tmp_path / "S", config)
    assert len(_edges(made.session_path, "neural_frames")) == 15
    assert len(_edges(made.session_path, "volume_counter")) == 5 + 3


def test_times_of_fields_are_exact_to_the_line(tmp_path: Path) -> None:
    rois = tuple(replace(r, shape=(32, 32)) for r in preset("tiny").rois[:2])
    config = replace(preset("tiny"), rois=rois, zs=(100.0, 150.0), frames_per_bout=(9, 6), write_movie=False)
    truth = load_truth(simulate_session(tmp_path / "S", config).truth_path)
    first, _, deep, last = truth.fovs
    frames = truth.bout_frames[0]
    np.testing.assert_array_equal(first.frame_times[:5], frames[::2])
    np.testing.assert_array_equal(deep.frame_times[:4], frames[1::2])
    below = last.frame_times[:4] - deep.frame_times[:4]
    np.testing.assert_allclose(below, last.row_start * truth.line_period, rtol=1e-4)
    np.testing.assert_allclose(np.diff(first.timeshift), truth.line_period)


def test_wrapped_counter_counts_the_same_edges(tmp_path: Path) -> None:
    config = replace(preset("tiny"), write_movie=False)
    made = simulate_session(tmp_path / "S", config, faults=("counter_wrap",))
    raw, _, column = _load(made.session_path)
    count = np.asarray(raw[:, column["neural_frames"]])
    assert count.max() == 2**32 - 1
    assert count.min() == 0
    assert ((np.diff(count) % 2**32) <= 1).all()
    assert len(_edges(made.session_path, "neural_frames")) == 120


@pytest.mark.parametrize(("fault", "pulses"), [("dropped_pulses", 117), ("surplus_pulses", 124), ("missing_bout", 80)])
def test_pulses_are_lost_or_won_as_asked(tmp_path: Path, fault: str, pulses: int) -> None:
    made = simulate_session(tmp_path / "S", replace(preset("tiny"), write_movie=False), faults=(fault,))
    assert len(_edges(made.session_path, "neural_frames")) == pulses


def test_daq_may_have_missed_the_only_bout(tmp_path: Path) -> None:
    config = replace(preset("tiny"), write_movie=False, frames_per_bout=(30,), bout_gap_s=1.1)
    made = simulate_session(tmp_path / "S", config, faults=("missing_bout",))
    assert len(_edges(made.session_path, "neural_frames")) == 0
    events = (made.session_path / "raw_sync_data" / "_timeline_softwareEvents.log.htsv").read_text()
    assert [line.split('"')[3].split()[0] for line in events.splitlines()[1:]] == ["ExpStart", "ExpEnd"]


def test_long_recording_without_a_movie_is_streamed(tmp_path: Path) -> None:
    config = replace(preset("tiny"), write_movie=False, frames_per_bout=(2400,), daq_extra_channels=2)
    made = simulate_session(tmp_path / "S", config)
    raw, times, column = _load(made.session_path)
    assert len(column) == 10
    assert times[-1] > 2400 / 6
    assert not list(made.session_path.rglob("*.tif"))
    assert len(np.load(made.session_path / "raw_imaging_data_00" / "rawImagingData.times_scanImage.npy")) == 2400
    # the chunks join without a seam: a clock line keeps its period across them
    chrono = np.flatnonzero(np.diff((np.asarray(raw[:, column["chrono"]]) > 2.5).astype(int)) > 0)
    assert set(np.diff(chrono)) <= {1999, 2000, 2001}


PEER = """
import json, sys
from pathlib import Path
import numpy as np
import one.alf.io as alfio
from ibllib.io.extractors.mesoscope import MesoscopeSyncTimeline
from ibllib.io.raw_daq_loaders import load_timeline_sync_and_chmap
session = Path(sys.argv[1])
timeline = alfio.load_object(session / 'raw_sync_data', 'DAQdata', namespace='timeline', short_keys=True)
sync, chmap = load_timeline_sync_and_chmap(session / 'raw_sync_data', timeline=timeline, save=False)
events = alfio.load_object(session / 'raw_sync_data', 'softwareEvents').get('log')
collections = sorted(p.name for p in session.glob('raw_imaging_data_*'))
n = len(json.loads((session / collections[0] / '_ibl_rawImagingData.meta.json').read_text())['FOV'])
extractor = MesoscopeSyncTimeline(session, n)
frames = sync['times'][sync['channels'] == chmap['neural_frames']]
edges = [extractor.get_bout_edges(frames, collections, e).tolist() for e in (events[events.name == 'mpepUDP'], None)]
out, _ = extractor.extract(save=False, sync=sync, chmap=chmap, device_collection=collections, events=events)
print('RESULT' + json.dumps({'edges': edges, 'times': [np.asarray(t).tolist() for t in out[:n]],
                             'lines': [np.asarray(t).tolist() for t in out[n:]]}))
"""


def test_ibllib_reads_the_recording_and_finds_the_true_times(tiny_session, peer_python: Path) -> None:
    ran = subprocess.run(
        [str(peer_python), "-c", PEER, str(tiny_session.session_path)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    result = json.loads(ran.stdout.rpartition("RESULT")[2])
    truth = load_truth(tiny_session.truth_path)
    sample = 1 / truth.config.daq_rate_hz + 1e-6
    for edges in result["edges"]:  # from software events, and from gaps
        assert len(edges) == 2
        for (start, stop), frames in zip(edges, truth.bout_frames, strict=True):
            assert 0 <= start - frames[0] <= sample
            assert 0 <= stop - frames[-1] <= sample
    for times, lines, fov in zip(result["times"], result["lines"], truth.fovs, strict=True):
        assert np.abs(np.array(times) - fov.frame_times).max() <= sample
        np.testing.assert_allclose(lines, fov.timeshift, atol=1e-6)
