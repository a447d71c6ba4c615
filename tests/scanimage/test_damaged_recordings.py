"""Frames are placed by what their pages say: a fault costs the frames that it is in, and no other."""

from __future__ import annotations

import itertools
import re
import warnings

import numpy as np
import pytest
from damaged_files import (
    DAQ_RATE,
    FIRST_PULSE,
    PERIOD,
    Page,
    whole,
    write_daq,
    write_ratings,
    write_rig_files,
    write_tif,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scanimage_files import small_config

from meso_core.errors import InputFileError, MesoWarning, MetadataError
from meso_core.qc import Verdict
from meso_core.scanimage import (
    BoutSource,
    LocalTif,
    StreamedTif,
    bin_per_plane,
    check_frames,
    extract_imaging_meta,
    load_session_metadata,
    local_bouts,
    parse_session_metadata,
)
from meso_core.session import SessionKey, raw_tifs
from meso_core.session.page_faults import FaultKind
from meso_core.simulate.tissue.geometry import session_geometry
from meso_core.timing import find_frame_times, session_frame_qc

BOUT = "raw_imaging_data_00"
CENTER = {"center_ml": 2.6, "center_ap": -2.0}
ONE_DEPTH = small_config(((16, 16), (17, 16)))
THREE_DEPTHS = small_config(((16, 16), (17, 16)), zs=(100.0, 130.0, 160.0))
TWO_CHANNELS = small_config(((16, 16),), channels=(2, 3))


@pytest.fixture(autouse=True, scope="module")
def no_waiting_for_the_disk():
    """Whether movies are flushed is asked elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda _: None)
        yield


def name_of(number: int, channel: str = "") -> str:
    return f"rec_00001_{number + 1:05d}{channel}.tif"


def load(session, **more):
    """Metadata of a session, and what was told."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        metadata = load_session_metadata(session, **CENTER, **more)
    return metadata, [str(w.message) for w in caught]


def split(sources, metadata, out, **more):
    """Movies by FOV and channel, first pixel of each frame; pixels of a frame are all the same."""
    movies = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MesoWarning)
        for fov in bin_per_plane(sources, metadata.imaging, out, **more):
            paths = [path for path in (fov.path, fov.path_chan2) if path]
            frames = [np.fromfile(path, np.int16).reshape(-1, fov.ny * fov.nx) for path in paths]
            assert all((f == f[:, :1]).all() for f in frames)
            assert fov.n_frames == len(frames[0])
            movies.append([f[:, 0].tolist() for f in frames])
    return movies


def expected_movies(config, kept):
    """Movies by FOV and channel, of the frames that are whole."""
    geometry, n_channels = session_geometry(config), len(config.channels)
    order = sorted(range(n_channels), key=lambda c: config.channels[c] > 2)  # 1 and 2 are green
    own = [[f for f in kept if f % geometry.frames_per_volume == place.slice_id] for place in geometry.fovs]
    return [[[10 * f + c for f in frames] for c in order] for frames in own]


@st.composite
def recordings(draw):
    """A recording with faults: settings, pages and cut of each tif, frames that are whole, whether the rig's files are
    there, and number of frames taken."""
    n_channels = draw(st.integers(1, 2))
    zs = (100.0, 130.0, 160.0)[: draw(st.integers(1, 3))]
    flyback = draw(st.integers(0, 1)) if len(zs) > 1 else 0
    config = small_config(((16, 16), (17, 16)), zs=zs, flyback_frames=flyback, channels=(2, 3)[:n_channels])
    n_frames = draw(st.integers(14, 26))
    frames, lost = whole(n_frames, n_channels), set()
    order = list(range(n_frames))
    # faults keep a distance, so that what each costs is its own
    for at in range(draw(st.integers(1, 3)), n_frames - 2, 4):
        kind = draw(st.sampled_from(["none", "missing", "doubled", "swapped", "alone", "unnamed"]))
        if kind == "missing":
            n_gone = draw(st.integers(1, 2))
            for frame in range(at, at + n_gone):
                frames[frame] = []
                lost.add(frame)
        elif kind == "doubled":
            i = draw(st.integers(0, n_channels - 1))
            frames[at] = [p for j, p in enumerate(frames[at]) for _ in range(1 + (j == i))]
            lost |= {at} if n_channels > 1 else set()
        elif kind == "swapped":
            order[at], order[at + 1] = at + 1, at
            lost.add(at + 1)
        elif kind == "alone":
            del frames[at][draw(st.integers(0, n_channels - 1))]
            lost.add(at)
        elif kind == "unnamed":
            frames[at][draw(st.integers(0, n_channels - 1))].named = False
            lost.add(at)
    groups = [frames[i] for i in order]
    edges = sorted({0, n_frames, *draw(st.lists(st.integers(1, n_frames - 1), max_size=2))})
    tifs = [[p for group in groups[a:b] for p in group] for a, b in itertools.pairwise(edges)]
    tifs = [pages for pages in tifs if pages]
    cuts = [draw(st.none() | st.none() | st.floats(0, 1)) for _ in tifs]
    by_channel = n_channels == 2 and draw(st.booleans()) and not any(cuts)
    if any(pages and not pages[0].named for pages in tifs) or by_channel:
        for group in groups:  # a tif whose first page names no frame is refused
            for page in group:
                if not page.named:
                    page.named = True
                    lost.discard(page.frame)
        lost |= {group[0].frame for group in groups if group and n_channels not in (1, len(group))}
    return config, tifs, cuts, lost, draw(st.booleans()), n_frames


def after_cut(tifs, n_whole, lost, n_channels, n_frames):
    """Frames that are whole where only the first pages of some tifs are there."""
    there = [(p.frame, p.channel) for pages, n in zip(tifs, n_whole, strict=True) for p in pages[:n]]
    frames = [frame for frame, _ in there]
    kept = []
    for frame in range(n_frames):
        channels = {channel for f, channel in there if f == frame}
        is_lost = frame in lost
        # of two frames in the wrong order only one is lost, and none if the other one is cut away
        if is_lost and frame - 1 in frames and frame in frames and frames.index(frame) < frames.index(frame - 1):
            is_lost = True
        elif is_lost and frame in frames and _was_swapped(tifs, frame) and frame - 1 not in frames:
            is_lost = False
        if sum(p.frame == frame for pages in tifs for p in pages) > n_channels == frames.count(frame):
            is_lost = False  # the page too many is cut away
        if len(channels) == n_channels and not is_lost:
            kept.append(frame)
    return kept


def _was_swapped(tifs, frame):
    order = [p.frame for pages in tifs for p in pages]
    return frame in order and frame - 1 in order and order.index(frame) < order.index(frame - 1)


@settings(max_examples=40, deadline=None)
@given(recording=recordings())
def test_movies_times_and_ratings_are_those_of_the_frames_that_are_whole(tmp_path_factory, recording):
    check_recording(tmp_path_factory.mktemp("any"), *recording)


@pytest.mark.nightly
@settings(max_examples=1000, deadline=None)
@given(recording=recordings())
def test_a_thousand_recordings_give_the_frames_that_are_whole(tmp_path_factory, recording):
    check_recording(tmp_path_factory.mktemp("any"), *recording)


def check_recording(root, config, tifs, cuts, lost, has_rig_files, n_frames):
    n_channels = len(config.channels)
    session = root / "SP001" / "2023-03-03" / "001"
    bout = session / BOUT
    n_whole = []
    for i, (pages, cut) in enumerate(zip(tifs, cuts, strict=True)):
        path = bout / name_of(i)
        write_tif(path, config, pages)
        size = path.stat().st_size
        n_whole.append(write_tif(path, config, pages, None if cut is None else int(cut * size)))
    on_file = [(p.frame, p.channel) for pages, n in zip(tifs, n_whole, strict=True) for p in pages[:n]]
    # no page names its channel: one twice, cut before the other, looks like a whole frame
    assume(not any(on_file.count(page) > 1 and on_file.count((page[0], 1)) == 0 for page in on_file) or n_channels == 1)
    kept = after_cut(tifs, n_whole, lost, n_channels, n_frames)
    if not any(n_whole):
        with pytest.raises(InputFileError, match="a tif with a whole page"):
            load(session)
        return
    if has_rig_files:
        write_tif(root / "rig" / "whole.tif", config, [p for group in whole(2, n_channels) for p in group])
        meta, _ = extract_imaging_meta([root / "rig" / "whole.tif"], 2.6, -2.0)
        write_rig_files(bout, meta, n_frames, n_channels)
    write_ratings(bout, n_frames)
    write_daq(session / "raw_sync_data", np.arange(n_frames) * PERIOD)

    metadata, told = load(session)
    (found,) = metadata.bouts
    assert found.frame_index.tolist() == kept
    np.testing.assert_allclose(found.frame_times, np.array(kept) * PERIOD, atol=1e-9)
    is_fine = on_file == [(f, c) for f in range(len(on_file) // n_channels) for c in range(n_channels)]
    is_fine = is_fine and all(p.named for pages in tifs for p in pages) and n_whole == [len(p) for p in tifs]
    is_fine = is_fine and (len(kept) == n_frames or not has_rig_files)
    assert bool(found.faults) == (not is_fine)
    assert any(BOUT in text for text in told) == (not is_fine)
    assert parse_session_metadata(metadata.to_json(), "here").bouts == metadata.bouts

    want = expected_movies(config, kept)
    if not all(all(movies) for movies in want):
        with pytest.raises(InputFileError, match="at least one whole volume"):
            split([BoutSource(BOUT, tuple(map(LocalTif, raw_tifs(bout))))], metadata, root / "local")
        return
    streams = [StreamedTif(p.name, lambda p=p: p.open("rb")) for p in raw_tifs(bout)]
    listed = BoutSource(BOUT, streams, frames=found.frame_index)
    local = [BoutSource(BOUT, tuple(map(LocalTif, raw_tifs(bout))))]
    n_bytes = 2 * 16 * 100 * (1 + n_frames % 5)  # pages of a frame may be in different blocks
    assert split(local, metadata, root / "local", block_bytes=n_bytes) == want
    assert split([BoutSource(BOUT, streams)], metadata, root / "stream", block_bytes=n_bytes) == want
    assert split([listed], metadata, root / "listed") == want
    _check_times_and_ratings(session, metadata, config, kept)


def _check_times_and_ratings(session, metadata, config, kept):
    geometry = session_geometry(config)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MesoWarning)  # pulses of frames that were cut off
        times = find_frame_times(session / "raw_sync_data", metadata, session=SessionKey("SP001", "2023-03-03", "001"))
        ratings = session_frame_qc([session / BOUT], metadata)
    for fov, place in enumerate(geometry.fovs):
        own = np.array([f for f in kept if f % geometry.frames_per_volume == place.slice_id])
        pulses = FIRST_PULSE + own * PERIOD + place.row_start * geometry.line_period
        np.testing.assert_allclose(times.times[fov], pulses, atol=1.5 / DAQ_RATE)
        labels = [ratings.joined.labels[v] for v in ratings.fovs[fov].values]
        assert labels == [("ok", "one", "two")[f % 3] for f in own]
        assert ratings.fovs[fov].bad_frames.tolist() == [f % 5 == 0 for f in own]


@pytest.mark.filterwarnings("ignore:.*are ok in exptQC.mat:meso_core.errors.MesoWarning")
@pytest.mark.parametrize(
    "tifs",
    [
        {"": [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)]},
        {"": [(0, 0), (0, 1), (2, 0), (2, 1), (1, 0), (1, 1)]},
        {"_chn2": [(0, 0), (1, 0), (2, 0)], "_chn3": [(0, 1), (1, 1)]},
        {"_chn2": [(0, 0), (2, 0), (1, 0)], "_chn3": [(0, 1), (2, 1), (1, 1)]},
    ],
)
def test_ratings_count_frames_at_the_end_that_pages_tell_of_but_that_are_not_whole(session, tifs):
    """No file of the rig tells how many frames there were; the experimenter rated all three."""
    for channel, pages in tifs.items():
        write_tif(session / BOUT / name_of(0, channel), TWO_CHANNELS, [Page(*page) for page in pages])
    write_ratings(session / BOUT, 3)
    metadata, _ = load(session)
    assert metadata.bouts[0].frame_index.tolist() == [0, 1]
    ratings = session_frame_qc([session / BOUT], metadata).joined
    assert [ratings.labels[v] for v in ratings.values] == ["ok", "one"]
    write_ratings(session / BOUT, 4)
    with pytest.raises(InputFileError, match=r"expected 2 \(or 3, with those that are not on file\) values.*found 4"):
        session_frame_qc([session / BOUT], metadata)


@pytest.fixture
def session(tmp_path):
    """Folder of a session whose tifs are not there yet."""
    return tmp_path / "SP001" / "2023-03-03" / "001"


def write(session, config, *tifs, names=None):
    """Write tifs of the given frames (or pages) into the session's bout."""
    for i, frames in enumerate(tifs):
        pages = [
            f if isinstance(f, Page) else Page(f, c)
            for f in frames
            for c in range(1 if isinstance(f, Page) else len(config.channels))
        ]
        write_tif(session / BOUT / (names[i] if names else name_of(i)), config, pages)


def faults_of(session, **more):
    metadata, told = load(session, **more)
    return metadata.bouts[0], told


@pytest.mark.parametrize(
    ("frames", "kind", "page", "expected", "found", "n_lost"),
    [
        ([0, 1, 2, 4, 5], FaultKind.MISSING, 3, 4, 5, 1),
        ([0, 1, 2, 2, 3, 4], FaultKind.DOUBLED, 3, 4, 3, 0),
        ([0, 1, 3, 2, 4], FaultKind.OUT_OF_ORDER, 2, 3, 4, 1),
        ([0, 1, 900, 2, 3, 4], FaultKind.OUT_OF_ORDER, 2, 3, 901, 0),
        ([0, 1, 2, 0, 3, 4], FaultKind.OUT_OF_ORDER, 3, 4, 1, 0),
        ([3, 4, 5], FaultKind.MISSING, 0, 1, 4, 3),
    ],
)
def test_a_fault_is_told_with_file_page_and_both_numbers(session, frames, kind, page, expected, found, n_lost):
    write(session, ONE_DEPTH, frames)
    bout, (text, *_) = faults_of(session)
    fault = bout.faults[0]
    assert (fault.kind, fault.page, fault.expected, fault.found) == (kind, page, expected, found)
    assert bout.n_lost == n_lost
    assert re.search(
        rf"{BOUT}: .*{name_of(0)}, page {page}: {kind}, expected frame {expected}, found {found}, at \d", text
    )
    (result,) = check_frames(load(session)[0])
    share_lost = n_lost / (n_lost + len(bout.frame_index))
    assert result.verdict is (Verdict.FAIL if share_lost > 0.02 else Verdict.WARNING)
    assert text.endswith(result.message.removeprefix(f"{BOUT}: "))


def test_a_recording_without_faults_passes_and_says_so(session):
    write(session, THREE_DEPTHS, range(5), range(5, 9))
    metadata, told = load(session)
    (result,) = check_frames(metadata)
    assert (result.verdict, result.value, told) == (Verdict.PASS, 0, [])
    assert result.message == f"{BOUT}: all 9 frames are whole"


def test_a_whole_tif_that_is_missing_fails_and_the_depths_after_it_are_right(session):
    write(session, THREE_DEPTHS, range(7), range(7, 12), range(12, 20))
    (session / BOUT / name_of(1)).unlink()
    metadata, _ = load(session)
    (result,) = check_frames(metadata)
    assert result.verdict is Verdict.FAIL
    assert "expected frame 8, found 13" in result.message
    kept = [*range(7), *range(12, 20)]
    movies = split(local_bouts(session), metadata, session / "suite2p")
    assert movies == expected_movies(THREE_DEPTHS, kept)


def test_fewer_pages_than_the_rig_counted_are_frames_that_lack_at_the_end(session):
    write(session, ONE_DEPTH, range(4))
    meta, _ = extract_imaging_meta(raw_tifs(session / BOUT), 2.6, -2.0)
    write_rig_files(session / BOUT, meta, 6, 1)
    bout, (text,) = faults_of(session)
    assert bout.n_lost == 2
    assert "frames missing, expected frame 5 (4 pages of 6)" in text


@pytest.mark.parametrize("setting", ["salvage", "refuse"])
def test_the_remedy_of_a_refusal_leads_to_the_frames_that_are_whole(session, setting):
    write(session, ONE_DEPTH, [0, 1, 3, 4])
    if setting == "refuse":
        message = (
            rf"{BOUT}/{name_of(0)}, field 'page 2': expected whole frames .*expected frame 3, found 4, at 0\.150 s.*"
            r"set MESO_DAMAGED_FRAMES=salvage to use the 4 frames that are whole"
        )
        for refused in (
            lambda: load_session_metadata(session, **CENTER, damaged_frames="refuse"),
            lambda: extract_imaging_meta(raw_tifs(session / BOUT), 2.6, -2.0, damaged_frames="refuse"),
            lambda: bin_per_plane(
                local_bouts(session), load(session)[0].imaging, session / "out", damaged_frames="refuse"
            ),
        ):
            with pytest.raises(InputFileError, match=message):
                refused()
    else:
        assert load(session, damaged_frames=setting)[0].bouts[0].frame_index.tolist() == [0, 1, 3, 4]


def test_times_that_contradict_the_numbers_are_told(session, monkeypatch):
    """The numbers go on, but a time between two of them is three periods: which of them is right nobody knows."""
    import damaged_files

    real = damaged_files.descriptions
    late = lambda k, times, *more: real(k, [t + 2 * PERIOD * (k >= 4) for t in times], *more)  # noqa: E731
    monkeypatch.setattr(damaged_files, "descriptions", late)
    write(session, ONE_DEPTH, range(8))
    bout, (text,) = faults_of(session)
    assert [fault.kind for fault in bout.faults] == [FaultKind.TIMES]
    assert f"{name_of(0)}, page 4: times contradict frame numbers, expected frame 7, found 5" in text
    (result,) = check_frames(load(session)[0])
    assert result.verdict is Verdict.WARNING


def test_pages_that_differ_from_the_list_of_frames_are_refused_and_the_remedy_helps(session):
    write(session, ONE_DEPTH, range(6))
    metadata, _ = load(session)
    write(session, ONE_DEPTH, [0, 1, 3, 4, 5])
    source = [BoutSource(BOUT, tuple(map(LocalTif, raw_tifs(session / BOUT))), frames=metadata.bouts[0].frame_index)]
    message = (
        r"'frame_index': expected the 6 frames .*found 5 in its tifs; frame number 3 is .*Make the imaging metadata"
    )
    with pytest.raises(MetadataError, match=message):
        split(source, metadata, session / "out")
    again, _ = load(session)
    source = [BoutSource(BOUT, source[0].tifs, frames=again.bouts[0].frame_index)]
    assert split(source, again, session / "out") == expected_movies(ONE_DEPTH, [0, 1, 3, 4, 5])


@pytest.mark.parametrize("gone", [None, 4])
def test_a_tif_per_channel_is_the_recording_that_it_is(session, gone):
    """A frame that one channel lacks is left out in both."""
    for c in (0, 1):
        own = [f for f in range(9) if not (c == 1 and f == gone)]
        for part, frames in enumerate((own[:5], own[5:])):
            write_tif(session / BOUT / name_of(part, f"_chn{(2, 3)[c]}"), TWO_CHANNELS, [Page(f, c) for f in frames])
    kept = [f for f in range(9) if f != gone]
    metadata, told = load(session)
    assert metadata.bouts[0].frame_index.tolist() == kept
    assert metadata.bouts[0].n_lost == (gone is not None) == len(told)
    want = expected_movies(TWO_CHANNELS, kept)
    paths = raw_tifs(session / BOUT)
    streams = [StreamedTif(p.name, lambda p=p: p.open("rb")) for p in paths]
    for number, bout in enumerate(
        (
            BoutSource(BOUT, tuple(map(LocalTif, paths))),
            BoutSource(BOUT, streams),
            BoutSource(BOUT, streams, frames=metadata.bouts[0].frame_index),
        )
    ):
        assert split([bout], metadata, session / f"out{number}") == want


def test_a_channel_of_which_no_tif_is_there_is_left_out_with_a_warning(session):
    write_tif(session / BOUT / "rec_00001_chn2.tif", TWO_CHANNELS, [Page(f, 0) for f in range(6)])
    metadata, (text,) = load(session)
    assert "saved channels 2, 3, but no tif holds channel 3; it is processed without" in text
    assert metadata.imaging.channels_saved == (2,)
    assert split(local_bouts(session), metadata, session / "out") == [[[0, 10, 20, 30, 40, 50]]]


def test_metadata_of_two_channels_and_tifs_of_one_are_refused(session):
    write_tif(session / BOUT / "rec_00001_chn2.tif", TWO_CHANNELS, [Page(f, 0) for f in range(6)])
    write(session.parent / "both", TWO_CHANNELS, range(6))
    both, _ = load(session.parent / "both")
    with pytest.raises(InputFileError, match=r"expected tifs of the channels 2, 3, found none of channel 3"):
        split(local_bouts(session), both, session / "out")


@pytest.mark.parametrize("empty", [b"", b"II+\0\x08\0\0\0", bytes(5000)])
def test_a_last_tif_without_a_whole_page_is_named_and_the_others_processed(session, empty):
    write(session, THREE_DEPTHS, range(8))
    (session / BOUT / name_of(1)).write_bytes(empty)
    bout, (text,) = faults_of(session)
    assert bout.frame_index.tolist() == list(range(8))
    assert f"{name_of(1)}, page 0: tif cut short" in text
    assert split(local_bouts(session), load(session)[0], session / "out") == expected_movies(THREE_DEPTHS, range(8))


@pytest.mark.parametrize("last_of_average", [False, True])
def test_averaged_frames_keep_their_place_among_the_raw_frames(session, last_of_average):
    """ScanImage numbers an averaged frame by the last raw frame in it; other programs by the first."""
    numbers = [4 * k + (3 if last_of_average else 0) for k in (0, 1, 3, 4)]
    write_tif(session / BOUT / name_of(0), ONE_DEPTH, [Page(n, 0) for n in numbers],
              **{"hScan2D.logAverageFactor": "4"})  # fmt: skip
    bout, (text,) = faults_of(session)
    assert bout.frame_index.tolist() == [0, 4, 12, 16]
    assert bout.n_lost == 1
    assert f"expected frame {numbers[1] + 5}, found {numbers[2] + 1}" in text
    assert bout.n_taken == 20


@pytest.mark.parametrize("last_of_average", [False, True])
def test_places_follow_from_times_where_tifs_are_gone(session, last_of_average):
    numbers = [4 * k + (3 if last_of_average else 0) for k in (0, 1, 3, 4, 5, 6)]
    write_tif(session / BOUT / name_of(0), ONE_DEPTH, [Page(n, 0) for n in numbers],
              **{"hScan2D.logAverageFactor": "4"})  # fmt: skip
    by_tifs, _ = load(session)
    meta, times = extract_imaging_meta_quietly(raw_tifs(session / BOUT))
    write_rig_files(session / BOUT, meta, 6, 1)
    np.save(session / BOUT / "rawImagingData.times_scanImage.npy", times)
    (session / BOUT / name_of(0)).unlink()
    by_times, _ = load(session)
    assert by_times.bouts[0].frame_index.tolist() == by_tifs.bouts[0].frame_index.tolist() == [0, 4, 12, 16, 20, 24]


def extract_imaging_meta_quietly(tifs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MesoWarning)
        return extract_imaging_meta(tifs, 2.6, -2.0)


def test_old_records_without_places_are_read_by_the_gaps_of_their_times(session):
    write(session, THREE_DEPTHS, [0, 1, 2, 4, 5, 9, 10, 11])
    metadata, _ = load(session)
    text = re.sub(r'"(frame_index|faults|acquisition_starts)": \[(?:[^\[\]]|\[[^\]]*\])*\],? ?', "", metadata.to_json())
    text = re.sub(r", }", "}", text)
    old = parse_session_metadata(text, "old").bouts[0]
    assert old.frame_index.tolist() == [0, 1, 2, 4, 5, 9, 10, 11]
    assert not old.frame_index.flags.writeable


def test_each_acquisition_of_a_loop_begins_with_a_volume(session, monkeypatch):
    """Two acquisitions, the first of which was stopped after seven frames of volumes of three."""
    import damaged_files

    real = damaged_files.descriptions

    def of_loop(k, times, *more):
        texts = real(k, [t + 0.33 * (k >= 7) for t in times], *more)
        return [t.replace(f"frameNumberAcquisition = {k + 1}", f"frameNumberAcquisition = {k - 6 if k >= 7 else k + 1}")
                for t in texts]  # fmt: skip

    monkeypatch.setattr(damaged_files, "descriptions", of_loop)
    write(session, THREE_DEPTHS, range(7), range(7, 13))
    metadata, _ = load(session)
    assert metadata.bouts[0].acquisition_starts == (0, 7)
    depths = [k % 3 for k in range(7)] + [(k - 7) % 3 for k in range(7, 13)]
    want = [[[10 * k for k in range(13) if depths[k] == p.slice_id]] for p in session_geometry(THREE_DEPTHS).fovs]
    assert split(local_bouts(session), metadata, session / "out") == want
    write_daq(session / "raw_sync_data", np.arange(13) * PERIOD + 0.33 * (np.arange(13) >= 7))
    times = find_frame_times(session / "raw_sync_data", metadata, session=SessionKey("SP001", "2023-03-03", "001"))
    assert [t.size for t in times.times] == [len(movie) for (movie,) in want]
