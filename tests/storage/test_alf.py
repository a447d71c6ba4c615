"""Datasets come back as they were written, in the bytes that ALF readers expect."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
import pytest
import sparse
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from meso_core.datasets import SPECS, check_datasets, file_name, spec_of
from meso_core.errors import DatasetError, MissingInputError
from meso_core.storage import read_dataset, write_fov


def one_fov(n_frames=7, n_rois=3, n_y=5, n_x=4):
    rng = np.random.default_rng(0)
    masks = sparse.GCXS.from_numpy(rng.random((n_rois, n_y, n_x)).astype("f4") * (rng.random((n_rois, n_y, n_x)) > 0.5))
    return {
        "mpci.times": np.arange(n_frames) / 7.0,
        "mpci.ROIActivityF": rng.random((n_frames, n_rois)).astype("f4"),
        "mpci.badFrames": rng.random(n_frames) > 0.5,
        "mpciROIs.stackPos": rng.integers(0, 5, (n_rois, 3)),
        "mpciROIs.uuids": np.array([f"uuid-{i}" for i in range(n_rois)]),
        "mpciROIs.masks": masks,
        "mpciMeanImage.images": rng.random((n_y, n_x)),
        "mpciMeanImage.mlapdv_estimate": np.full((n_y, n_x, 3), np.nan),
        "mpciFrameQC.names": pd.DataFrame({"qc_values": [0, 1], "qc_labels": ["ok", "z-shift"]}),
    }


def test_every_kind_of_dataset_survives_the_disk(tmp_path):
    datasets = one_fov()
    write_fov(tmp_path, datasets, where="here")
    back = {name: read_dataset(tmp_path / file_name(name)) for name in datasets}
    for name, value in datasets.items():
        if isinstance(value, pd.DataFrame):
            pd.testing.assert_frame_equal(back[name], value)
        elif isinstance(value, np.ndarray):
            np.testing.assert_array_equal(back[name], value)
        else:
            np.testing.assert_array_equal(back[name].todense(), value.todense())


def test_same_values_give_same_bytes(tmp_path):
    def digest(folder):
        write_fov(folder, one_fov(), where="here")
        return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}

    assert digest(tmp_path / "a") == digest(tmp_path / "b")


def test_all_problems_are_reported_at_once_and_nothing_is_written(tmp_path):
    datasets = one_fov()
    datasets["mpci.badFrames"] = np.zeros(8, bool)
    datasets["mpci.ROIActivityF"] = datasets["mpci.ROIActivityF"].astype("f8")
    datasets["mpciMeanImage.images"] = np.full((5, 4), np.inf)
    with pytest.raises(DatasetError) as error:
        write_fov(tmp_path / "FOV_00", datasets, where="SP035/2023-03-03/001 FOV_00")
    for part in ("n_frames = 7 as in mpci.times, found 8", "expected dtype f4, found float64", "found NaN or infinity"):
        assert part in str(error.value)
    assert not (tmp_path / "FOV_00").exists()


@given(hnp.arrays(np.float64, hnp.array_shapes(min_dims=0, max_dims=4, max_side=4), elements=st.floats()))
def test_times_are_accepted_only_as_a_finite_vector(array):
    if array.ndim == 1 and np.isfinite(array).all():
        check_datasets("here", {"mpci.times": array})
    else:
        with pytest.raises(DatasetError):
            check_datasets("here", {"mpci.times": array})


def test_an_unknown_dataset_is_refused_by_name():
    with pytest.raises(DatasetError, match=r"mpci\.time'.*mpci\.times"):
        spec_of("mpci.time")


def test_provenance_suffixes_share_a_row_of_the_table():
    assert spec_of("mpciROIs.mlapdv_estimate") is spec_of("mpciROIs.mlapdv") is spec_of("mpciROIs.mlapdv_landmark")
    assert file_name("mpciROIs.mlapdv_estimate") == "mpciROIs.mlapdv_estimate.npy"


def test_file_names_are_valid_alf():
    from one.alf.spec import is_valid

    assert all(is_valid(file_name(spec.name)) for spec in SPECS)


def test_a_damaged_dataset_is_named(tmp_path):
    write_fov(tmp_path, {"mpci.times": np.arange(100.0)}, where="here")
    path = tmp_path / "mpci.times.npy"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DatasetError, match=r"mpci\.times\.npy.*readable dataset"):
        read_dataset(path)
    with pytest.raises(MissingInputError, match="no such file"):
        read_dataset(tmp_path / "mpci.badFrames.npy")
