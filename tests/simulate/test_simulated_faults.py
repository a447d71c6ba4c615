"""Files with faults in their pages open in other programs, and the truth tells each page on file."""

import dataclasses
import itertools

import numpy as np
import pytest
import tifffile

from meso_core.errors import SettingsError
from meso_core.session import imaging_bouts, raw_tifs
from meso_core.simulate import load_truth, preset, simulate_session

CONFIG = dataclasses.replace(preset("tiny"), channels=(2, 3), frames_per_bout=(8, 24), frames_per_file=20)


def pages_by_tifffile(bout):
    """Frame number and time of each page that tifffile reads to its end, by tif."""
    found = []
    for path in raw_tifs(bout):
        with tifffile.TiffFile(path) as tif:
            ends = [(p, p.dataoffsets[0] + p.databytecounts[0]) for p in tif.pages]
            texts = [p.description for p, end in ends if end <= path.stat().st_size]
        fields = [dict(line.split(" = ") for line in text.splitlines() if " = " in line) for text in texts]
        found.append([(int(f["frameNumbers"]), float(f["frameTimestamps_sec"])) for f in fields])
    return found


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_truth_tells_each_page_that_others_read(tmp_path):
    from ScanImageTiffReader import ScanImageTiffReader

    faults = ("missing_frames", "doubled_page", "swapped_frames", "channel_alone")
    made = simulate_session(tmp_path / "Subjects", CONFIG, faults=faults)
    truth = load_truth(made.truth_path)
    for bout, pages in zip(imaging_bouts(made.session_path), truth.pages, strict=True):
        read = pages_by_tifffile(bout)
        assert [len(tif) for tif in read] == np.bincount(pages["tif"]).tolist()
        assert [number for tif in read for number, _ in tif] == (pages["frame"] + 1).tolist()
        np.testing.assert_allclose([t for tif in read for _, t in tif], pages["time"], atol=1e-9)
        for path, tif in zip(raw_tifs(bout), read, strict=True):
            with ScanImageTiffReader(str(path)) as reader:
                assert reader.shape()[0] == len(tif)
                np.testing.assert_array_equal(reader.data(), tifffile.imread(path).reshape(reader.shape()))
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
    whole = [len(tif) for tif in pages_by_tifffile(imaging_bouts(made.session_path)[1])]
    assert whole == np.bincount(pages["tif"]).tolist()
    assert whole[:3] == [20, 20, 4]
    assert whole[3] < 4


def test_faults_of_channels_need_two(tmp_path):
    with pytest.raises(SettingsError, match="two channels or more for tif_per_channel, found one"):
        simulate_session(tmp_path / "Subjects", preset("tiny"), faults=("tif_per_channel",))
