"""Metadata with impossible coordinates, ROIs outside images, provenance names: each named, nothing half-written."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meso_core.errors import InputFileError, LocationError, MetadataError, MissingInputError
from meso_core.location import (
    Provenance,
    get_provenance,
    locate_fovs,
    locate_session,
    locations_to_json,
    project_mlapdv,
    read_locations,
    roi_mlapdv,
)
from meso_core.location.provenance import best_provenance
from meso_core.scanimage import parse_imaging_metadata


def change(path, value):
    def spoil(meta):
        *parents, last = path
        for key in parents:
            meta = meta[key]
        if value is None:
            del meta[last]
        else:
            meta[last] = value

    return spoil


def scale(factor):
    def spoil(meta):
        for fov in meta["FOV"]:
            fov["MM"] = {k: [c * factor for c in v] for k, v in fov["MM"].items()}

    return spoil


FOV = ("FOV", 0, "MM")
BAD = {
    "no_centre": (change(("centerMM",), None), r"field 'centerMM'.*keys ML and AP.*Enter ML and AP"),
    "centre_without_ap": (change(("centerMM",), {"ML": 2.6}), r"'centerMM\.AP': expected mm from bregma"),
    "centre_nan": (change(("centerMM", "ML"), float("nan")), r"'centerMM\.ML': expected mm from bregma"),
    "centre_text": (change(("centerMM", "ML"), "left"), r"'centerMM\.ML': .* found 'left'"),
    "centre_metres": (change(("centerMM",), {"ML": 0.0026, "AP": -0.002}), "metres"),
    "centre_micrometres": (change(("centerMM",), {"ML": 2600, "AP": -2000}), "µm"),
    "centre_degrees": (change(("centerMM",), {"ML": -12.9, "AP": 1.7}), "degrees"),
    "centre_swapped": (change(("centerMM",), {"ML": -8.0, "AP": 2.0}), "AP and ML exchanged"),
    "no_fovs": (change(("FOV",), []), "field 'FOV'"),
    "no_corners": (change(("FOV", 0, "MM"), None), r"field 'FOV\[0\].MM': expected its four corners"),
    "corner_missing": (change((*FOV, "topLeft"), None), r"'FOV\[0\].MM.topLeft'"),
    "corner_nan": (change((*FOV, "topLeft"), [float("nan"), 1.0]), "finite numbers"),
    "corner_3d": (change((*FOV, "topLeft"), [1.0, 2.0, 3.0]), "finite numbers"),
    "metres": (scale(1e-3), "metres"),
    "micrometres": (scale(1e3), "µm"),
    "degrees": (scale(5.0), "degrees"),
    "crooked": (change((*FOV, "bottomRight"), [2.5, -2.1]), "parallelogram"),
    "exchanged": (change((*FOV, "bottomRight"), [2.8, -1.7]), "parallelogram|area"),
    "zero_size": (
        change(FOV, {k: [2.5, -2.0] for k in ("topLeft", "topRight", "bottomLeft", "bottomRight")}),
        "area",
    ),
    "a_line": (
        change(FOV, {"topLeft": [2, -2], "topRight": [3, -2], "bottomLeft": [2, -2], "bottomRight": [3, -2]}),
        "span an area",
    ),
    "no_pixels": (change(("FOV", 0, "nXnYnZ"), [0, 40, 1]), "nXnYnZ"),
    "one_pixel": (change(("FOV", 0, "nXnYnZ"), [1, 1, 1]), "at least 2 by 2"),
    "pixels_missing": (change(("FOV", 0, "nXnYnZ"), None), "nXnYnZ"),
}


@pytest.mark.parametrize(("spoil", "says"), BAD.values(), ids=BAD)
def test_impossible_coordinates_are_refused_with_field_and_value(spoil, says, meta_of, phantom, phantom_mesh):
    meta = meta_of()
    spoil(meta)
    with pytest.raises(MetadataError, match=says):
        project_mlapdv(meta, phantom, phantom_mesh)


def test_corners_in_degrees_are_recognised_by_the_degrees_beside_them(meta_of, phantom, phantom_mesh):
    meta = meta_of()
    meta["FOV"][0]["Deg"] = copy.deepcopy(meta["FOV"][0]["MM"])
    with pytest.raises(MetadataError, match="degrees of the scanner"):
        project_mlapdv(meta, phantom, phantom_mesh)


def test_typed_metadata_are_located_as_their_file_is(meta_of, phantom, phantom_mesh):
    meta = meta_of(fovs=((2.5, -2.0), (1.8, -2.9)))
    typed, plain = (locate_session(m, phantom, mesh=phantom_mesh) for m in (parse_imaging_metadata(meta), meta))
    assert locations_to_json(typed.locations) == locations_to_json(plain.locations)
    for fov in (0, 1):
        assert typed.mlapdv[fov].tobytes() == plain.mlapdv[fov].tobytes()


def test_metadata_are_not_changed(meta_of, phantom, phantom_mesh):
    meta = meta_of()
    before = copy.deepcopy(meta)
    project_mlapdv(meta, phantom, phantom_mesh)
    assert meta == before


def test_the_same_input_gives_the_same_bytes(meta_of, phantom, phantom_mesh):
    first, second = (locate_fovs(meta_of(), phantom, phantom_mesh) for _ in range(2))
    assert locations_to_json(first.locations) == locations_to_json(second.locations)
    assert first.mlapdv[0].tobytes() == second.mlapdv[0].tobytes()


def test_locations_file_says_how_and_with_what_it_was_made(meta_of, phantom, phantom_mesh, tmp_path):
    result = locate_fovs(meta_of(fovs=((2.5, -2.0), (5.9, -2.0)), size=(1.2, 0.6)), phantom, phantom_mesh)
    path = tmp_path / "fovs.locations.json"
    path.write_text(locations_to_json(result.locations))
    back = read_locations(path)
    assert back.phantom
    assert back.atlas == result.locations.atlas
    assert back.provenance is Provenance.ESTIMATE
    np.testing.assert_allclose(np.linalg.norm(back.window.normal), 1)
    for ours, read in zip(result.locations.fovs, back.fovs, strict=True):
        np.testing.assert_array_equal(ours.corners_um, read.corners_um)
        np.testing.assert_array_equal(ours.center_um, result.mlapdv[ours.fov][19, 19])
        assert ours.corner_ids == read.corner_ids


def test_a_locations_file_that_is_damaged_or_missing_is_named(tmp_path):
    with pytest.raises(MissingInputError, match=r"fovs\.locations\.json"):
        read_locations(tmp_path / "fovs.locations.json")
    (tmp_path / "fovs.locations.json").write_text('{"version": 1}')
    with pytest.raises(InputFileError, match="Run mean_image_mlapdv again"):
        read_locations(tmp_path / "fovs.locations.json")


def maps(ny=12, nx=9):
    rng = np.random.default_rng(0)
    mlapdv, ids = rng.normal(size=(ny, nx, 3)), rng.integers(1, 99, (ny, nx))
    mlapdv[3, 4], ids[3, 4] = np.nan, 997
    return mlapdv, ids


@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 8), st.integers(0, 5)), max_size=30))
def test_every_roi_gets_the_values_of_its_pixel(positions):
    mlapdv, ids = maps()
    at, region = roi_mlapdv(np.array(positions, dtype=int).reshape(-1, 3), mlapdv, ids)
    for (y, x, _), here, area in zip(positions, at, region, strict=True):
        np.testing.assert_array_equal(here, mlapdv[y, x])
        assert area == (0 if (y, x) == (3, 4) else ids[y, x])


@pytest.mark.parametrize("position", [(12, 0, 0), (0, 9, 0), (-1, 0, 0), (0.5, 1, 0), (np.nan, 1, 0)])
def test_an_roi_outside_the_image_is_an_error(position):
    with pytest.raises(LocationError, match=r"FOV_03, field 'mpciROIs.stackPos\[1\]'.*12 rows and 9 columns"):
        roi_mlapdv(np.array([(0, 0, 0), position]), *maps(), fov="FOV_03")


def test_maps_of_different_images_are_an_error():
    mlapdv, ids = maps()
    with pytest.raises(LocationError, match="one image"):
        roi_mlapdv(np.array([(0, 0, 0)]), mlapdv, ids.T)


def test_provenance_is_read_off_dataset_names_and_written_into_them(tmp_path):
    for provenance in Provenance:
        name = f"mpciROIs.{provenance.attribute('brainLocationIds_ccf_2017')}.npy"
        assert get_provenance(tmp_path / "alf" / "FOV_00" / name) is provenance
    assert get_provenance("mpciMeanImage.mlapdv.npy") is Provenance.HISTOLOGY
    assert [p.value for p in Provenance] == [1, 2, 3, 4]
    assert {p.name: p.alyx_code for p in Provenance} == {
        "ESTIMATE": "E",
        "FUNCTIONAL": "F",
        "LANDMARK": "L",
        "HISTOLOGY": "H",
    }


def test_the_best_provenance_wins():
    assert best_provenance([]) is None
    order = [Provenance.HISTOLOGY, Provenance.LANDMARK, Provenance.FUNCTIONAL, Provenance.ESTIMATE]
    for k in range(4):
        assert best_provenance(order[k:][::-1]) is order[k]
