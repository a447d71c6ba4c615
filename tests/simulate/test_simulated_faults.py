"""Files of each layout and with each fault open in other programs, and the truth tells each page on file."""

import dataclasses
import itertools

import numpy as np
import pytest
import tifffile

from meso_core.errors import SettingsError
from meso_core.session import imaging_bouts, raw_tifs, why_ignored
from meso_core.simulate import (
    FAULTS,
    RoiConfig,
    ScanfieldConfig,
    SimulationConfig,
    load_truth,
    preset,
    simulate_session,
)
from meso_core.simulate.tissue.geometry import session_geometry

ROIS = (RoiConfig((-1.0, 0.0), (0.8, 0.4), (16, 16)), RoiConfig((1.0, 0.0), (0.8, 0.4), (20, 16)))
CONFIG = SimulationConfig(
    ROIS, flyto_s=3e-4, frame_rate_hz=25.0, bout_gap_s=2.5, channels=(2, 3), frames_per_bout=(8, 24),
    frames_per_file=20, plain_movie=True,
)  # fmt: skip
BETWEEN = RoiConfig(
    (0, 0), (1, 1), (16, 16),
    scanfields=(ScanfieldConfig(0, (0, 0), (1, 1), (16, 16)), ScanfieldConfig(60, (1, 0), (1, 2), (26, 20), 40.0)),
)  # fmt: skip
#: Settings, and faults.
TABLE = {
    "fast stack with fly-back": ({"zs": (0.0, 30.0), "flyback_frames": 1}, ()),
    "frames per slice, averaged": (
        {"zs": (0.0, 30.0), "frames_per_slice": 4, "frames_averaged": 2, "flyback_frames": 2}, ()
    ),
    "slow stack of 2016": ({"zs": (0.0, 30.0), "frames_per_slice": 2, "stack_mode": "slow", "scanimage": "2016b"}, ()),
    "fast stack of 2018, a depth twice": ({"zs": (0.0, 30.0, 0.0), "scanimage": "2018b"}, ()),
    "ROIs at depths of their own": (
        {"zs": (0.0, 30.0), "rois": (ROIS[0], dataclasses.replace(ROIS[1], zs=(30.0,)))}, ()
    ),
    "a ROI between its scanfields": ({"zs": (0.0, 30.0, 60.0), "rois": (BETWEEN, ROIS[0])}, ()),
    "light beads": ({"channels": (1, 2, 3, 4, 5), "channels_are_depths": True}, ()),
    "no metadata": ({"write_metadata": False}, ()),
    **{fault: ({}, (fault,)) for fault in FAULTS},
    "all faults of pages": ({}, ("missing_frames", "doubled_page", "swapped_frames", "channel_alone")),
    "a tif per channel, cut": ({}, ("tif_per_channel", "truncated_tif", "empty_tif")),
}  # fmt: skip


def whole_pages(path):
    """Frame number, time and pixels of each page that tifffile reads to its end."""
    found = []
    with tifffile.TiffFile(path) as tif:
        for page in tif.pages:
            if page.dataoffsets[0] + page.databytecounts[0] <= path.stat().st_size:
                words = dict(line.split(" = ") for line in page.description.splitlines() if " = " in line)
                found.append((int(words["frameNumbers"]), float(words["frameTimestamps_sec"]), page.asarray()))
    return found


def check_page(pixels, bout, page, truth):
    """Compare a page with the truth: what each FOV's pixels tell, and no light elsewhere."""
    config, number = truth.config, truth.config.channels[page["channel"]]
    rest = pixels.copy()
    for fov, place in zip(truth.fovs, session_geometry(config).fovs, strict=True):
        if page["frame"] in fov.frame_index and fov.channel in (None, number):
            image = pixels[fov.row_start : fov.row_stop, : fov.nx]
            told = np.broadcast_to([bout, page["frame"], number, fov.slice_id, place.roi], (fov.ny, 5))
            np.testing.assert_array_equal(image[:, :5], told)
            np.testing.assert_array_equal(image[:, 5], np.arange(fov.ny))
            assert (image[:, 6:] == np.arange(6, fov.nx)).all()
            rest[fov.row_start : fov.row_stop, : fov.nx] = 0
    assert not rest.any()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", TABLE)
def test_each_layout_and_fault_is_to_two_other_readers_what_the_truth_tells(tmp_path, name):
    from ScanImageTiffReader import ScanImageTiffReader

    changes, faults = TABLE[name]
    made = simulate_session(tmp_path / "Subjects", dataclasses.replace(CONFIG, **changes), faults=faults)
    truth = load_truth(made.truth_path)
    for number, pages in enumerate(truth.pages):
        bout = made.session_path / f"raw_imaging_data_{number:02d}"
        if not bout.exists():
            assert "missing_folder" in faults
            continue
        tifs = [path for path in raw_tifs(bout) if path.name != "overview.tif" and path.stat().st_size]
        assert set(pages["tif"].tolist()) <= set(range(len(tifs)))
        for i, path in enumerate(tifs):
            read, own = whole_pages(path), pages[pages["tif"] == i]
            assert [n for n, _, _ in read] == (own["frame"] + 1).tolist()
            np.testing.assert_allclose([t for _, t, _ in read], own["time"], atol=1e-9)
            for page, (_, _, pixels) in zip(own, read, strict=True):
                check_page(pixels, number, page, truth)
            if "truncated_tif" in faults and path == tifs[-1]:
                continue  # ScanImage's own reader has no half pages
            with ScanImageTiffReader(str(path)) as reader:
                np.testing.assert_array_equal(reader.data(), np.stack([pixels for _, _, pixels in read]))


def test_what_others_leave_is_there_and_is_no_data(tmp_path):
    """By name: the rules for names have tests of their own."""
    faults = ("hidden_files", "thumbs_db", "ea_dir", "partial_copy", "session_number_1", "foreign_fov")
    made = simulate_session(tmp_path / "Subjects", CONFIG, faults=faults)
    clean = simulate_session(tmp_path / "clean", CONFIG)
    assert (made.session_path.name, clean.session_path.name) == ("1", "001")
    assert made.key.folder(tmp_path / "Subjects") == made.session_path
    there, usual = ({p.relative_to(s.session_path).as_posix() for p in s.session_path.rglob("*") if p.is_file()}
                    for s in (made, clean))  # fmt: skip
    assert usual < there
    bout, tifs = "raw_imaging_data_01", [p.name for p in raw_tifs(imaging_bouts(made.session_path)[1])]
    ignored = {".DS_Store", *(f"{bout}/{name}" for name in (".DS_Store", "Thumbs.db", "desktop.ini"))}
    ignored |= {f"{bout}/._{tif}" for tif in tifs} | {f"{bout}/@eaDir/{tif}/SYNOPHOTO_THUMB_M.jpg" for tif in tifs}
    ignored |= {f"{bout}/{tifs[-1]}.part"}
    assert there - usual == ignored | {"alf/FOV_09/notes.txt", "suite2p/plane9/F.npy"}
    assert all(map(why_ignored, ignored))
    assert simulate_session(tmp_path / "Subjects", CONFIG, faults=faults).kept


@pytest.mark.parametrize("place", [0.0, 0.3, 0.999])
def test_a_fault_is_where_it_is_asked_for(tmp_path, place):
    config = dataclasses.replace(CONFIG, frames_per_bout=(24,), frames_per_file=5, channels=(2,), zs=(0.0,))
    made = simulate_session(tmp_path / "Subjects", config, faults=(f"swapped_frames@{place}", f"truncated_tif@{place}"))
    truth = load_truth(made.truth_path)
    frames = truth.pages[0]["frame"].tolist()
    n_whole = int(place * 4)  # of the last tif, but for its header
    assert n_whole - 1 <= len(frames) - 20 <= n_whole
    first = min(int(place * 24), 22)
    assert frames[first : first + 2] == [first + 1, first][: len(frames) - first]
    assert truth.faults == (f"swapped_frames@{place}", f"truncated_tif@{place}")


def test_frames_that_lack_are_counted_in_averages(tmp_path):
    config = dataclasses.replace(CONFIG, frames_per_bout=(24,), frames_per_slice=2, frames_averaged=2, channels=(2,))
    made = simulate_session(tmp_path / "Subjects", config, faults=("missing_frames",))
    assert load_truth(made.truth_path).pages[0]["frame"].tolist() == [0, 2, 4, 6, 8, 10, 18, 20, 22]


def test_faults_of_pages_are_where_the_help_says(tmp_path):
    faults = ("missing_frames", "doubled_page", "swapped_frames", "channel_alone")
    truth = load_truth(simulate_session(tmp_path / "Subjects", CONFIG, faults=faults).truth_path)
    frames, channels = truth.pages[1]["frame"].tolist(), truth.pages[1]["channel"].tolist()
    assert frames == sorted(frames, key=lambda f: {18: 19, 19: 18}.get(f, f)), "but for two frames in the wrong order"
    assert {*range(24)} - {*frames} == {12, 13, 14}
    twice = [(a, c) for (a, c), (b, d) in itertools.pairwise(zip(frames, channels, strict=True)) if (a, c) == (b, d)]
    assert twice == [(6, 0)]
    assert [f for f in set(frames) if frames.count(f) == 1] == [8]


def test_cut_and_empty_tifs_and_tifs_by_channel_are_as_the_truth_says(tmp_path):
    faults = ("tif_per_channel", "truncated_tif")
    made = simulate_session(tmp_path / "Subjects", CONFIG, faults=faults)
    pages = load_truth(made.truth_path).pages[1]
    names = [path.name for path in raw_tifs(imaging_bouts(made.session_path)[1])]
    assert [name[-8:] for name in names] == ["chn2.tif", "chn3.tif"] * 2
    assert [set(pages["channel"][pages["tif"] == i].tolist()) for i in range(4)] == [{0}, {1}, {0}, {1}]
    whole = np.bincount(pages["tif"], minlength=4).tolist()
    assert whole[:3] == [20, 20, 4]
    assert whole[3] < 4


@pytest.mark.parametrize(
    ("fault", "changes", "words"),
    [
        ("tif_per_channel", {}, "two channels or more for tif_per_channel, found one"),
        ("missing_folder", {"frames_per_bout": (9,)}, "two bouts or more for missing_folder, found one"),
        ("session_number_1", {"number": "002"}, "number 001 for session_number_1, found 002"),
        ("truncated_tif@1.5", {}, r"truncated_tif, .* may end with a place as @0\.5, found truncated_tif@1\.5"),
        ("empty_tif@0.5", {}, r"found empty_tif@0\.5"),
        ("mising_frames", {}, r"missing_frames, .*found mising_frames\. .*Check the spelling"),
    ],
)
def test_faults_that_cannot_be_are_refused(tmp_path, fault, changes, words):
    with pytest.raises(SettingsError, match=words):
        simulate_session(tmp_path / "Subjects", dataclasses.replace(preset("tiny"), **changes), faults=(fault,))
    assert not (tmp_path / "Subjects").exists()


def test_a_session_that_shows_nothing_is_refused(tmp_path):
    config = dataclasses.replace(CONFIG, rois=(BETWEEN,), zs=(99.0,))
    with pytest.raises(SettingsError, match=r"a ROI that is imaged at one of the depths \(99\.0,\), found none"):
        simulate_session(tmp_path / "Subjects", config)
