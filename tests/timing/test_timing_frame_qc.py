"""Frame QC of several bouts under one set of labels."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from meso_core.datasets import check_datasets
from meso_core.errors import InputFileError, MesoWarning, MisfitError, MissingInputError, SettingsError
from meso_core.qc import Verdict
from meso_core.scanimage import load_session_metadata
from meso_core.simulate import load_truth, preset, simulate_session
from meso_core.timing import consolidate_frame_qc, session_frame_qc

LABELS = ["ok", "PMT off", "galvos fault", "high signal", ""]


def write_bout(folder, values=None, names=("ok",), bad=()):
    folder.mkdir(parents=True, exist_ok=True)
    if values is not None:
        cells = np.empty((1, len(names)), dtype=object)
        cells[0] = names
        content = {"frameQC_frames": np.asarray(values, dtype=np.uint8)[None], "frameQC_names": cells}
        savemat(folder / "exptQC.mat", content)
    if bad is not None:
        savemat(folder / "badframes.mat", {"badframes": np.asarray(bad, dtype=np.uint32)[None]})
    return folder


@settings(max_examples=40, deadline=None)
@given(data=st.data())
@pytest.mark.filterwarnings("ignore::meso_core.errors.MesoWarning")
def test_every_frame_keeps_the_label_of_its_bout(tmp_path_factory, data):
    root = tmp_path_factory.mktemp("qc")
    folders, lengths, expected = [], [], []
    for i in range(data.draw(st.integers(1, 3))):
        names = data.draw(st.lists(st.sampled_from(LABELS), min_size=1, max_size=5, unique=True))
        values = data.draw(st.lists(st.integers(0, len(names)), min_size=1, max_size=12))
        folders.append(write_bout(root / str(i), values, names))
        lengths.append(len(values))
        expected += [(names[v] or "unknown") if v < len(names) else "unknown" for v in values]
    qc = consolidate_frame_qc(folders, lengths)
    assert [qc.labels[v] for v in qc.values] == expected
    assert qc.labels[0] == "ok"
    assert len(set(qc.labels)) == len(qc.labels)
    assert qc.values.dtype == np.uint32
    assert qc.names["qc_values"].tolist() == list(range(len(qc.labels)))


def test_bad_frames_are_counted_from_the_start_of_their_bout(tmp_path):
    bouts = [
        write_bout(tmp_path / "0", [0, 1, 1, 0], ["ok", "PMT off"], bad=[1, 2]),
        write_bout(tmp_path / "1", [0, 0, 1], ["ok", "galvos fault"], bad=[2]),
        write_bout(tmp_path / "2", [0, 0], bad=[]),
    ]
    qc = consolidate_frame_qc(bouts, [4, 3, 2])
    assert np.flatnonzero(qc.bad_frames).tolist() == [1, 2, 6]
    assert qc.bad_frames.dtype == bool
    assert qc.frames_per_bout == (4, 3, 2)
    assert [r.verdict for r in qc.results] == [Verdict.PASS] * 3


def test_simulated_faults_of_the_rig_are_all_flagged_and_no_other_frame(tiny_session):
    truth = load_truth(tiny_session.truth_path)
    bouts = load_session_metadata(tiny_session.session_path).bouts
    folders = [tiny_session.session_path / bout.name for bout in bouts]
    qc = consolidate_frame_qc(folders, [bout.n_frames for bout in bouts])
    np.testing.assert_array_equal(qc.bad_frames, truth.fovs[0].bad_frames)
    np.testing.assert_array_equal(qc.values > 0, truth.fovs[0].bad_frames)
    assert qc.bad_frames.any()
    datasets = {"mpci.badFrames": qc.bad_frames, "mpci.mpciFrameQC": qc.values, "mpciFrameQC.names": qc.names}
    check_datasets("FOV_00", datasets)


def test_a_bout_without_rating_counts_as_ok_with_a_warning(tmp_path):
    bouts = [write_bout(tmp_path / "0", bad=[1]), write_bout(tmp_path / "1", [1, 0], ["ok", "PMT off"])]
    with pytest.warns(MesoWarning, match=r"0: no exptQC\.mat, so all 3 frames count as ok"):
        qc = consolidate_frame_qc(bouts, [3, 2])
    assert [qc.labels[v] for v in qc.values] == ["ok", "ok", "ok", "PMT off", "ok"]
    assert np.flatnonzero(qc.bad_frames).tolist() == [1]
    assert [r.verdict for r in qc.results] == [Verdict.WARNING, Verdict.PASS]


def test_bad_frames_that_were_rated_ok_are_left_out_and_it_is_said(tmp_path):
    bout = write_bout(tmp_path / "0", [0, 0, 1], ["ok", "PMT off"], bad=[0, 2])
    with pytest.warns(MesoWarning, match=r"1 frames of badframes\.mat are ok"):
        qc = consolidate_frame_qc([bout], [3])
    assert np.flatnonzero(qc.bad_frames).tolist() == [0, 2]
    assert qc.results[0].verdict is Verdict.WARNING


def test_ratings_by_page_of_two_channels_are_thinned_to_frames(tmp_path):
    bout = write_bout(tmp_path / "0", [0, 0, 1, 1, 0, 0], ["ok", "PMT off"], bad=[2, 3])
    qc = consolidate_frame_qc([bout], [3], n_channels=2)
    assert qc.values.tolist() == [0, 1, 0]
    assert np.flatnonzero(qc.bad_frames).tolist() == [1]


@pytest.fixture(scope="module")
def half_a_bout(tmp_path_factory):
    """Bout of two channels of which 7 of 14 frames are on file, and its metadata."""
    fields = replace(preset("tiny").rois[0], size_deg=(0.1, 0.1), shape=(16, 16))
    config = replace(
        preset("tiny"), rois=(fields,), frames_per_bout=(14,), frames_per_file=7, channels=(2, 3), plain_movie=True
    )
    made = simulate_session(tmp_path_factory.mktemp("half"), config, faults=["truncated_tif@0.0"])
    with pytest.warns(MesoWarning):
        (metadata,) = load_session_metadata(made.session_path).bouts
    assert metadata.frame_index.size == 7
    return made.session_path / "raw_imaging_data_00", metadata


@pytest.mark.parametrize(
    ("rated", "expected"),
    [
        ([0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1, 1]),  # not by page: a pair differs
        ([0] * 14, [0] * 7),  # the same in both ways
        ([0, 0, 1, 0, 0, 0, 2], [0, 0, 1, 0, 0, 0, 2]),
    ],
)
def test_ratings_of_a_bout_that_was_cut_are_those_of_the_frames_on_file(half_a_bout, rated, expected):
    bout, metadata = half_a_bout
    write_bout(bout, rated, ["ok", "PMT off", "shutter"])
    assert consolidate_frame_qc([bout], [metadata], n_channels=2).values.tolist() == expected


def test_ratings_that_can_be_read_in_two_ways_are_refused_until_there_is_one_for_each_frame_on_file(half_a_bout):
    bout, metadata = half_a_bout
    write_bout(bout, [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 2, 0, 0], ["ok", "PMT off", "shutter"])
    with pytest.raises(InputFileError, match="14 values in two ways: 7 frames of 2 channels, or 14 frames, of which 7"):
        consolidate_frame_qc([bout], [metadata], n_channels=2)
    write_bout(bout, [0, 0, 0, 0, 0, 0, 0], ["ok", "PMT off", "shutter"])
    assert consolidate_frame_qc([bout], [metadata], n_channels=2).values.tolist() == [0] * 7


@pytest.mark.parametrize(
    ("values", "bad", "match"),
    [
        ([0, 0], [], r"'frameQC_frames'.*3 values, one per frame, found 2 values"),
        ([0, 0, 0, 0], [], "found 4 values"),
        ([0, 0, 0], [3], r"'badframes'.*0 to 2, found 3"),
    ],
)
def test_a_file_of_the_wrong_length_is_named(tmp_path, values, bad, match):
    bout = write_bout(tmp_path / "0", values, bad=bad)
    with pytest.raises(InputFileError, match=match):
        consolidate_frame_qc([bout], [3])


@pytest.mark.parametrize(
    ("values", "bad", "match", "labels"),
    [
        ([0, 1], [1], r"1/exptQC\.mat.*found 2 values", ["unknown"] * 3),
        ([0, 1, 0, 0], [1], "found 4 values", ["unknown"] * 3),
        ([0, 1, 0], [1, 3], r"1/badframes\.mat.*0 to 2, found 3", ["ok", "PMT off", "ok"]),
    ],
)
def test_ratings_that_do_not_fit_are_told_where_asked_and_leave_out_no_frame_of_their_bout(
    tmp_path, values, bad, match, labels
):
    fits = write_bout(tmp_path / "0", [0, 1], ["ok", "PMT off"], bad=[1])
    bouts = [fits, write_bout(tmp_path / "1", values, ["ok", "PMT off"], bad=bad)]
    with pytest.warns(MesoWarning, match=match):
        qc = consolidate_frame_qc(bouts, [2, 3], misfits="tell")
    assert [qc.labels[v] for v in qc.values] == ["ok", "PMT off", *labels]
    assert np.flatnonzero(qc.bad_frames).tolist() == [1]
    assert [one.verdict for one in qc.results] == [Verdict.PASS, Verdict.FAIL]
    assert str(tmp_path) not in qc.results[1].message, "the same wherever the session lies"
    with pytest.raises(MisfitError, match=match):
        consolidate_frame_qc(bouts, [2, 3])


def test_ratings_that_can_be_read_in_two_ways_are_told_by_a_verdict_that_fails(half_a_bout):
    bout, metadata = half_a_bout
    write_bout(bout, [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 2, 0, 0], ["ok", "PMT off", "shutter"])
    with pytest.warns(MesoWarning, match="in two ways"):
        qc = consolidate_frame_qc([bout], [metadata], n_channels=2, misfits="tell")
    assert [qc.labels[v] for v in qc.values] == ["unknown"] * 7
    assert not qc.bad_frames.any()
    assert qc.results[0].verdict is Verdict.FAIL


@pytest.mark.parametrize("name", ["exptQC.mat", "badframes.mat"])
def test_a_damaged_file_is_an_error_even_where_misfits_are_told(tmp_path, name):
    bout = write_bout(tmp_path / "0", [0, 1, 1], ["ok", "PMT off"], bad=[1, 2])
    (bout / name).write_bytes((bout / name).read_bytes()[:150])
    with pytest.raises(InputFileError, match=name.replace(".", r"\.")):
        consolidate_frame_qc([bout], [3], misfits="tell")


def test_flagged_frames_without_a_list_of_bad_ones_are_told(tmp_path):
    bout = write_bout(tmp_path / "0", [0, 1, 1], ["ok", "PMT off"], bad=[1])
    (bout / "badframes.mat").unlink()
    with pytest.warns(MesoWarning, match=r"0: no badframes\.mat, so none of the 2 flagged frames is left out"):
        qc = consolidate_frame_qc([bout], [3])
    assert qc.results[0].verdict is Verdict.WARNING
    assert not qc.bad_frames.any()


def test_the_simulator_s_short_file_is_caught(fresh_session):
    made = fresh_session(faults=("wrong_length_qc",))
    bouts = load_session_metadata(made.session_path).bouts
    folders = [made.session_path / bout.name for bout in bouts]
    with pytest.raises(InputFileError, match=r"raw_imaging_data_01.exptQC\.mat.*40 values.*found 37"):
        consolidate_frame_qc(folders, [bout.n_frames for bout in bouts])


@settings(max_examples=40, deadline=None)
@given(share=st.floats(0, 1, exclude_max=True), name=st.sampled_from(["exptQC.mat", "badframes.mat"]))
def test_a_file_cut_anywhere_is_a_named_error(tmp_path_factory, share, name):
    bout = write_bout(tmp_path_factory.mktemp("cut") / "0", [0, 1, 1], ["ok", "PMT off"], bad=[1, 2])
    path = bout / name
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputFileError, match=name.replace(".", r"\.")):
        consolidate_frame_qc([bout], [3])


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ({"frameQC_frames": [0, 1]}, "'frameQC_names'"),
        ({"frameQC_frames": "abc", "frameQC_names": "ok"}, "expected numbers"),
        ({"frameQC_frames": [0.5, 1], "frameQC_names": "ok"}, "whole numbers"),
    ],
)
def test_fields_that_cannot_be_are_named(tmp_path, content, match):
    bout = write_bout(tmp_path / "0")
    savemat(bout / "exptQC.mat", content)
    with pytest.raises(InputFileError, match=match):
        consolidate_frame_qc([bout], [2])


def test_a_missing_folder_or_number_is_an_error(tmp_path):
    with pytest.raises(MissingInputError, match="an imaging folder"):
        consolidate_frame_qc([tmp_path / "none"], [3])
    with pytest.raises(SettingsError, match="each of 1 bouts"):
        consolidate_frame_qc([tmp_path], [])


def test_no_bout_at_all_gives_empty_arrays():
    qc = consolidate_frame_qc([], [])
    assert qc.values.size == qc.bad_frames.size == 0


def test_each_field_of_view_gets_the_frames_of_its_depth_and_no_metadata_file_is_opened(tmp_path):
    config = replace(
        preset("tiny"), write_movie=False, zs=(100.0, 200.0, 300.0), frames_per_bout=(61, 41), flyback_frames=1
    )
    made = simulate_session(tmp_path / "Subjects", config)
    truth = load_truth(made.truth_path)
    metadata = load_session_metadata(made.session_path)
    for path in made.session_path.rglob("*rawImagingData*"):
        path.unlink()
    qc = session_frame_qc([made.session_path / bout.name for bout in metadata.bouts], metadata)
    assert [fov.name for fov in qc.fovs] == [fov.name for fov in metadata.imaging.fovs]
    assert len({fov.slice_index for fov in metadata.imaging.fovs}) == 3
    for fov, true in zip(qc.fovs, truth.fovs, strict=True):
        np.testing.assert_array_equal(fov.bad_frames, true.bad_frames)
        assert fov.values.size == true.frame_times.size
        np.testing.assert_array_equal(fov.values > 0, true.bad_frames)
    assert qc.joined.bad_frames.any()
