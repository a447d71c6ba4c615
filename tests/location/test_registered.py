"""Locations from points and histology, tilt and depth: recovered from reference images made with known geometry."""

from __future__ import annotations

import json
import re
import warnings
from dataclasses import replace

import numpy as np
import pytest

from meso_core.errors import InputFileError, LocationError, MesoWarning, MetadataError
from meso_core.location import (
    Provenance,
    find_reference,
    locate_fovs,
    locate_session,
    locations_to_json,
    read_locations,
)
from meso_core.location.atlas.phantom import surface_dv_um
from meso_core.location.registered import locate
from meso_core.location.registered.depth import surface_tilt
from meso_core.location.registered.locate import available_sources
from meso_core.location.registered.points import fit_points
from meso_core.location.registered.reference_image import ReferenceImage
from tests.whole_metadata import scan_image_params, whole_metadata

RESOLUTION = 150.0  # µm per degree
#: objective x runs to posterior, y to medial, as in SP061: MM = centre - 0.15 (y, x)
CENTER = np.array([2500.0, -2000.0])
MATRIX = np.array([[0.0, -1.0], [-1.0, 0.0]])


def to_mlap(xy_um):
    return CENTER + xy_um @ MATRIX.T


def corners(x0, x1, y0, y1):
    return {"topLeft": [x0, y0], "topRight": [x1, y0], "bottomLeft": [x0, y1], "bottomRight": [x1, y1]}


def field(x0, x1, y0, y1, pixels, z=0.0):
    deg = corners(x0, x1, y0, y1)
    mm = {k: (to_mlap(np.array(v) * RESOLUTION) / 1e3).tolist() for k, v in deg.items()}
    return {"Deg": deg, "MM": mm, "nXnYnZ": [*pixels, 1], "roiUUID": "A", "Zs": z}


def make_reference_meta(zs=()):
    """Three strips of 4 by 12 degrees side by side: a mosaic of 90 columns and 100 rows."""
    strips = [field(x, x + 4, -6, 6, (30, 100)) for x in (-6, -2, 2)]
    stack = {"hStackManager": {"zs": list(zs)}} if zs else {}
    return whole_metadata(strips, scanImageParams={**scan_image_params(RESOLUTION), **stack})


@pytest.fixture
def meta():
    fovs = [field(-4, 1, -3, 2, (24, 30), z=150.0), field(0.5, 4, -1, 3.5, (20, 20), z=250.0)]
    return whole_metadata(fovs, scanImageParams=scan_image_params(RESOLUTION))


@pytest.fixture
def reference():
    return ReferenceImage.from_meta(make_reference_meta(zs=range(0, 300, 10)))


def marked(reference, n=6, seed=0, noise=0.0):
    rng = np.random.default_rng(seed)
    yx = rng.uniform((5, 5), (94, 84), (n, 2))
    mlap = to_mlap(reference.to_um(yx)) + rng.normal(scale=noise, size=(n, 2)) * (noise > 0)
    return {"image": yx.tolist(), "mlap": mlap.tolist(), "names": [f"vessel {k}" for k in range(n)]}


def expected_mlap(meta, fov):
    ny, nx = meta["FOV"][fov]["nXnYnZ"][1], meta["FOV"][fov]["nXnYnZ"][0]
    mm = {k: np.array(v) * 1e3 for k, v in meta["FOV"][fov]["MM"].items()}
    v, u = np.linspace(0, 1, ny)[:, None, None], np.linspace(0, 1, nx)[None, :, None]
    top = (1 - u) * mm["topLeft"] + u * mm["topRight"]
    return (1 - v) * top + v * ((1 - u) * mm["bottomLeft"] + u * mm["bottomRight"])


def surface_below(atlas, mlap):
    """DV in µm and Allen id of the first area in the columns nearest to points (…, 2), and whether one is the nearest.

    Read from the volume as the atlas keeps it: (AP, ML, DV) from front, left and top, bregma at (5400, 5739, 332) µm.
    """
    at = np.stack([5400 - mlap[..., 1], 5739 + mlap[..., 0]], axis=-1) / atlas.res_um
    ap, ml = np.moveaxis(np.rint(at).astype(int), -1, 0)
    ids = np.abs(atlas.regions.id[atlas.label[ap, ml]])
    first = (~np.isin(ids, (0, 997))).argmax(axis=-1)
    one_is_nearest = (np.abs(at - np.rint(at)) < 0.499).all(axis=-1)
    return 332.0 - first * atlas.res_um, np.take_along_axis(ids, first[..., None], axis=-1)[..., 0], one_is_nearest


def rms_um(fit):
    return np.sqrt(np.mean(np.square(fit.record.residuals_um)))


def test_reference_pixels_and_objective_coordinates_are_inverse(reference):
    assert reference.shape == (100, 90)
    yx = np.random.default_rng(1).uniform(-10, 110, (50, 2))
    np.testing.assert_allclose(reference.to_pixels(reference.to_um(yx)), yx, atol=1e-9)
    np.testing.assert_allclose(reference.to_um(np.zeros(2)), [-900, -900])


@pytest.mark.parametrize("kind", ["affine", "thin_plate"])
def test_points_give_back_the_transform_they_were_made_with(kind, reference):
    fit = fit_points(marked(reference), kind=kind)
    yx = np.random.default_rng(2).uniform(0, 90, (40, 2))
    np.testing.assert_allclose(fit.transform(yx), to_mlap(reference.to_um(yx)), atol=1e-5)
    assert rms_um(fit) < 1e-5
    assert fit.record.names[0] == "vessel 0"


@pytest.mark.parametrize("kind", ["affine", "thin_plate"])
def test_residuals_tell_how_wrong_the_points_are(kind, reference):
    small = rms_um(fit_points(marked(reference, n=12, noise=5.0), kind=kind))
    large = rms_um(fit_points(marked(reference, n=12, noise=100.0), kind=kind))
    assert 1 < small < 25
    assert large > 5 * small


def test_a_thin_plate_follows_a_bend_that_an_affine_cannot(reference):
    points = marked(reference, n=30)
    yx = np.array(points["image"])
    points["mlap"] = (np.array(points["mlap"]) + 0.03 * (yx - 45) ** 2).tolist()
    assert rms_um(fit_points(points, kind="thin_plate")) < 0.5 * rms_um(fit_points(points, kind="affine"))


@pytest.mark.parametrize("provenance", [Provenance.LANDMARK, Provenance.FUNCTIONAL])
def test_landmarks_place_pixels_where_the_points_say_on_the_surface(
    provenance, meta, reference, phantom, phantom_mesh, tmp_path
):
    name = f"referenceImage.{provenance.name.lower()}.json"
    (tmp_path / "referenceImage.meta.json").write_text(json.dumps(make_reference_meta()))
    (tmp_path / name).write_text(json.dumps(marked(reference)))
    result = locate_session(meta, phantom, tmp_path, mesh=phantom_mesh)
    assert result.locations.provenance is provenance
    assert result.locations.fit.residuals_um == pytest.approx([0] * 6, abs=1e-5)
    for fov in (0, 1):
        at, mlap = result.mlapdv[fov], expected_mlap(meta, fov)
        np.testing.assert_allclose(at[..., :2], mlap, atol=1e-5)
        dv, ids, sure = surface_below(phantom, at[..., :2])
        assert sure.mean() > 0.9
        np.testing.assert_allclose(at[..., 2][sure], dv[sure], atol=1e-9)
        np.testing.assert_array_equal(result.brain_location_ids[fov][sure], ids[sure])
        # the surface that the phantom was made with: at most a voxel higher, and what it falls in half a voxel
        assert np.abs(at[..., 2] - surface_dv_um(mlap[..., 0], mlap[..., 1])).max() < 75
    text = locations_to_json(result.locations)
    (tmp_path / "fovs.locations.json").write_text(text)
    assert locations_to_json(read_locations(tmp_path / "fovs.locations.json")) == text


def registered_indices(atlas, reference):
    """Atlas indices per pixel of the reference image: the surface voxel under each."""
    yx = np.stack(np.meshgrid(np.arange(100), np.arange(90), indexing="ij"), axis=-1).astype(float)
    mlap = to_mlap(reference.to_um(yx))
    dv, _, _ = surface_below(atlas, mlap)
    at = np.concatenate([mlap, dv[..., None]], axis=-1) * [1, -1, -1] + [5739, 5400, 332]
    return np.rint(at / atlas.res_um).astype(np.uint16)


def test_histology_is_interpolated_smoothly_to_the_fovs(meta, reference, allen_25, published_mesh, tmp_path):
    np.save(tmp_path / "referenceImage.mlapdv.npy", registered_indices(allen_25, reference))
    (tmp_path / "referenceImage.meta.json").write_text(json.dumps(make_reference_meta()))
    result = locate_session(meta, allen_25, tmp_path, mesh=published_mesh)
    assert result.locations.provenance is Provenance.HISTOLOGY
    for fov in (0, 1):
        at = result.mlapdv[fov]
        assert np.abs(at[..., :2] - expected_mlap(meta, fov)).max() < 25  # a voxel; indices are whole numbers
        assert np.median(np.abs(at[..., 2] - surface_below(allen_25, at[..., :2])[0])) < 25
        steps = np.abs(np.diff(at[..., 1], axis=1))
        assert steps.max() < 3 * np.median(steps)  # no jumps of a voxel
        assert (result.brain_location_ids[fov] != 0).all()


def test_unregistered_pixels_of_the_histology_stay_unlocated(meta, reference, phantom, phantom_mesh, tmp_path):
    indices = registered_indices(phantom, reference)
    indices[:, 45:] = 0
    np.save(tmp_path / "referenceImage.mlapdv.npy", indices)
    (tmp_path / "referenceImage.meta.json").write_text(json.dumps(make_reference_meta()))
    result = locate_session(meta, phantom, tmp_path, mesh=phantom_mesh)
    x = -4 + 5 * np.arange(24) / 23  # columns of FOV 0; the image's column 45 is at x = 0.067 degrees
    missing = np.isnan(result.mlapdv[0]).any(axis=-1)
    np.testing.assert_array_equal(missing.all(axis=0), x > 0.067 - 6.75 / 150)
    assert (result.brain_location_ids[0][missing] == 0).all()


def points_on_plane(reference, a, b, c, where=((0.1, 0.2), (0.8, 0.3), (0.4, 0.9))):
    made = []
    for x, y in where:
        at = reference.to_um(np.array([y, x]) * (np.array(reference.shape) - 1))
        made.append(
            {"coords": [x, y], "stack_idx": int(np.argmin(np.abs(np.array(reference.z_um) - (a + at @ [b, c]))))}
        )
    return {"points": made}


def test_tilt_of_the_surface_is_recovered_from_three_points_in_focus(reference):
    fine = replace(reference, z_um=tuple(np.arange(0, 300, 0.01)))
    tilt = surface_tilt(points_on_plane(fine, 120.0, 0.05, -0.08), fine)
    assert (tilt.a, tilt.b, tilt.c) == pytest.approx((120, 0.05, -0.08), abs=1e-3)
    assert tilt.angle_deg == pytest.approx(np.degrees(np.arctan(np.hypot(0.05, 0.08))), abs=0.01)
    # perpendicular distance of a point 100 µm below the surface along z
    assert tilt.depth_um(np.array([30.0, -40.0]), 120 + 1.5 + 3.2 + 100) == pytest.approx(
        100 / np.sqrt(1 + 0.05**2 + 0.08**2), abs=0.01
    )


def test_depth_below_the_surface_moves_pixels_along_the_inward_normal_into_deeper_layers(
    meta, reference, phantom, phantom_mesh, tmp_path
):
    (tmp_path / "referenceImage.meta.json").write_text(json.dumps(make_reference_meta(zs=range(0, 300, 10))))
    (tmp_path / "referenceImage.points.json").write_text(json.dumps(points_on_plane(reference, 50.0, 0.0, 0.0)))
    surface = locate_fovs(meta, phantom, phantom_mesh)
    deep = locate_session(meta, phantom, tmp_path, mesh=phantom_mesh)
    assert deep.locations.provenance is Provenance.ESTIMATE
    assert deep.locations.tilt_deg == pytest.approx(0, abs=1e-6)
    normal = surface.locations.window.normal
    for fov, depth in ((0, 100.0), (1, 200.0)):
        np.testing.assert_allclose(
            surface.mlapdv[fov] - deep.mlapdv[fov], np.broadcast_to(depth * normal, deep.mlapdv[fov].shape), atol=1e-6
        )
        assert deep.locations.fovs[fov].depth_um == pytest.approx(depth)
        names = {
            str(phantom.regions.acronym[np.flatnonzero(phantom.regions.id == i)[0]])
            for i in np.unique(deep.brain_location_ids[fov])
        }
        assert not all(n.endswith("1") for n in names)


def test_a_plane_above_the_surface_is_told(meta, reference, phantom, phantom_mesh, tmp_path):
    (tmp_path / "referenceImage.meta.json").write_text(json.dumps(make_reference_meta(zs=range(0, 300, 10))))
    (tmp_path / "referenceImage.points.json").write_text(json.dumps(points_on_plane(reference, 200.0, 0.0, 0.0)))
    with pytest.warns(MesoWarning, match="FOV_00: 100% of the pixels lie above"):
        deep = locate_session(meta, phantom, tmp_path, mesh=phantom_mesh)
    assert deep.locations.fovs[0].fraction_above == 1.0
    assert deep.locations.fovs[1].fraction_above == 0.0


def test_the_best_source_that_is_there_is_taken_unless_another_is_asked_for(
    meta, reference, phantom, phantom_mesh, tmp_path
):
    assert available_sources(None) == (Provenance.ESTIMATE,)
    (tmp_path / "referenceImage.meta.json").write_text(json.dumps(make_reference_meta()))
    expected = [Provenance.ESTIMATE]
    for provenance, name in (
        (Provenance.FUNCTIONAL, "functional.json"),
        (Provenance.LANDMARK, "landmark.json"),
        (Provenance.HISTOLOGY, "mlapdv.npy"),
    ):
        path = tmp_path / f"referenceImage.{name}"
        if path.suffix == ".json":
            path.write_text(json.dumps(marked(reference)))
        else:
            np.save(path, registered_indices(phantom, reference))
        expected.append(provenance)
        assert set(available_sources(tmp_path)) == set(expected)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert locate_session(meta, phantom, tmp_path, mesh=phantom_mesh).locations.provenance is provenance
    asked = locate_session(meta, phantom, tmp_path, mesh=phantom_mesh, provenance=Provenance.FUNCTIONAL)
    assert asked.locations.provenance is Provenance.FUNCTIONAL


BAD_POINTS = {
    "on_one_line": ({"image": [[0, 0], [1, 1], [2, 2]], "mlap": [[100, 0], [200, 50], [300, 900]]}, "on one line"),
    "millimetres": ({"image": [[0, 0], [1, 5], [7, 2]], "mlap": [[1, 0], [2, 0.5], [3, 9]]}, "mm"),
    "unpaired": ({"image": [[0, 0], [1, 5], [7, 2]], "mlap": [[100, 0], [200, 50]]}, "3 points, as in image"),
    "twice": ({"image": [[0, 0], [0, 0], [7, 2]], "mlap": [[100, 0], [200, 50], [300, 900]]}, "a point twice"),
    "too_few": ({"image": [[0, 0], [4, 0]], "mlap": [[100, 0], [200, 50]]}, "at least 3 points"),
    "some_names": (
        {"image": [[0, 0], [1, 5], [7, 2]], "mlap": [[100, 0], [200, 50], [300, 900]], "names": ["a"]},
        "3 names, one per point",
    ),
    "no_field": ({"image": [[0, 0], [4, 0]]}, "field 'mlap'"),
    "not_numbers": ({"image": [["a", 0], [4, 0]], "mlap": []}, "field 'image'"),
    "nan": ({"image": [[0, 0], [1, 5], [7, None]], "mlap": [[100, 0], [200, 50], [300, 900]]}, "field 'image'"),
}


@pytest.mark.parametrize(("points", "says"), BAD_POINTS.values(), ids=BAD_POINTS)
def test_points_that_cannot_be_fitted_are_refused(points, says):
    with pytest.raises(LocationError, match=says):
        fit_points(points, where="referenceImage.landmark.json")


BAD_FOCUS = {
    "two": (((0.1, 0.2), (0.8, 0.3)), "three points"),
    "on_one_line": (((0.1, 0.1), (0.5, 0.5), (0.9, 0.9)), "on one line"),
    "beyond": (((0.1, 0.1), (0.5, 1.5), (0.9, 0.2)), "0 to 1"),
}


@pytest.mark.parametrize(("where", "says"), BAD_FOCUS.values(), ids=BAD_FOCUS)
def test_points_in_focus_that_span_no_plane_are_refused(where, says, reference):
    with pytest.raises(LocationError, match=says):
        surface_tilt(points_on_plane(reference, 50, 0, 0, where), reference)


def test_points_in_slices_beyond_the_stack_are_refused(reference):
    points = points_on_plane(reference, 50, 0, 0)
    points["points"][1]["stack_idx"] = 30
    with pytest.raises(LocationError, match="slices 0 to 29"):
        surface_tilt(points, reference)


def test_a_reference_image_whose_size_disagrees_with_its_metadata_is_refused(
    meta, reference, phantom, phantom_mesh, tmp_path
):
    np.save(tmp_path / "referenceImage.mlapdv.npy", registered_indices(phantom, reference)[:-1])
    (tmp_path / "referenceImage.meta.json").write_text(json.dumps(make_reference_meta()))
    with pytest.raises(MetadataError, match=r"100 rows and 90 columns.*99 rows and 90 columns"):
        locate_session(meta, phantom, tmp_path, mesh=phantom_mesh)


def test_indices_of_a_finer_atlas_are_refused(meta, reference, phantom, phantom_mesh, tmp_path):
    np.save(tmp_path / "referenceImage.mlapdv.npy", registered_indices(phantom, reference) * 5)
    (tmp_path / "referenceImage.meta.json").write_text(json.dumps(make_reference_meta()))
    with pytest.raises(LocationError, match="MESO_ATLAS_RESOLUTION_UM"):
        locate_session(meta, phantom, tmp_path, mesh=phantom_mesh)


def test_the_bout_with_the_best_source_gives_the_reference(tmp_path):
    bouts = [tmp_path / f"raw_imaging_data_0{i}" for i in range(4)]
    for bout in bouts:
        bout.mkdir()
    assert find_reference(bouts) is None
    for bout in bouts[1:]:
        (bout / "reference").mkdir()
    assert find_reference(bouts) == bouts[1] / "reference"
    (bouts[2] / "reference" / "referenceImage.functional.json").write_text("{}")
    assert find_reference(bouts) == bouts[2] / "reference"
    (bouts[3] / "reference" / "referenceImage.landmark.json").write_text("{}")
    assert find_reference(bouts) == bouts[3] / "reference"


@pytest.mark.parametrize("name", ["referenceImage.meta.json", "referenceImage.landmark.json"])
def test_a_file_that_holds_no_json_object_is_named(name, meta, reference, phantom, phantom_mesh, tmp_path):
    (tmp_path / "referenceImage.meta.json").write_text(json.dumps(make_reference_meta()))
    (tmp_path / "referenceImage.landmark.json").write_text(json.dumps(marked(reference)))
    (tmp_path / name).write_text("[1, 2]")
    with pytest.raises(InputFileError, match=rf"{re.escape(name)}: expected a JSON object, found list"):
        locate_session(meta, phantom, tmp_path, mesh=phantom_mesh)


def test_the_window_is_laid_once_per_session(meta, reference, phantom, phantom_mesh, tmp_path, monkeypatch):
    laid = []

    def count(*given):
        laid.append(given)
        return lay(*given)

    lay = locate.windowed_atlas
    monkeypatch.setattr(locate, "windowed_atlas", count)
    np.save(tmp_path / "referenceImage.mlapdv.npy", registered_indices(phantom, reference))
    (tmp_path / "referenceImage.meta.json").write_text(json.dumps(make_reference_meta(zs=range(0, 300, 10))))
    (tmp_path / "referenceImage.points.json").write_text(json.dumps(points_on_plane(reference, 50.0, 0.0, 0.0)))
    found = locate_session(meta, phantom, tmp_path, mesh=phantom_mesh)
    assert found.locations.provenance is Provenance.HISTOLOGY
    assert found.locations.tilt_deg == pytest.approx(0, abs=1e-6)
    assert len(laid) == 1
