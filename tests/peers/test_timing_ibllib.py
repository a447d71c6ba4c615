"""Frame times and frame QC beside ibllib 4.0.0 on the same files: equal where it is right, and where it is not.

All sessions are made first and go through the peer in one process, since its import takes longer than its work.
"""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from meso_core.scanimage import load_meta_files
from meso_core.simulate import load_truth, preset, simulate_session
from meso_core.timing import consolidate_frame_qc, extract_frame_times, get_timeshifts

sys.path.insert(0, str(Path(__file__).parents[1] / "timing"))
from timing_rig import imaging_meta, udp, write_session

SCRIPT = Path(__file__).with_name("timing_peer.py")
#: s; both add the same numbers, so they agree far better than a sample of the DAQ.
TOLERANCE = 1e-9

# one field in the first slice, three in the second
DEPTHS = ((100.0, 200.0), (200.0,), (200.0,))
UNEQUAL = tuple(dataclasses.replace(roi, zs=zs) for roi, zs in zip(preset("tiny").rois, DEPTHS, strict=True))
SIMULATED = {
    "plain": {},
    "skipped_folder": {"faults": ("missing_folder",)},
    "surplus": {"faults": ("surplus_pulses",)},
    "two_depths": {"zs": (100.0, 200.0), "frames_per_bout": (60, 40)},
    "four_depths": {"zs": (10.0, 20.0, 30.0, 40.0), "frames_per_bout": (80,)},
    "wrap": {"faults": ("counter_wrap",)},
    "stops_in_mid_volume": {"zs": (100.0, 200.0), "frames_per_bout": (61,)},
    "depths_not_in_order": {"zs": (300.0, 100.0, 200.0), "frames_per_bout": (60,)},
    "unequal_slices": {"zs": (100.0, 200.0), "frames_per_bout": (60,), "rois": UNEQUAL},
    "unplugged_channel": {"frames_per_bout": (300,)},
}  # fmt: skip


def simulate(root: Path, faults: tuple[str, ...] = (), **changes: object):
    config = dataclasses.replace(preset("tiny"), write_movie=False, **changes)
    return simulate_session(root / "Subjects", config, faults=faults)


@pytest.fixture(scope="module")
def sessions(tmp_path_factory):
    """Sessions by name: their folder, and the truth where they are simulated."""
    root = tmp_path_factory.mktemp("peer")
    made = {}
    for name, settings in SIMULATED.items():
        session = simulate(root / name, **settings)
        made[name] = session.session_path, load_truth(session.truth_path)
    plain = simulate(root / "gaps")
    (plain.session_path / "raw_sync_data" / "_timeline_softwareEvents.log.htsv").unlink()
    made["gaps"] = plain.session_path, load_truth(plain.truth_path)
    starts = [udp("BlockStart", 10.2), udp("BlockStart", 17.0)]
    blocks = [starts[0], udp("BlockEnd", 14.5), starts[1], udp("BlockEnd", 30)]
    late = [starts[0], udp("BlockEnd", 15), udp("BlockStart", 17.6), udp("BlockEnd", 21)]  # first pulse: 17.4 s
    by_hand = {
        "no_ends": ((40, 21), {"events": starts}),
        "blocks_only": ((40, 21), {"events": blocks, "order": "F", "compact_times": True}),
        "late_event": ((40, 21), {"events": late}),
        "more_lines_deeper": ((40,), {"meta": imaging_meta((0, 1), line_starts=(0, 60))}),
    }
    for name, (n_frames, settings) in by_hand.items():
        made[name] = write_session(root / name, n_frames, **settings)[0], None
    return made


@pytest.fixture(scope="module")
def rated(tmp_path_factory):
    """Imaging folders with frame QC, and the number of frames in each; labels and values as in ibllib's own test."""
    bouts = [
        (["ok", "PMT off", "galvos fault", "high signal"], [0, 0, 0, 2, 2, 2, 2, 3, 3, 3, 4]),
        (["ok", "PMT off", "foo", "galvos fault", ""], [0, 0, 1, 1, 2, 2, 3, 4]),
        (["ok"], [0, 0]),
    ]
    folders = []
    for names, values in bouts:
        folders.append(tmp_path_factory.mktemp("raw_imaging_data"))
        cells = np.empty((1, len(names)), dtype=object)
        cells[0] = names
        savemat(folders[-1] / "exptQC.mat", {"frameQC_frames": np.uint8([values]), "frameQC_names": cells})
        savemat(folders[-1] / "badframes.mat", {"badframes": np.flatnonzero(values).astype(np.uint32)})
    return folders, [len(values) for _, values in bouts]


@pytest.fixture(scope="module")
def peer(sessions, rated, peer_python, tmp_path_factory):
    """What ibllib found, by name of the session, and under ``frame_qc``."""
    out = tmp_path_factory.mktemp("out")
    jobs = [{"session": str(folder), "out": str(out / f"{name}.npz")} for name, (folder, _) in sessions.items()]
    jobs.append({"exptqc": [str(folder / "exptQC.mat") for folder in rated[0]], "out": str(out / "frame_qc.npz")})
    (out / "jobs.json").write_text(json.dumps(jobs))
    environment = {**os.environ, "MPLBACKEND": "Agg", "HOME": str(out)}
    subprocess.run([peer_python, SCRIPT, out / "jobs.json"], check=True, env=environment, capture_output=True)
    return {name: dict(np.load(out / f"{name}.npz")) for name in (*sessions, "frame_qc")}


@pytest.mark.filterwarnings("ignore::meso_core.errors.MesoWarning")
@pytest.mark.parametrize(
    "name",
    ["plain", "gaps", "no_ends", "blocks_only", "surplus", "skipped_folder", "two_depths", "four_depths",
     "unplugged_channel"],
)  # fmt: skip
def test_times_equal_ibllib_where_it_is_right(sessions, peer, name):
    theirs, ours = peer[name], extract_frame_times(sessions[name][0])
    assert "error" not in theirs, theirs.get("error")
    for i, (times, shift) in enumerate(zip(ours.times, ours.timeshift, strict=True)):
        np.testing.assert_allclose(times, theirs[f"times_{i}"], rtol=0, atol=TOLERANCE)
        np.testing.assert_allclose(shift, theirs[f"shift_{i}"], rtol=0, atol=TOLERANCE)


def worst_error(found, truth):
    """Largest distance from the true times, s; infinite where the numbers of frames differ."""
    pairs = [(np.asarray(t), np.asarray(fov.frame_times)) for t, fov in zip(found, truth.fovs, strict=True)]
    return max(float(np.abs(a - b).max()) if a.shape == b.shape else np.inf for a, b in pairs)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("wrap", "fewer DAQ timestamps"),  # its correction is one count short, so the edge of the wrap is lost
        ("stops_in_mid_volume", "too many values to unpack"),  # it wants equal numbers of frames at all depths
        ("depths_not_in_order", "not in ascending order"),  # a stack may be scanned in any order
    ],
)
def test_where_ibllib_fails_ours_is_within_a_sample_of_the_truth(sessions, peer, name, error):
    folder, truth = sessions[name]
    assert error in str(peer[name]["error"])
    assert worst_error(extract_frame_times(folder).times, truth) < 1.1e-3


def test_slices_with_unequal_numbers_of_fields_are_right_here_and_not_in_ibllib(sessions, peer):
    """It takes the offsets of the first FOVs for those of every slice."""
    folder, truth = sessions["unequal_slices"]
    theirs = [peer["unequal_slices"][f"times_{i}"] for i in range(len(truth.fovs))]
    assert worst_error(theirs, truth) > 0.01
    assert worst_error(extract_frame_times(folder).times, truth) < 1.1e-3


def test_lines_of_a_deeper_field_are_its_own_here_and_the_first_slice_s_in_ibllib(sessions, peer):
    ours = extract_frame_times(sessions["more_lines_deeper"][0])
    line_period = imaging_meta()["scanImageParams"]["hRoiManager"]["linePeriod"]
    assert np.allclose(ours.times[1] - peer["more_lines_deeper"]["times_1"], 60 * line_period)


def test_an_event_that_was_logged_late_costs_ibllib_the_bout_and_nothing_here(sessions, peer):
    assert "fewer DAQ timestamps" in str(peer["late_event"]["error"])
    assert [bout.n_surplus for bout in extract_frame_times(sessions["late_event"][0]).bouts] == [0, 0]


def test_an_unplugged_channel_makes_thousands_of_fronts_in_ibllib_and_is_not_read_here(sessions, peer):
    folder, truth = sessions["unplugged_channel"]
    assert peer["unplugged_channel"]["fronts_audio"] > 1000
    raw = folder / "raw_sync_data" / "_timeline_DAQdata.raw.npy"
    column = next(c.column for c in _channels(folder) if c.name == "audio")
    before = extract_frame_times(folder)
    samples = np.load(raw)
    samples[:, column] = np.nan
    np.save(raw, samples)
    after = extract_frame_times(folder)
    assert all(np.array_equal(a, b) for a, b in zip(before.times, after.times, strict=True))
    assert worst_error(after.times, truth) < 1.1e-3


def _channels(folder):
    from meso_core.timing import Timeline

    return Timeline(folder / "raw_sync_data").channels


def test_frame_qc_equals_ibllib_s(rated, peer):
    """Labels in the order in which they are met, values without a name at the end."""
    theirs = peer["frame_qc"]
    assert "error" not in theirs, theirs.get("error")
    ours = consolidate_frame_qc(*rated)
    np.testing.assert_array_equal(ours.values, theirs["values"])
    assert list(ours.labels) == theirs["labels"].tolist()
    np.testing.assert_array_equal(np.flatnonzero(ours.values), theirs["bad"])


@pytest.mark.parametrize("name", ["plain", "two_depths", "more_lines_deeper"])
def test_ibllibs_time_shifts_follow_from_ours_as_the_docstring_says(sessions, peer, name):
    meta, _ = load_meta_files(sessions[name][0])
    shifts = get_timeshifts(meta)
    rate = meta["scanImageParams"]["hRoiManager"]["scanFrameRate"]
    theirs = peer[name]
    np.testing.assert_allclose(
        shifts.first_line + np.array(shifts.slices) / rate, theirs["fov_time_shifts"], rtol=0, atol=TOLERANCE
    )
    for i, fov in enumerate(meta["FOV"]):
        np.testing.assert_array_equal(np.array(fov["lineIdx"]) - 1, theirs[f"line_indices_{i}"])
        np.testing.assert_allclose(shifts.lines[i], theirs[f"line_time_shifts_{i}"], rtol=0, atol=TOLERANCE)
