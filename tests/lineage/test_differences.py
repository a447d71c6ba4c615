"""How much two versions differ: files in their own terms, ROIs by their masks, runs by what was otherwise."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import numpy as np
import pytest
import sparse
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from meso_core.errors import MissingInputError
from meso_core.lineage import array_difference, compare_files, diff_asset, match_rois, versions_of
from meso_core.lineage.diff import roi_overlap
from meso_core.storage import LocalStore
from tests.lineage.recorded import KEY, Recorded


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@given(arrays(np.float32, array_shapes(max_dims=3, max_side=4), elements=st.floats(width=32)))
def test_an_array_does_not_differ_from_itself(array):
    assert array_difference(array, array.copy()) == ""


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (
            np.zeros((2, 3)),
            np.array([[0, 0, 0], [0, 2.5, -1]]),
            "2 of 6 values differ, largest difference 2.5 at [1, 1]",
        ),
        (np.array([1.0, np.nan]), np.array([np.nan, np.nan]), "1 of 2 values differ, NaN on one side only at [0]"),
        (np.array([1, 2], "i2"), np.array([1, 5], "i2"), "1 of 2 values differ, largest difference 3 at [1]"),
        (np.array([True, False]), np.array([True, True]), "1 of 2 values differ, largest difference 1 at [1]"),
        (np.array(["a", "b"]), np.array(["a", "c"]), "1 of 2 values differ"),
        (np.zeros(3, "f4"), np.zeros(3), "3 float32 → 3 float64"),
        (np.zeros((2, 3)), np.zeros((3, 2)), "2 × 3 float64 → 3 × 2 float64"),
    ],
)
def test_arrays_are_told_by_their_largest_difference(before, after, told):
    assert array_difference(before, after) == told


def masks(*pixels, shape=(4, 4)):
    """Masks of ROIs, each a list of pixels."""
    dense = np.zeros((len(pixels), *shape), "f4")
    for i, roi in enumerate(pixels):
        for pixel in roi:
            dense[(i, *pixel)] = 0.5
    return sparse.GCXS.from_numpy(dense)


def write(folder, name, value):
    folder.mkdir(exist_ok=True)
    file = folder / name
    if isinstance(value, np.ndarray):
        np.save(file, value)
    elif isinstance(value, sparse.SparseArray):
        with file.open("wb") as out:
            sparse.save_npz(out, value)
    else:
        file.write_bytes(value)
    return file


@pytest.mark.parametrize(
    ("name", "before", "after", "told"),
    [
        ("a.npy", np.zeros(2), np.ones(2), "2 of 2 values differ, largest difference 1 at [0]"),
        ("a.npy", np.zeros(2), b"damaged", "it could not be read"),
        ("a.tsv", b"x\ty\n1\t2\n3\t4\n", b"x\ty\n1\t2\n3\t5\n", "1 of 2 rows differ, the first is row 2: 3\t4 → 3\t5"),
        ("a.csv", b"x\n1\n", b"x\n1\n2\n", "1 → 2 rows"),
        ("a.csv", b"x\n1\n", b"y\n1\n", "columns ['x'] → ['y']"),
        (
            "a.json",
            b'{"c": {"ML": 2.6}, "n": [1, 2]}',
            b'{"c": {"ML": 2.7}, "n": [1, 3]}',
            "c.ML: 2.6 → 2.7; n[1]: 2 → 3",
        ),
        ("a.json", b'{"a": 1}', b'{"b": 1}', "a: gone; b: new"),
        ("a.json", b"[1]", b"[1 ]", "other bytes, equal values"),
        ("a.png", b"one", b"two", "other bytes, as many (3)"),
        ("a.zip", b"one", b"three", "3 → 5 bytes"),
        (
            "m.sparse_npz",
            masks([(0, 0)]),
            masks([(0, 1)]),
            "2 of 16 values differ, largest difference 0.5 at [0, 0, 0]",
        ),
    ],
)
def test_a_file_is_compared_in_its_own_terms(tmp_path, name, before, after, told):
    one, other = write(tmp_path / "one", name, before), write(tmp_path / "other", name, after)
    found = compare_files(name, one, other)
    assert not found.is_equal
    assert told in found.difference
    assert compare_files(name, one, one).is_equal
    other.unlink()
    assert compare_files(name, one, other).difference == "not there now"


def test_rois_are_matched_by_the_overlap_of_their_masks():
    square = [(0, 0), (0, 1), (1, 0), (1, 1)]
    before = masks(square, [(3, 3)], [(2, 0), (2, 1)])
    after = masks([(3, 3)], square[:3], [(0, 3)])
    found = match_rois("FOV_00", before, after)
    assert (found.n_before, found.n_after, found.n_matched) == (3, 3, 2)
    assert found.median_iou == pytest.approx((1 + 3 / 4) / 2)


def test_an_roi_is_matched_once():
    both = masks([(0, 0), (0, 1)], [(0, 0), (0, 1)])
    assert match_rois("FOV_00", both, masks([(0, 0), (0, 1)])).n_matched == 1


@given(arrays(bool, (3, 2, 3)), arrays(bool, (2, 2, 3)))
def test_the_overlap_is_intersection_over_union(one, other):
    overlap = roi_overlap(sparse.GCXS.from_numpy(one.astype("f4")), sparse.GCXS.from_numpy(other.astype("f4")))
    for i, mine in enumerate(one):
        for j, its in enumerate(other):
            union = (mine | its).sum()
            assert overlap[i, j] == pytest.approx((mine & its).sum() / union if union else 0.0)


def test_two_runs_of_a_session_are_told_apart(tmp_path):
    recorded = Recorded(tmp_path)
    recorded.make("metadata", facts={"fovs": 2})
    recorded.make("movies", "same")
    first = versions_of(recorded.session, "run-0002", recorded.session.present())
    recorded.make("metadata", "other", facts={"fovs": 3})
    recorded.code = "2"
    recorded.make("movies", "same")
    present = recorded.session.present()
    first, now = replace(first, present=present), versions_of(recorded.session, "now", present)
    assert set(first.manifests) == set(now.manifests) == {"metadata", "movies"}
    assert versions_of(recorded.session, "run-0004", present) == now
    metadata = diff_asset("metadata", first, now)
    assert metadata.runs == ("run-0001", "run-0003")
    assert metadata.differences == ("fovs changed from 2 to 3",)
    assert [file.path for file in metadata.files] == ["alf/_meta.json"]
    (note,) = metadata.notes
    assert note.startswith("1 file: by how much their content differs is not told")
    movies = diff_asset("movies", first, now)
    assert movies.files == (), "the content is the same"
    assert [text.split(" (")[0] for text in movies.differences] == ["code version 1 → 2", "metadata has changed"]
    assert json.loads(json.dumps(movies.as_record()))["asset"] == "movies"


def test_one_listing_serves_the_comparison_of_all_assets(tmp_path, monkeypatch):
    recorded = Recorded(tmp_path).make_all("first").make_all("second")
    present = recorded.session.present()

    def again(*_):
        raise AssertionError("listed again")

    monkeypatch.setattr(LocalStore, "listing", again)
    first, now = (versions_of(recorded.session, run, present) for run in ("run-0003", "now"))
    found = [diff_asset(asset, first, now) for asset in now.manifests]
    assert [one.asset for one in found if not one.is_same][:1] == ["cells"]
    assert len(found) == 3


def test_a_run_that_is_not_known_or_is_not_one_is_a_named_error(tmp_path):
    recorded = Recorded(tmp_path).make_all()
    with pytest.raises(MissingInputError, match=r"expected one of run-0001, run-0002, run-0003, .*found no result"):
        versions_of(recorded.session, "xyz", recorded.session.present())
    with pytest.raises(MissingInputError, match="found run-0001, run-0002, run-0003"):
        versions_of(recorded.session, "run", recorded.session.present())


def test_an_asset_that_one_version_lacks_is_told(tmp_path):
    recorded = Recorded(tmp_path)
    made = recorded.make("metadata")
    now = versions_of(recorded.session, "now", recorded.session.present())
    found = diff_asset("metadata", replace(now, manifests={}), now)
    assert found.differences == ("was not made before",)
    assert not found.is_same
    assert diff_asset("metadata", now, now).is_same
    assert str(KEY) == made.session
