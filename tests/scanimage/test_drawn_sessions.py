"""Sessions of any layout with any faults: movies, times, ratings and places are those that the simulator knows."""

from __future__ import annotations

import dataclasses
import itertools
import shutil
import warnings

import numpy as np
import pytest
from drawn_layouts import layouts
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from meso_core.errors import InputFileError, MesoWarning
from meso_core.scanimage import bin_per_plane, load_session_metadata, local_bouts
from meso_core.session import IMAGING_META_FILE, imaging_bouts
from meso_core.simulate import load_truth, simulate_session
from meso_core.simulate.tissue.geometry import cross_section, session_geometry
from meso_core.timing import find_frame_times, session_frame_qc

#: Faults of frames. No two begin in one, nor is a tif cut there: no page names its channel, so that one twice and
#: another not at all look like a whole frame.
OF_FRAMES = ("missing_frames", "doubled_page", "swapped_frames", "channel_alone")
OF_FILES = ("empty_tif", "hidden_files", "thumbs_db", "ea_dir", "partial_copy", "session_number_1", "foreign_fov",
            "missing_metadata", "tif_per_channel")  # fmt: skip
NEED_TWO_CHANNELS = {"channel_alone", "tif_per_channel"}


@pytest.fixture(scope="module")
def no_flushing_here():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda _: None)
        yield


@st.composite
def sessions(draw):
    """Settings of a session, and its faults."""
    layout, n_frames = draw(layouts())
    assume(any(cross_section(roi, z) for roi in layout.rois for z in layout.zs))
    averaged, n_frames = layout.frames_averaged, n_frames + 5 * layout.frames_averaged + draw(st.integers(0, 15))
    bouts = (draw(st.integers(averaged, n_frames)),) * draw(st.integers(0, 1)) + (n_frames,)
    config = dataclasses.replace(
        layout, frames_per_bout=bouts, frames_per_file=draw(st.integers(2, 30)), frame_rate_hz=25.0, bout_gap_s=2.5,
        flyto_s=0.003, bad_frame_share=0.3, seed=draw(st.integers(0, 9)), write_metadata=draw(st.booleans()),
        plain_movie=True, subject="SP001",
    )  # fmt: skip
    n_saved = n_frames // averaged
    places = draw(st.lists(st.integers(0, n_saved - 1), unique=True, max_size=4))
    names = draw(st.permutations(OF_FRAMES))
    faults = [
        f"{name}@{(at + 0.5) / n_saved:.9f}" for at, name in zip(places, names, strict=False)
        # where the rig did not count them, nobody knows of frames missing at the end
        if name != "missing_frames" or at < n_saved - 3
    ]  # fmt: skip
    if draw(st.booleans()):
        faults.append(f"truncated_tif@{draw(st.integers(0, 999)) / 1000}")
    faults += draw(st.lists(st.sampled_from(OF_FILES), unique=True, max_size=4))
    return config, [f for f in faults if len(config.channels) > 1 or f.partition("@")[0] not in NEED_TWO_CHANNELS]


def whole_frames(pages, n_channels, apart):
    """Frames of a bout that can be used, of its pages in file order: (frame, channel) of each.

    A frame is one page for each channel in a row, in its place: of two frames in the wrong order the first on file is
    in no place. Where channels are in tifs apart, each must have the frame, and a second page of it costs nothing.
    """
    files = [[frame for frame, c in pages if c == i] for i in range(n_channels)] if apart else [[f for f, _ in pages]]
    kept = []
    for frames in files:
        runs = [(frame, len([*run])) for frame, run in itertools.groupby(frames)]
        following = [*(frame for frame, _ in runs[1:]), np.inf][: len(runs)]
        kept.append(set())
        for (frame, n), after in zip(runs, following, strict=True):
            if after > frame and (apart or n_channels in (1, n)):
                kept[-1].add(frame)
    return sorted(set.intersection(*kept))


def expected_movie(fov, channel, roi, frames):
    """Images (n, ny, nx) of a FOV in a channel, of frames (bout, frame), as ``meso_core.simulate.files.plain`` says."""
    images = np.tile(np.arange(fov.nx), (len(frames), fov.ny, 1))
    for i, (bout, frame) in enumerate(frames):
        images[i, :, :5] = bout, frame, channel, fov.slice_id, roi
        images[i, :, 5] = np.arange(fov.ny)
    return images


def check_session(root, config, faults):
    made = simulate_session(root / "Subjects", config, faults=faults)
    session, truth = made.session_path, load_truth(made.truth_path)
    n_channels, names = len(config.channels), {fault.partition("@")[0] for fault in faults}
    assert made.key.folder(root / "Subjects") == session
    on_file = [list(zip(p["frame"].tolist(), p["channel"].tolist(), strict=True)) for p in truth.pages]
    if n_channels > 1 and "tif_per_channel" not in names:
        for frame in {frame for frame, _ in on_file[-1]}:
            channels = [channel for f, channel in on_file[-1] if f == frame]
            assume(len(channels) != n_channels or len({*channels}) == n_channels)
    kept = [whole_frames(pages, n_channels, "tif_per_channel" in names) for pages in on_file]
    reader = {"center_ml": 2.6, "center_ap": -2.0, "channels": "depths" if config.channels_are_depths else "colours"}
    # place of each kept frame of each FOV in the truth
    own = []
    for fov in truth.fovs:
        bouts = np.split(fov.frame_index, np.cumsum(fov.frames_per_bout)[:-1])
        own.append(np.flatnonzero(np.concatenate([np.isin(b, k) for b, k in zip(bouts, kept, strict=True)])))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MesoWarning)
        has_metadata = [(bout / IMAGING_META_FILE).exists() for bout in imaging_bouts(session)]
        readable = all(pages or has for pages, has in zip(on_file, has_metadata, strict=True))
        if not readable or not all(places.size for places in own):
            with pytest.raises(InputFileError, match=r"a tif with a whole page|at least one (whole volume|frame)"):
                bin_per_plane(local_bouts(session), load_session_metadata(session, **reader).imaging, root / "movies")
            return
        metadata = load_session_metadata(session, **reader)
        movies = bin_per_plane(local_bouts(session), metadata.imaging, root / "movies")
        times = find_frame_times(session / "raw_sync_data", metadata, session=made.key)
        try:
            ratings = session_frame_qc(imaging_bouts(session), metadata)
        except InputFileError as error:
            if "in two ways" not in str(error):
                raise
            # as many values as frames were taken: also as many as the pages of a cut bout, where half of it is lost
            taken = [n // config.frames_averaged for n in config.frames_per_bout]
            assert n_channels in {n / len(frames) for n, frames in zip(taken, kept, strict=True) if frames}
            return

    for bout, pages, frames, expected in zip(metadata.bouts, on_file, kept, truth.pages, strict=True):
        assert bout.frame_index.tolist() == frames
        seconds = dict(zip(expected["frame"].tolist(), expected["time"].tolist(), strict=True))
        np.testing.assert_allclose(bout.frame_times, [seconds[frame] for frame in frames], atol=1e-9)
        if len(pages) != len(frames) * n_channels:
            assert bout.faults
    roi_of = [place.roi for place in session_geometry(config).fovs]
    assert len(metadata.imaging.fovs) == len(movies) == len(truth.fovs)
    for i, (told, movie, fov, places) in enumerate(zip(metadata.imaging.fovs, movies, truth.fovs, own, strict=True)):
        assert (told.slice_index, told.channel, told.shape) == (fov.slice_id, fov.channel, (fov.ny, fov.nx))
        assert told.depths_um == (None if fov.channel else (fov.z,))
        np.testing.assert_allclose(told.deg.as_array(), list(fov.corners_deg.values()), atol=1e-9)
        # the rig's transform is rounded to 1 µm per degree
        np.testing.assert_allclose(told.mm.as_array(), list(fov.corners_mm.values()), atol=2e-3)
        bouts = np.repeat(np.arange(len(kept)), fov.frames_per_bout)[places]
        frames = list(zip(bouts.tolist(), fov.frame_index[places].tolist(), strict=True))
        green_first = sorted(config.channels, key=lambda number: number > 2)
        numbers = green_first if fov.channel is None else [fov.channel]
        paths = [path for path in (movie.path, movie.path_chan2) if path]
        assert len(paths) == len(numbers)
        for path, number in zip(paths, numbers, strict=True):
            images = np.fromfile(path, np.int16).reshape(movie.n_frames, movie.ny, movie.nx)
            np.testing.assert_array_equal(images, expected_movie(fov, number, roi_of[i], frames))
        # a pulse is seen at the DAQ's next sample
        np.testing.assert_allclose(times.times[i], fov.frame_times[places], atol=1.5 / config.daq_rate_hz)
        np.testing.assert_allclose(times.timeshift[i], fov.timeshift, rtol=1e-5)
        assert ratings.fovs[i].bad_frames.tolist() == fov.bad_frames[places].tolist()
        assert [ratings.joined.labels[v] != "ok" for v in ratings.fovs[i].values] == fov.bad_frames[places].tolist()


@settings(max_examples=100, deadline=None)
@given(sessions())
def test_every_field_of_any_session_is_what_the_simulator_knows(tmp_path_factory, no_flushing_here, session):
    root = tmp_path_factory.mktemp("d")
    check_session(root, *session)
    shutil.rmtree(root)


@pytest.mark.nightly
@settings(max_examples=1000, deadline=None)
@given(sessions())
def test_every_field_of_a_thousand_sessions_is_what_the_simulator_knows(tmp_path_factory, no_flushing_here, session):
    root = tmp_path_factory.mktemp("d")
    check_session(root, *session)
    shutil.rmtree(root)
