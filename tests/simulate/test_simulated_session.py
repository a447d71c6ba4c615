"""A simulated session is whole or not there, the same every time, and wrong only where that was asked for."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from meso_core.errors import MissingInputError, SettingsError, StorageError
from meso_core.session import find_sessions, imaging_bouts, raw_tifs
from meso_core.simulate import PRESETS, SimulationConfig, load_truth, preset, simulate_session
from meso_core.simulate.truth import config_from_json, config_to_json


def _small(**changes) -> SimulationConfig:
    rois = tuple(replace(r, shape=(32, 32)) for r in preset("tiny").rois[:2])
    return replace(preset("tiny"), **{"rois": rois, "frames_per_bout": (24, 9), "frames_per_file": 10, **changes})


def _hashes(folder: Path) -> dict[str, str]:
    files = (p for p in sorted(folder.rglob("*")) if p.is_file())
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_same_settings_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = (simulate_session(tmp_path / name / "S", _small()) for name in "ab")
    assert _hashes(first.session_path) == _hashes(second.session_path)
    assert _hashes(first.truth_path) == _hashes(second.truth_path)


def test_another_seed_gives_other_tissue(tmp_path: Path) -> None:
    first, second = (simulate_session(tmp_path / str(s) / "S", _small(seed=s)) for s in (0, 1))
    a, b = (load_truth(m.truth_path).fovs[0] for m in (first, second))
    assert a.centres.shape != b.centres.shape or not np.allclose(a.centres, b.centres)


def test_cutting_into_files_does_not_change_a_pixel(tmp_path: Path) -> None:
    def pages(frames_per_file: int) -> np.ndarray:
        made = simulate_session(tmp_path / str(frames_per_file) / "S", _small(frames_per_file=frames_per_file))
        tifs = raw_tifs(made.session_path / "raw_imaging_data_00")
        assert len(tifs) == -(-24 // frames_per_file)
        return np.concatenate([tifffile.imread(p) for p in tifs])

    np.testing.assert_array_equal(pages(7), pages(24))


def test_truth_lies_beside_the_root_and_never_inside(tmp_path: Path) -> None:
    made = simulate_session(tmp_path / "S", _small())
    assert made.session_path == tmp_path / "S" / "SP035" / "2023-03-03" / "001"
    assert made.truth_path == tmp_path / "S.truth" / "SP035" / "2023-03-03" / "001"
    assert not [p for p in (tmp_path / "S").rglob("*") if "truth" in p.name]
    assert find_sessions(tmp_path / "S") == (made.key,)


def test_the_same_session_is_left_as_it_is_and_another_is_refused(tmp_path: Path) -> None:
    made = simulate_session(tmp_path / "S", _small())
    stamp = (made.session_path / "raw_session.flag").stat().st_mtime_ns
    assert simulate_session(tmp_path / "S", _small()) == made
    assert (made.session_path / "raw_session.flag").stat().st_mtime_ns == stamp
    with pytest.raises(StorageError, match="another session"):
        simulate_session(tmp_path / "S", _small(seed=5))


def test_a_simulation_that_fails_leaves_nothing_half_done(tmp_path: Path) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate_session(tmp_path / "S", _small(), progress=stop)
    assert not [p for p in tmp_path.rglob("*") if p.is_file() or p.name.endswith(".part")]


def test_a_seed_that_numpy_cannot_take_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="seed"):
        simulate_session(tmp_path / "S", replace(_small(), seed=-3))
    assert not list(tmp_path.iterdir())


def test_a_session_that_was_there_already_says_so(tmp_path: Path) -> None:
    assert not simulate_session(tmp_path / "S", _small()).kept
    assert simulate_session(tmp_path / "S", _small()).kept


def test_a_session_that_was_made_before_a_setting_came_is_the_same_one(tmp_path: Path) -> None:
    head = simulate_session(tmp_path / "S", _small()).truth_path / "truth.json"
    told = json.loads(head.read_text())
    del told["config"]["reference_depths_um"]
    head.write_text(json.dumps(told))
    assert simulate_session(tmp_path / "S", _small()).kept
    with pytest.raises(StorageError, match="another session"):
        simulate_session(tmp_path / "S", _small(reference_depths_um=(-5.0, 0.0, 5.0)))


def test_a_killed_run_leaves_no_session_and_does_not_hinder_the_next(tmp_path: Path) -> None:
    def stop(done: int, total: int, what: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate_session(tmp_path / "S", _small(), progress=stop)
    assert find_sessions(tmp_path / "S") == ()
    made = simulate_session(tmp_path / "S", _small())
    assert find_sessions(tmp_path / "S") == (made.key,)
    assert not list((tmp_path / "S").rglob("*.part"))


def test_progress_counts_the_frames_of_all_bouts(tmp_path: Path) -> None:
    heard = []
    simulate_session(tmp_path / "S", _small(), progress=lambda done, total, what: heard.append((done, total)))
    assert heard[-1] == (33, 33)
    assert heard == sorted(heard)


def test_truth_has_one_row_per_frame_and_survives_the_disk(tmp_path: Path) -> None:
    config = _small(lab="cortexlab", indicator="6f")
    made = simulate_session(tmp_path / "S", config)
    truth = load_truth(made.truth_path)
    assert truth.config == config == config_from_json(config_to_json(config))
    for fov in truth.fovs:
        assert fov.frames_per_bout == (24, 9)
        arrays = (fov.frame_times, fov.bad_frames, fov.shifts, fov.weights, fov.axial, fov.spikes, fov.traces,
                  fov.background)  # fmt: skip
        assert {len(a) for a in arrays} == {33}
        assert fov.spikes.shape == fov.traces.shape == (33, fov.n_cells)
        assert fov.displacement(3).shape == (2, fov.ny, fov.nx)
        assert fov.mask_y.max(initial=0) < fov.ny
        assert isinstance(fov.traces, np.memmap)
    with pytest.raises(MissingInputError):
        load_truth(tmp_path)


def test_presets_are_as_described() -> None:
    assert {len(preset(name).rois) for name in ("bench",)} == {4}
    real = preset("real")
    assert [r.shape for r in real.rois] == [(512, 512)] * 8
    assert sum(real.frames_per_bout) >= 2000
    assert {preset(n).key.subject for n in PRESETS} == {"SP035"}
    with pytest.raises(SettingsError, match="tiny"):
        preset("huge")


@pytest.mark.parametrize(("name", "value"), [
    ("rois", ()), ("zs", ()), ("frames_per_bout", ()), ("frames_per_bout", (0,)), ("channels", (1, 2, 2)),
    ("channels", (7,)), ("indicator", "7f"), ("bout_gap_s", 0.5), ("flyback_frames", -1),
    ("frames_per_slice", 0), ("frames_averaged", 0), ("reference_depths_um", (0.0, -5.0)),
    ("frames_averaged", "mixed"), ("flyback_frames", "slow"), ("frames_per_slice", "2016b"),
])  # fmt: skip
def test_settings_that_no_microscope_has_are_refused_by_name(name: str, value: object) -> None:
    others = {
        "mixed": {"zs": (0.0, 30.0), "frames_per_slice": 3, name: 2},
        "slow": {"zs": (0.0, 30.0), "stack_mode": "slow", name: 1},
        "2016b": {"zs": (0.0, 30.0), "scanimage": "2016b", name: 2},
    }
    changes = others[value] if value in ("mixed", "slow", "2016b") else {name: value}
    with pytest.raises(SettingsError, match=f"field '{name}'"):
        replace(preset("tiny"), **changes)


def test_small_files_of_the_rig_are_there_and_the_flag_is_empty(tiny_session) -> None:
    folder = tiny_session.session_path
    assert (folder / "raw_session.flag").read_bytes() == b""
    assert (folder / "snapshots" / "mean_image_FOV_00.png").read_bytes()[:4] == b"\x89PNG"
    assert (folder / "snapshots" / "mean_image_FOV_00.txt").read_text().strip()
    import yaml

    described = yaml.safe_load((folder / "_ibl_experiment.description.yaml").read_text())
    assert described["devices"]["mesoscope"]["mesoscope"]["sync_label"] == "neural_frames"
    for bout in imaging_bouts(folder):
        (reference,) = (bout / "reference").glob("*.tif")
        with tifffile.TiffFile(reference) as tif:
            assert tif.is_scanimage
            assert len(tif.pages) == 3
            assert len(tif.scanimage_metadata["RoiGroups"]["imagingRoiGroup"]["rois"]) == 3


def test_frame_qc_names_the_true_bad_frames(tiny_session) -> None:
    from scipy.io import loadmat

    truth = load_truth(tiny_session.truth_path).fovs[0].bad_frames
    bad, labels = [], []
    first = 0
    for bout, n in zip(imaging_bouts(tiny_session.session_path), (80, 40), strict=True):
        qc = loadmat(bout / "exptQC.mat", squeeze_me=True, simplify_cells=True)
        frames = loadmat(bout / "badframes.mat", squeeze_me=True, simplify_cells=True)["badframes"]
        assert qc["frameQC_frames"].shape == (n,)
        names = list(qc["frameQC_names"])
        assert names[0] == "ok"
        labels.append(names)
        np.testing.assert_array_equal(np.flatnonzero(qc["frameQC_frames"]), np.atleast_1d(frames))
        bad.extend(np.atleast_1d(frames) + first)
        first += n
    np.testing.assert_array_equal(bad, np.flatnonzero(truth))
    assert labels[0] != labels[1]
    assert set(labels[0]) == set(labels[1])


def _difference(tmp_path: Path, fault: str) -> tuple[Path, dict[str, str], dict[str, str]]:
    fine = simulate_session(tmp_path / "fine" / "S", _small())
    spoilt = simulate_session(tmp_path / "spoilt" / "S", _small(), faults=(fault,))
    assert load_truth(spoilt.truth_path).faults == (fault,)
    a, b = _hashes(fine.session_path), _hashes(spoilt.session_path)
    return (
        spoilt.session_path,
        {k: "gone" for k in a.keys() - b.keys()} | {k: "changed" for k in a.keys() & b.keys() if a[k] != b[k]},
        {k: "new" for k in b.keys() - a.keys()},
    )


LAST = "raw_imaging_data_01"
DAQ = "raw_sync_data/_timeline_DAQdata.raw.npy"


@pytest.mark.parametrize(("fault", "changed"), [
    ("truncated_tif", {f"{LAST}/2023-03-03_2_SP035_2P_00001_00001.tif": "changed"}),
    ("foreign_tif", {}),
    ("missing_metadata", {f"{LAST}/_ibl_rawImagingData.meta.json": "gone",
                          f"{LAST}/rawImagingData.times_scanImage.npy": "gone"}),
    ("metadata_mismatch", {f"{LAST}/_ibl_rawImagingData.meta.json": "changed"}),
    ("dropped_pulses", {DAQ: "changed"}),
    ("surplus_pulses", {DAQ: "changed"}),
    ("counter_wrap", {DAQ: "changed"}),
    ("missing_bout", {DAQ: "changed", "raw_sync_data/_timeline_softwareEvents.log.htsv": "changed"}),
    ("wrong_length_qc", {f"{LAST}/exptQC.mat": "changed"}),
])  # fmt: skip
def test_a_fault_changes_what_it_says_and_nothing_else(tmp_path: Path, fault: str, changed: dict[str, str]) -> None:
    _, found, new = _difference(tmp_path, fault)
    assert found == changed
    assert set(new) == ({"raw_imaging_data_00/overview.tif"} if fault == "foreign_tif" else set())


def test_missing_folder_takes_the_first_bout_alone(tmp_path: Path) -> None:
    folder, found, _ = _difference(tmp_path, "missing_folder")
    assert all(name.startswith("raw_imaging_data_00/") for name in found)
    assert [b.name for b in imaging_bouts(folder)] == [LAST]


def test_truncated_tif_ends_inside_a_page(tmp_path: Path) -> None:
    made = simulate_session(tmp_path / "S", _small(), faults=("truncated_tif",))
    path = raw_tifs(made.session_path / LAST)[-1]
    whole = simulate_session(tmp_path / "T", _small())
    with tifffile.TiffFile(raw_tifs(whole.session_path / LAST)[-1]) as tif:
        ends = [p.dataoffsets[0] + p.databytecounts[0] for p in tif.pages]
    assert path.stat().st_size not in ends
    assert path.stat().st_size < ends[-1]


def test_memory_does_not_grow_with_the_number_of_frames(tmp_path: Path) -> None:
    script = """
import json, resource, sys
from dataclasses import replace
from meso_core.simulate import preset, simulate_session
rois = tuple(replace(r, shape=(192, 192)) for r in preset("tiny").rois[:1])
n = int(sys.argv[2])
simulate_session(sys.argv[1] + "/S", replace(preset("tiny"), rois=rois, frames_per_bout=(n,), frames_per_file=400))
print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))
"""

    def peak_mb(n: int) -> float:
        made = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / str(n)), str(n)], capture_output=True, text=True, check=True
        )
        return float(json.loads(made.stdout))

    # 900 frames more are 63 MB more of pixels
    assert peak_mb(1200) - peak_mb(300) < 20
