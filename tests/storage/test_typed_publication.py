"""Datasets that are not what they must be are refused before anything is published, all of them in one message."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sparse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meso_core.datasets import file_name, spec_of
from meso_core.errors import DatasetError
from meso_core.session import SessionKey
from meso_core.storage import Basis, FileRecord, LocalStore, MadeBy, Manifest, Session, Staging, load_manifest, publish
from meso_core.storage.alf import write_datasets
from meso_core.storage.typed import Promised, check_sealed, must_agree, published_shapes

FOVS = ("FOV_00", "FOV_01", "FOV_02")
N_FRAMES, N_ROIS, N_Y, N_X = 7, 5, 4, 6
LENGTHS = {"n_frames": N_FRAMES, "n_rois": N_ROIS, "nY": N_Y, "nX": N_X, "n_lines": N_Y}
#: Asset → its datasets. The first two were published before; the third is on its way.
BEFORE = {
    "frame_times": ("mpci.times", "mpciStack.timeshift"),
    "mean_image_mlapdv": ("mpciMeanImage.mlapdv_estimate", "mpciMeanImage.brainLocationIds_ccf_2017_estimate"),
}
ROIS = (
    "mpci.ROIActivityF",
    "mpci.ROINeuropilActivityF",
    "mpci.ROIActivityDeconvolved",
    "mpci.badFrames",
    "mpciMeanImage.images",
    "mpciROIs.stackPos",
    "mpciROIs.mpciROITypes",
    "mpciROITypes.names",
    "mpciROIs.cellClassifier",
    "mpciROIs.uuids",
    "mpciROIs.masks",
    "mpciROIs.neuropilMasks",
    "mpciROIs.mlapdv_estimate",
)
INPUTS = {"imaging_metadata": "1" * 64}


def good(name: str) -> Any:
    """A value as the table wants it."""
    spec, rng = spec_of(name), np.random.default_rng(len(name))
    if spec.columns:
        return pd.DataFrame({column: ["0", "1"] for column in spec.columns})
    shape = tuple(LENGTHS[dim] if isinstance(dim, str) else dim for dim in spec.dims)
    if spec.dtype == "U":
        return np.array([f"uuid-{i}" for i in range(shape[0])])
    values = rng.integers(1, 3, shape).astype({"i": "i4"}.get(spec.dtype, spec.dtype))
    return sparse.GCXS.from_numpy(values) if spec.extension == ".sparse_npz" else values


def bends(name: str) -> list[str]:
    """Ways in which a dataset can be wrong."""
    spec = spec_of(name)
    ways = ["missing", "another file"]
    if spec.columns:
        return [*ways, "columns"]
    if spec.extension == ".csv":
        return [*ways, "longer along 0"]
    ways += ["dtype", "a dimension more", "cut"]
    ways += [f"longer along {axis}" for axis, dim in enumerate(spec.dims) if dim != "n_lines"]
    if spec.dtype.startswith("f"):
        ways += ["infinity", *(["NaN"] if spec.finite else [])]
    return ways


def dense(value: Any) -> np.ndarray:
    return value if isinstance(value, np.ndarray) else value.todense()


def bent(value: Any, way: str, like: Any) -> Any:
    if way == "columns":
        return value.rename(columns={value.columns[0]: "others"})
    array = dense(value)
    if way == "dtype":
        array = array.astype("c8" if array.dtype.kind != "c" else "f8")
    elif way == "a dimension more":
        array = array[..., np.newaxis]
    elif way.startswith("longer"):
        axis = int(way[-1])
        array = np.concatenate([array, array.take([0], axis)], axis)
    elif way in ("NaN", "infinity"):
        array = array.copy()
        array.flat[-1] = np.nan if way == "NaN" else -np.inf
    return array if isinstance(like, np.ndarray) else sparse.GCXS.from_numpy(array)


def stage(session: Path, asset: str, names: tuple[str, ...], bending: dict[tuple[str, str], str]) -> Any:
    """Write datasets as something would that goes round every check."""
    staging = Staging(session, asset)
    for fov in FOVS:
        folder = staging.folder / "alf" / fov
        for name in names:
            value, way = good(name), bending.get((fov, name), "")
            if way == "missing":
                continue
            changed = bent(value, way, value) if way not in ("", "another file", "cut") else value
            write_datasets(folder, {name: changed})
            file = folder / file_name(name)
            if way == "another file":
                file.rename(file.with_name(f"{name}.pqt"))
            elif way == "cut":
                file.write_bytes(file.read_bytes()[:-3])
    return staging.seal()


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    folder = tmp_path_factory.mktemp("typed") / "SP035" / "2023-03-03" / "001"
    folder.mkdir(parents=True)
    for asset, names in BEFORE.items():
        publish(folder, stage(folder, asset, names, {}), Basis("1", INPUTS), MadeBy("run"))
    return folder


def others(session: Path, asset: str = "rois", inputs: dict[str, str] | None = None) -> dict[str, Manifest]:
    made = {name: load_manifest(session, name) for name in BEFORE}
    return must_agree(asset, Basis("1", INPUTS if inputs is None else inputs), {k: m for k, m in made.items() if m})


def check(session: Path, sealed: Any, **more: Any) -> None:
    promised = Promised([name.removesuffix("_estimate") for name in ROIS], FOVS)
    key = SessionKey.parse("SP035/2023-03-03/001")
    shapes = published_shapes(Session(key, session, LocalStore(session.parents[2])))
    check_sealed(sealed, promised, more.get("others", others(session)), shapes, where=str(key))


def named(error: DatasetError) -> set[tuple[str, str]]:
    """FOV and dataset of each problem; which way of finding a location is missing, nobody can say."""
    found = re.findall(r"(?:^|; |: )(FOV_\d\d) ([\w.]+): ", str(error))
    return {(fov, name.removesuffix("_estimate")) for fov, name in found}


def bare(places: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    return {(fov, name.removesuffix("_estimate")) for fov, name in places}


def test_a_good_session_is_accepted(session):
    check(session, stage(session, "rois", ROIS, {}))


BENDINGS = st.dictionaries(
    st.tuples(st.sampled_from(FOVS), st.sampled_from(ROIS)), st.integers(0, 11), min_size=1, max_size=6
).filter(lambda drawn: max(sum(fov == one for fov, _ in drawn) for one in FOVS) <= 3)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=BENDINGS)
def test_whatever_is_bent_is_named_and_nothing_else(session, no_flushing, drawn):
    bending = {place: bends(place[1])[number % len(bends(place[1]))] for place, number in drawn.items()}
    sealed = stage(session, "rois", ROIS, bending)
    with pytest.raises(DatasetError) as refused:
        check(session, sealed)
    assert named(refused.value) == bare(bending), f"{bending}: {refused.value}"


@pytest.mark.parametrize("name", ROIS)
def test_each_dataset_is_refused_in_each_way_in_which_it_can_be_wrong(session, no_flushing, name):
    for way in bends(name):
        sealed = stage(session, "rois", ROIS, {("FOV_01", name): way})
        with pytest.raises(DatasetError) as refused:
            check(session, sealed)
        assert named(refused.value) == bare([("FOV_01", name)]), way


def test_the_lengths_of_other_assets_count_where_they_were_made_from_the_same(session):
    short = {(fov, name): "longer along 0" for fov in FOVS for name in ROIS[:4]}
    sealed = stage(session, "rois", ROIS, short)
    with pytest.raises(
        DatasetError, match=r"expected n_frames = 7 as in mpci\.times of frame_times, found 8"
    ) as refused:
        check(session, sealed)
    assert named(refused.value) == bare(short)
    check(session, sealed, others=others(session, inputs={"imaging_metadata": "2" * 64}))
    assert set(others(session)) == set(BEFORE)


def test_who_must_agree_follows_from_what_each_was_made_from():
    def made(asset: str, **inputs: str) -> Manifest:
        return Manifest(asset, (), Basis("1", inputs), MadeBy("run"), "2026-01-01T00:00:00+00:00")

    metadata = made("metadata", raw="r1")
    version = metadata.data_version
    results = {
        "metadata": metadata,
        "beside": made("beside", metadata=version, daq="d"),
        "stale": made("stale", metadata="0" * 64),
        "onward": made("onward", rois="0" * 64, metadata=version),
        "apart": made("apart", other="1"),
        "rois": made("rois", metadata=version),
    }
    assert set(must_agree("rois", Basis("1", {"metadata": version}), results)) == {"metadata", "beside"}
    assert set(must_agree("onward", Basis("1", {"rois": results["rois"].data_version}), results)) == {"rois"}
    assert must_agree("onward", Basis("1", {"rois": "another by now"}), results) == {}


def no_array(_: FileRecord) -> None:
    """Nothing is compared."""


def test_a_field_of_view_that_is_missing_or_unknown_is_named(session):
    sealed = stage(session, "rois", ROIS, {})
    promised = Promised(["mpci.badFrames"], ("FOV_01", "FOV_02", "FOV_03"))
    with pytest.raises(DatasetError) as refused:
        check_sealed(sealed, promised, {}, no_array, where="here")
    assert "FOV_03 mpci.badFrames: missing" in str(refused.value)
    assert "FOV_00: no such field of view in what was read" in str(refused.value)
    assert not re.search("FOV_0[12]", str(refused.value))


def test_a_dataset_that_the_table_does_not_know_is_named(session):
    staging = Staging(session, "rois")
    (staging.folder / "alf" / "FOV_00").mkdir(parents=True)
    np.save(staging.folder / "alf" / "FOV_00" / "mpci.time.npy", np.zeros(7))
    (staging.folder / "alf" / "FOV_00" / "_suite2p_ROIData.raw.zip").write_bytes(b"no dataset")
    with pytest.raises(DatasetError, match=r"FOV_00 mpci\.time: .*no such name \(did you mean mpci\.times\?\)"):
        check_sealed(staging.seal(), Promised(()), {}, no_array, where="here")


def test_a_large_array_is_looked_at_piece_by_piece_to_its_end(monkeypatch):
    from meso_core import datasets

    monkeypatch.setattr(datasets, "_AT_A_TIME", 10)
    for row in (0, 6, 40, 96):
        array = np.zeros((97, 3), "f4")
        assert datasets.dataset_problems({"mpci.ROIActivityF": array}) == []
        array[row, 1] = np.nan
        assert len(datasets.dataset_problems({"mpci.ROIActivityF": array})) == 1
