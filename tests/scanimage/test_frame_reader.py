"""Frames read from where they lie are those that the split of the whole bout writes; few tifs are opened."""

import numpy as np
import pytest
from scanimage_files import small_config, write_bout

from meso_core.errors import InputFileError
from meso_core.scanimage import ChosenFrames, ImagingLayout, ScanImageTif, bin_per_plane, load_session_metadata
from meso_core.session import raw_tifs

CONFIGS = {
    "plain": small_config(),
    "two channels": small_config(channels=(3, 2)),
    "three depths": small_config(zs=(100.0, 130.0, 160.0)),
    "fly-back frames": small_config(zs=(100.0, 130.0), flyback_frames=2, channels=(1, 3)),
}


def write(folder, config, tifs=(4, 3, 5, 4)):
    per_volume = (len(config.zs) + config.flyback_frames) * len(config.channels)
    bout = folder / "001" / "raw_imaging_data_00"
    write_bout(bout, config, tuple(n * per_volume for n in tifs), 1)
    return bout, load_session_metadata(folder / "001", center_ml=config.center_mm[0], center_ap=config.center_mm[1])


def places_of(metadata, fov):
    bout = metadata.bouts[0]
    is_own = bout.imaging.stack.slices_of(bout.frames_in_acquisition) == metadata.imaging.fovs[fov].slice_index
    return bout.frame_index[is_own]


@pytest.mark.parametrize("name", CONFIGS)
def test_chosen_frames_are_those_of_the_split(tmp_path, name):
    folder, metadata = write(tmp_path, CONFIGS[name])
    layout = ImagingLayout.from_meta(metadata.imaging)
    movies = bin_per_plane(tmp_path / "001", metadata.imaging, tmp_path / "suite2p")
    reader = ChosenFrames(folder.name, raw_tifs(folder), layout)
    for movie in movies:
        whole = np.fromfile(movie.path, np.int16).reshape(-1, movie.ny, movie.nx)
        for wanted in (np.arange(5), np.array([3, 4, 7, 8, 15]), np.arange(16), np.array([11])):
            found = np.stack(list(reader.read(movie.fov, places_of(metadata, movie.fov)[wanted])))
            np.testing.assert_array_equal(found, whole[wanted])


def test_only_tifs_that_may_hold_them_are_opened(tmp_path, monkeypatch):
    folder, metadata = write(tmp_path, CONFIGS["plain"], tifs=(2,) * 16)
    opened = []
    monkeypatch.setattr(
        "meso_core.scanimage.frames.frame_reader.ScanImageTif",
        lambda path: opened.append(path.name) or ScanImageTif(path),
    )
    reader = ChosenFrames(folder.name, raw_tifs(folder), ImagingLayout.from_meta(metadata.imaging))
    list(reader.read(0, places_of(metadata, 0)[20:24]))
    assert len(opened) <= 6, "four for the search among sixteen, two that are read"


def test_a_tif_that_is_gone_and_one_that_is_cut_are_named_and_read_when_they_are_back(tmp_path):
    folder, metadata = write(tmp_path, CONFIGS["plain"])
    tifs, layout = raw_tifs(folder), ImagingLayout.from_meta(metadata.imaging)
    without = ChosenFrames(folder.name, [tif for tif in tifs if tif != tifs[1]], layout)
    with pytest.raises(InputFileError, match=r"frame 5.*expected one page of each channel.*0 in"):
        list(without.read(0, places_of(metadata, 0)[3:6]))
    reader = ChosenFrames(folder.name, tifs, layout)
    assert len(list(reader.read(0, places_of(metadata, 0)[3:6]))) == 3, "the tif is back"
    list(reader.read(0, places_of(metadata, 0)[-1:]))
    content = tifs[-1].read_bytes()
    with tifs[-1].open("r+b") as file:
        file.truncate(file.seek(0, 2) - 20_000)
    with pytest.raises(InputFileError, match=r"shorter than when its headers were read|an end after"):
        list(reader.read(0, places_of(metadata, 0)[-4:]))
    tifs[-1].write_bytes(content)
    assert len(list(reader.read(0, places_of(metadata, 0)[-4:]))) == 4, "the copy has finished"
    with pytest.raises(InputFileError, match=r"none of its pages"):
        list(ChosenFrames(folder.name, (), layout).read(0, places_of(metadata, 0)[:1]))
