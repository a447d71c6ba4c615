"""Each FOV's binary holds its rows of its pages, of all bouts and channels, and nothing else."""

import shutil
import subprocess
import sys
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scanimage_files import at_depths, fov_frames, small_config, write_bout

from meso_core.errors import InputFileError, MesoWarning, MetadataError, MissingInputError, StorageError
from meso_core.scanimage import (
    BoutSource,
    LocalTif,
    ScanImageTif,
    StreamedTif,
    bin_per_plane,
    extract_imaging_meta,
    load_meta_files,
    local_bouts,
)
from meso_core.session import raw_tifs
from meso_core.simulate import load_truth
from meso_core.storage.files.atomic import part_path

CONFIGS = {
    "plain": small_config(),
    "two channels": small_config(channels=(3, 2)),
    "three depths": small_config(zs=(100.0, 130.0, 160.0)),
    "fly-back frames": small_config(zs=(100.0, 130.0), flyback_frames=2, channels=(1, 3)),
    "other order": small_config(zs=(160.0, 100.0)),
    "own depths": at_depths(small_config(((16, 16), (20, 16), (24, 16)), zs=(50.0, 80.0)), (50.0,), (50.0, 80.0), ()),
}


def read(path, fov):
    return np.fromfile(path, np.int16).reshape(-1, fov.ny, fov.nx)


def meta_of(folder, config):
    return extract_imaging_meta(raw_tifs(folder), *config.center_mm)[0]


@pytest.mark.parametrize("name", CONFIGS)
def test_every_fov_channel_and_depth_of_two_bouts_is_there(tmp_path, name):
    config = CONFIGS[name]
    n = len(config.channels)
    per_volume = (len(config.zs) + config.flyback_frames) * n
    bouts = [
        write_bout(tmp_path / "001" / "raw_imaging_data_00", config, (2 * per_volume + n, 3 * per_volume - n), 1),
        write_bout(tmp_path / "001" / "raw_imaging_data_01", config, (4 * per_volume,), 2, start_s=60),
    ]
    meta = meta_of(tmp_path / "001" / "raw_imaging_data_00", config)
    done = []
    fovs = bin_per_plane(tmp_path / "001", meta, tmp_path / "suite2p", progress=lambda *told: done.append(told))

    assert [f.folder.name for f in fovs] == [f"plane{i}" for i in range(len(meta["FOV"]))]
    order = list(range(len(config.channels)))
    if config.channels == (3, 2):
        order = [1, 0]  # 2 is the green one
    for fov in fovs:
        paths = [fov.path, fov.path_chan2]
        means = [fov.mean, fov.mean_chan2]
        for channel, path, mean in zip(order, paths, means, strict=False):
            want = np.concatenate([fov_frames(pages, config, fov.fov, channel) for pages in bouts])
            np.testing.assert_array_equal(read(path, fov), want)
            np.testing.assert_array_equal(mean, want.mean(axis=0, dtype=np.float64))
        assert fov.frames_per_bout == (5, 4)
        assert fov.n_frames == 9
        assert (fov.path_chan2 is None) == (len(config.channels) == 1)
    n_pages = sum(map(len, bouts))
    assert done[-1] == (n_pages, n_pages, "pages split")
    assert sorted(p.name for p in (tmp_path / "suite2p").rglob("*.part")) == []


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_the_result_does_not_depend_on_blocks_files_or_sources(tmp_path_factory, data):
    """Any cut of a recording into files, blocks and kinds of source gives the same binaries."""
    config = data.draw(st.sampled_from(list(CONFIGS.values())))
    sizes = data.draw(st.lists(st.integers(1, 7), min_size=1, max_size=4))
    folder = tmp_path_factory.mktemp("any")
    pages = write_bout(folder / "bout", config, tuple(n * len(config.channels) for n in sizes))
    if len(pages) < len(config.zs) * len(config.channels):
        return
    tifs = [
        LocalTif(p) if data.draw(st.booleans()) else StreamedTif(p.name, lambda p=p: p.open("rb"))
        for p in raw_tifs(folder / "bout")
    ]
    meta = meta_of(folder / "bout", config)
    rest = len(pages) % ((len(config.zs) + config.flyback_frames) * len(config.channels))
    cut = 0 < rest < len(config.zs) * len(config.channels)
    with pytest.warns(MesoWarning) if cut else _nothing():
        fovs = bin_per_plane(
            [BoutSource("raw_imaging_data_00", tifs)],
            meta,
            folder / "out",
            block_bytes=data.draw(st.sampled_from([1, 3000, 1 << 20])),
        )
    channel = config.channels.index(2) if 2 in config.channels else 0
    for fov in fovs:
        np.testing.assert_array_equal(read(fov.path, fov), fov_frames(pages, config, fov.fov, channel))


def _nothing():
    import contextlib

    return contextlib.nullcontext()


def test_a_recording_that_stopped_in_mid_volume_keeps_all_frames_and_tells(tmp_path):
    config = CONFIGS["three depths"]
    pages = write_bout(tmp_path / "001" / "raw_imaging_data_00", config, (8,))
    meta = meta_of(tmp_path / "001" / "raw_imaging_data_00", config)
    with pytest.warns(MesoWarning, match=r"raw_imaging_data_00: the last volume is incomplete: the first 2 of 3"):
        fovs = bin_per_plane(tmp_path / "001", meta, tmp_path / "out")
    assert [f.n_frames for f in fovs] == [3, 3, 3, 3, 2, 2]
    for fov in fovs:
        np.testing.assert_array_equal(read(fov.path, fov), fov_frames(pages, config, fov.fov))


@pytest.mark.parametrize("n_channels", [1, 2])
@pytest.mark.parametrize("n_frames", range(8, 13))
def test_slices_said_to_have_a_frame_more_are_those_that_have(tmp_path, n_frames, n_channels):
    """Three slices and a fly-back frame: a volume that lacks only the latter is whole."""
    channels = (2, 3)[:n_channels]
    config = small_config(zs=(100.0, 130.0, 160.0), flyback_frames=1, channels=channels)
    write_bout(tmp_path / "001" / "raw_imaging_data_00", config, (n_frames * n_channels,))
    meta = meta_of(tmp_path / "001" / "raw_imaging_data_00", config)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", MesoWarning)
        fovs = bin_per_plane(tmp_path / "001", meta, tmp_path / "out")
    by_slice = [fov.n_frames for fov in fovs[::2]]
    n_more = sum(n > by_slice[-1] for n in by_slice)
    told = [str(warning.message) for warning in caught]
    if n_more:
        assert [f"the first {n_more} of 3 slices have one frame more than the others" in text for text in told] == [
            True
        ]
    else:
        assert told == []


def test_a_recording_shorter_than_a_volume_is_an_error(tmp_path):
    config = CONFIGS["three depths"]
    write_bout(tmp_path / "001" / "raw_imaging_data_00", config, (2,))
    meta = meta_of(tmp_path / "001" / "raw_imaging_data_00", config)
    with (
        pytest.raises(InputFileError, match="at least one whole volume, found 2 pages, none of FOV_04, FOV_05"),
        pytest.warns(MesoWarning),
    ):
        bin_per_plane(tmp_path / "001", meta, tmp_path / "out")


def test_frames_of_a_simulated_session_are_as_many_as_is_true(tiny_session, tmp_path):
    meta, _ = load_meta_files(tiny_session.session_path)
    truth = load_truth(tiny_session.truth_path)
    fovs = bin_per_plane(tiny_session.session_path, meta, tmp_path)
    for fov, true in zip(fovs, truth.fovs, strict=True):
        assert fov.frames_per_bout == true.frames_per_bout
        assert (fov.ny, fov.nx) == (true.ny, true.nx)


def test_the_real_volumetric_recording_splits_into_its_slices(real_data, tmp_path):
    import tifffile

    folder = real_data / "scanimage" / "volumetric_single_channel_multi_file"
    meta, _ = extract_imaging_meta(raw_tifs(folder), 0, 0)
    fovs = bin_per_plane([BoutSource("bout", [LocalTif(p) for p in raw_tifs(folder)], meta["nFrames"])], meta, tmp_path)
    pages = np.concatenate([tifffile.imread(p) for p in raw_tifs(folder)])
    assert len(fovs) == 9
    for fov in fovs:  # 16 frames a volume, the last seven of which are fly-back
        np.testing.assert_array_equal(read(fov.path, fov), pages[fov.fov :: 16])


@pytest.fixture
def session(tmp_path):
    """A session of two bouts, and its metadata."""
    for bout in range(2):
        write_bout(tmp_path / "001" / f"raw_imaging_data_{bout:02d}", CONFIGS["plain"], (4, 3), bout, 60.0 * bout)
    return tmp_path / "001", meta_of(tmp_path / "001" / "raw_imaging_data_00", CONFIGS["plain"])


def spoil_plain(folder):
    import tifffile

    tifffile.imwrite(folder / "overview.tif", np.zeros((64, 64), np.int16), software="ScanImage", metadata=None)


def spoil_other_recording(folder):
    write_bout(folder / "other", CONFIGS["plain"], (4,), start_s=1000)
    (folder / "other" / raw_tifs(folder / "other")[0].name).rename(folder / "2023-03-03_1_SP035_2P_00002_00001.tif")


def spoil_other_shape(folder):
    write_bout(folder / "other", small_config(((32, 16),)), (4,))
    raw_tifs(folder / "other")[0].rename(folder / "2023-03-03_1_SP035_2P_00009_00001.tif")


def spoil_same_twice(folder):
    first = raw_tifs(folder)[0]
    shutil.copy(first, folder / first.name.replace("_00001.tif", "_00009.tif"))


def spoil_order(folder):
    first = raw_tifs(folder)[0]
    first.rename(folder / first.name.replace("_00001.tif", "_00009.tif"))


def spoil_empty(folder):
    for tif in raw_tifs(folder):
        tif.unlink()


@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [
        (spoil_plain, InputFileError, r"overview\.tif.*plain TIFF"),
        (spoil_other_recording, InputFileError, r"00002_00001\.tif, field 'epoch'"),
        (spoil_other_shape, InputFileError, r"00009_00001\.tif, field 'page shape'"),
        (spoil_same_twice, InputFileError, r"00009\.tif, field 'frameNumbers': .* found frames up to 4: the same tif"),
        (spoil_order, InputFileError, r"00009\.tif, field 'frameNumbers': .*frames after 7.*tifs not in order"),
        (spoil_empty, MissingInputError, r"raw_imaging_data_01: expected raw tifs"),
    ],
    ids=lambda x: getattr(x, "__name__", None),
)
def test_what_is_wrong_is_told_before_a_pixel_is_split_and_earlier_movies_stay(session, tmp_path, spoil, error, words):
    folder, meta = session
    bin_per_plane(folder, meta, tmp_path / "out")
    before = {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    spoil(folder / "raw_imaging_data_01")
    told = []
    with pytest.raises(error, match=words) as caught:
        bin_per_plane(folder, meta, tmp_path / "out", progress=lambda *a: told.append(a))
    assert str(caught.value).endswith(".")
    assert not told
    assert {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()} == before


def test_a_stream_of_another_recording_is_found_and_nothing_is_published(session, tmp_path):
    folder, meta = session
    tifs = [*raw_tifs(folder / "raw_imaging_data_00"), *raw_tifs(folder / "raw_imaging_data_01")]
    streams = [StreamedTif(p.name, lambda p=p: p.open("rb")) for p in tifs]
    with pytest.raises(InputFileError, match="field 'epoch'"):
        bin_per_plane([BoutSource("raw_imaging_data_00", streams)], meta, tmp_path / "out")
    assert [p for p in (tmp_path / "out").rglob("*") if p.is_file()] == []


def test_more_pages_than_the_metadata_promise_are_refused(session, tmp_path):
    folder, meta = session
    tifs = [LocalTif(p) for p in raw_tifs(folder / "raw_imaging_data_00")]
    bin_per_plane([BoutSource("raw_imaging_data_00", tifs, 7)], meta, tmp_path / "out")
    with pytest.raises(MetadataError, match=r"'nFrames': expected 3 pages.*found 7 pages"):
        bin_per_plane([BoutSource("raw_imaging_data_00", tifs, 3)], meta, tmp_path / "out")


def test_counts_of_frames_and_of_pages_are_both_understood(tmp_path):
    config = CONFIGS["two channels"]
    write_bout(tmp_path / "bout", config, (8,))
    meta = meta_of(tmp_path / "bout", config)
    assert meta["nFrames"] == 8
    for n_pages in (8, 4):
        bin_per_plane([BoutSource("bout", [LocalTif(p) for p in raw_tifs(tmp_path / "bout")], n_pages)], meta, tmp_path)


def test_metadata_of_another_recording_are_refused(session, tmp_path):
    folder, _ = session
    write_bout(tmp_path / "other", small_config(((32, 16),)), (2,))
    with pytest.raises(InputFileError, match=r"expected pages of 32 x 16 px as in the metadata, found 44 x 16 px"):
        bin_per_plane(folder, meta_of(tmp_path / "other", CONFIGS["plain"]), tmp_path / "out")


def test_the_rig_s_count_is_asked_for_in_a_session(tiny_session):
    assert [bout.n_pages for bout in local_bouts(tiny_session.session_path)] == [80, 40]


def test_a_full_disk_is_told_before_and_while_it_fills(session, tmp_path, monkeypatch):
    folder, meta = session
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda path: type("usage", (), {"free": 100}))
        with pytest.raises(StorageError, match=r"expected 0\.0 GB of free space"):
            bin_per_plane(folder, meta, out)
    (out / "plane1").mkdir(parents=True)
    part_path(out / "plane1" / "data_raw.bin").symlink_to("/dev/full")
    with pytest.raises(StorageError, match="No space left on device"):
        bin_per_plane(folder, meta, out)
    assert [p for p in out.rglob("*") if p.is_file()] == []
    (tmp_path / "blocked").write_text("a file where a folder must be")
    with pytest.raises(StorageError, match="Check the permissions"):
        bin_per_plane(folder, meta, tmp_path / "blocked")


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        ("foreign_tif", InputFileError, r"raw_imaging_data_00/overview\.tif: .*plain TIFF"),
        ("metadata_mismatch", MetadataError, r"raw_imaging_data_01/.*, field 'FOV\[0\]\.Deg"),
    ],
)
def test_faults_of_a_session_are_told_with_file_field_expected_found_and_remedy(
    fresh_session, tmp_path, fault, error, words
):
    session = fresh_session(faults=(fault,)).session_path
    with pytest.raises(error, match=words + ".*") as caught:
        bin_per_plane(session, load_meta_files(session)[0], tmp_path / "out")
    assert "expected" in str(caught.value)
    assert "found" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_bout_without_metadata_is_split_all_the_same(fresh_session, tmp_path):
    session = fresh_session(faults=("missing_metadata",)).session_path
    fovs = bin_per_plane(session, load_meta_files(session)[0], tmp_path / "out")
    assert {fov.frames_per_bout for fov in fovs} == {(80, 40)}


SPLIT = """
import sys
from meso_core.scanimage import BoutSource, LocalTif, bin_per_plane, extract_imaging_meta
path, out = sys.argv[1:]
meta, _ = extract_imaging_meta([path], 0, 0)
bin_per_plane([BoutSource("bout", [LocalTif(path)])], meta, out)
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
def test_memory_does_not_grow_with_the_recording(tmp_path):
    config = small_config(((512, 512), (512, 512)))
    peaks = []
    for n_pages in (20, 200):
        write_bout(tmp_path / str(n_pages), config, (n_pages,))
        (path,) = raw_tifs(tmp_path / str(n_pages))
        command = [sys.executable, "-c", SPLIT, str(path), str(tmp_path / "out")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout) / 1024)
        path.unlink()
    assert peaks[1] < 500
    assert peaks[1] - peaks[0] < 20


@pytest.mark.parametrize("source", ["tifs", "streams"])
def test_a_frame_with_one_channel_twice_and_without_the_other_is_told(tmp_path, source):
    config = small_config(channels=(2, 3))
    bout = tmp_path / "SP001" / "2023-03-03" / "001" / "raw_imaging_data_00"
    pages = write_bout(bout, config, (7, 5))
    second = sorted(bout.glob("*.tif"))[1]
    for twice, tif, page in ((2, sorted(bout.glob("*.tif"))[0], 5), (3, second, 0)):  # frame 4 lies in both tifs
        index = ScanImageTif(tif)
        with tif.open("r+b") as file:
            file.seek(int(index.data_offsets[page]))
            file.write(pages[2 * twice].tobytes())
    meta, _ = load_meta_files(bout.parent, center_ml=2.6, center_ap=-2.0)
    tifs = [LocalTif(tif) for tif in sorted(bout.glob("*.tif"))]
    if source == "streams":
        tifs = [StreamedTif(tif.name, partial(tif.path.open, "rb")) for tif in tifs]
    found = r"the same pixels in two channels in 2 frame\(s\), number 3, 4: one channel was saved twice"
    with pytest.warns(MesoWarning, match=found):
        bin_per_plane([BoutSource(bout.name, tifs)], meta, tmp_path / "out")
    with pytest.raises(InputFileError, match="Set MESO_DAMAGED_FRAMES=salvage"):
        bin_per_plane([BoutSource(bout.name, tifs)], meta, tmp_path / "out", damaged_frames="refuse")
