"""Projection: axis conventions, geometry, symmetry, the real atlas and the real session."""

from __future__ import annotations

import copy
from itertools import product

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from meso_core.errors import LocationError
from meso_core.location import (
    AtlasInfo,
    Frame,
    LocationSettings,
    NormalRule,
    atlas_grid,
    brain_atlas,
    find_triangle,
    locate_fovs,
    project_mlapdv,
    surface_normal,
)
from meso_core.location.atlas.phantom import surface_dv_um
from meso_core.location.surface.window import window_plane
from tests.location.conftest import make_meta

FACET = LocationSettings(atlas="phantom", normal_rule=NormalRule.FACET)


def acronym(atlas, brain_id):
    return str(atlas.regions.acronym[np.flatnonzero(atlas.regions.id == brain_id)[0]])


def ids_touching(atlas, points):
    """Allen ids (n, 8) of the 50 µm voxels that hold each point; a point on a face belongs to those on both sides.

    Read from the volume as the atlas keeps it: (AP, ML, DV) from front, left and top, bregma at (5400, 5739, 332) µm.
    """
    at = (np.array([5400, 5739, 332]) + points[:, [1, 0, 2]] * [-1, 1, -1]) / 50
    ends = np.rint(np.stack([at - 1e-6, at + 1e-6])).astype(int)
    ids = []
    for sides in product((0, 1), repeat=3):
        voxel = np.stack([ends[side, :, k] for k, side in enumerate(sides)], axis=1)
        inside = ((voxel >= 0) & (voxel < atlas.label.shape)).all(axis=1)
        found = atlas.label[tuple(np.where(inside[:, None], voxel, 0).T)]
        ids.append(np.where(inside, np.abs(atlas.regions.id[found]), 0))
    return np.stack(ids, axis=1)


def flat_brain(depth_index=20, tilt=0):
    """Slab of two areas that meet at ML 0, its top a plane, under a mesh of two triangles."""
    from iblatlas.regions import BrainRegions

    regions = BrainRegions()
    label = np.zeros((264, 228, 160), np.uint16)
    right, left = (int(np.flatnonzero(regions.id == i)[0]) for i in (593, -593))
    ml = np.arange(228) * 50.0 - 5739
    label[:, ml >= 0, depth_index:] = right
    label[:, ml < 0, depth_index:] = left
    atlas = brain_atlas(label, 50, regions, AtlasInfo("slab", 50, "slab", "test", phantom=True))
    top = 332 - depth_index * 50.0
    points = np.array([[-5000, -7000, top], [5000, -7000, top], [5000, 5000, top], [-5000, 5000, top]], float)
    return atlas, (points, np.array([[0, 1, 2], [0, 2, 3]])), top


def test_under_a_flat_brain_every_pixel_lands_where_its_corner_coordinates_say(meta_of):
    atlas, mesh, top = flat_brain()
    meta = meta_of(size=(0.6, 0.9), pixels=(30, 45))
    mlapdv, ids = project_mlapdv(meta, atlas, mesh)
    corners = meta["FOV"][0]["MM"]
    for (row, column), name in zip(((0, 0), (0, -1), (-1, 0), (-1, -1)), corners, strict=True):
        np.testing.assert_allclose(mlapdv[0][row, column, :2], np.array(corners[name]) * 1e3, atol=1e-6)
    rows = np.linspace(corners["topLeft"][0], corners["bottomLeft"][0], 30) * 1e3
    columns = np.linspace(corners["topLeft"][1], corners["topRight"][1], 45) * 1e3
    np.testing.assert_allclose(mlapdv[0][..., 0], np.broadcast_to(rows[:, None], (30, 45)), atol=1e-6)
    np.testing.assert_allclose(mlapdv[0][..., 1], np.broadcast_to(columns, (30, 45)), atol=1e-6)
    assert np.abs(mlapdv[0][..., 2] - top).max() <= 25.0  # within half a voxel of the surface
    assert (ids[0] == 593).all()


def test_images_that_are_not_square_have_rows_first(meta_of, phantom, phantom_mesh):
    mlapdv, ids = project_mlapdv(meta_of(size=(0.3, 0.9), pixels=(20, 60)), phantom, phantom_mesh)
    assert mlapdv[0].shape == (20, 60, 3)
    assert ids[0].shape == (20, 60)


@pytest.mark.parametrize("rule", list(NormalRule))
def test_a_window_on_a_tilted_plane_has_the_planes_normal_and_keeps_distances(rule, meta_of):
    _, mesh, _ = flat_brain()
    normal = np.array([0.3, -0.1, 0.9])
    tilted = mesh[0].copy()
    tilted[:, 2] = -400 - (tilted[:, :2] @ normal[:2]) / normal[2]
    plane = window_plane((tilted, mesh[1]), np.array([1200.0, -900.0]), rule)
    np.testing.assert_allclose(plane.normal, normal / np.linalg.norm(normal), atol=1e-9)
    ml, ap = plane.axes
    np.testing.assert_allclose(
        [ml @ ml, ap @ ap, ml @ ap, ml @ plane.normal, ap @ plane.normal], [1, 1, 0, 0, 0], atol=1e-9
    )
    assert ml[0] > 0
    assert ap[1] > 0
    assert plane.center_um[2] == pytest.approx(-400 - (plane.center_um[:2] @ normal[:2]) / normal[2])


@pytest.mark.parametrize("rule", list(NormalRule))
def test_mirrored_windows_give_mirrored_places_and_the_same_ids(rule, meta_of):
    """A brain that is symmetric about ML 0, voxel by voxel, seen through windows left and right."""
    from iblatlas.regions import BrainRegions

    regions = BrainRegions()
    rng = np.random.default_rng(4)
    index = {i: int(np.flatnonzero(regions.id == i)[0]) for i in (593, -593, 442, -442)}
    label = np.zeros((264, 229, 160), np.uint16)
    half = np.where(rng.random((264, 114)) < 0.5, 593, 442)
    height = np.add.outer(np.arange(264) // 20, np.arange(114)[::-1] // 16) + 4
    tissue = np.arange(160) >= height[..., None]
    for sign, columns in ((-1, slice(0, 114)), (1, slice(228, 114, -1))):
        values = np.vectorize(index.__getitem__)(half * sign)
        label[:, columns][tissue] = np.broadcast_to(values[..., None], tissue.shape)[tissue]
    atlas = brain_atlas(label, 50, regions, AtlasInfo("mirror", 50, f"mirror{rule.value}", "test", phantom=True))
    atlas.bc.x0 = -114 * 50e-6  # the middle column is ML 0
    assert atlas_grid(atlas).origin_um[0] == pytest.approx(-114 * 50.0)
    ml, ap = np.meshgrid(np.arange(-5000.0, 5001, 200), np.arange(-7000.0, 5001, 200), indexing="ij")
    points = np.c_[ml.ravel(), ap.ravel(), (300 - (np.abs(ml) / 300) ** 2 - (ap / 600) ** 2).ravel()]
    n = ml.shape[1]
    a = (np.arange(ml.shape[0] - 1)[:, None] * n + np.arange(n - 1)).ravel()
    right_half = points[a, 0] >= 0
    d = np.concatenate([np.c_[a, a + n, a + n + 1], np.c_[a, a + n + 1, a + 1]])[np.tile(right_half, 2)]
    mirror = (len(ml) - 1 - np.arange(len(ml)))[:, None] * n + np.arange(n)
    mesh = (points, np.concatenate([d, mirror.ravel()[d][:, ::-1]]))
    settings = LocationSettings(atlas="phantom", normal_rule=rule)
    right = meta_of(center=(2.53, -2.07), fovs=((2.53, -2.07), (1.83, -1.37)))
    left = copy.deepcopy(right)
    left["centerMM"]["ML"] *= -1
    for fov in left["FOV"]:
        fov["MM"] = {k: [-v[0], v[1]] for k, v in fov["MM"].items()}
    at_right, ids_right = project_mlapdv(right, atlas, mesh, settings=settings)
    at_left, ids_left = project_mlapdv(left, atlas, mesh, settings=settings)
    for fov in (0, 1):
        np.testing.assert_allclose(at_left[fov] * [-1, 1, 1], at_right[fov], atol=1e-6)
        np.testing.assert_array_equal(ids_left[fov], ids_right[fov])
    assert set(np.unique(ids_right[0])) == {442, 593}


def test_mirrored_windows_agree_on_the_real_atlas(allen_25, published_mesh, meta_of):
    """The real volume and hull are nearly symmetric: areas agree but for pixels at borders."""
    right = meta_of(fovs=((2.5, -2.0), (2.0, -3.0)), size=(0.8, 0.8))
    left = copy.deepcopy(right)
    left["centerMM"]["ML"] *= -1
    for fov in left["FOV"]:
        fov["MM"] = {k: [-v[0], v[1]] for k, v in fov["MM"].items()}
    at_right, ids_right = project_mlapdv(right, allen_25, published_mesh)
    at_left, ids_left = project_mlapdv(left, allen_25, published_mesh)
    for fov in (0, 1):
        assert (ids_left[fov] == ids_right[fov]).mean() > 0.8
        assert np.median(np.linalg.norm(at_left[fov] * [-1, 1, 1] - at_right[fov], axis=-1)) < 60


@given(
    center=st.tuples(st.floats(-3.5, 3.5), st.floats(-4.5, 2.5)),
    offset=st.tuples(st.floats(-1, 1), st.floats(-1, 1)),
    rule=st.sampled_from(NormalRule),
)
@hypothesis_settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_pixel_is_the_first_sample_of_its_ray_inside_an_area(center, offset, rule, phantom, phantom_mesh):
    """Samples lie a whole number of voxels below the coverslip; the one above is void, root, or beside the volume."""
    assume(max(map(abs, center)) > 0.01)  # less is taken for metres
    fov = (center[0] + offset[0], center[1] + offset[1])
    meta = make_meta(center=center, fovs=(fov,), pixels=(12, 12))
    result = locate_fovs(meta, phantom, phantom_mesh, settings=LocationSettings(atlas="phantom", normal_rule=rule))
    plane = result.locations.window
    ml, ap = plane.axes
    rows, columns = (c * 1e3 + 300 * np.linspace(1, -1, 12) - m for c, m in zip(fov, plane.center_um[:2], strict=True))
    start = plane.center_um + rows[:, None, None] * ml + columns[None, :, None] * ap
    seen = np.isfinite(result.mlapdv[0][..., 0])
    down = (result.mlapdv[0] - start)[seen]
    steps = -(down @ plane.normal) / 50
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-6)
    np.testing.assert_allclose(down, -50 * np.rint(steps)[:, None] * plane.normal, atol=1e-6)
    at, ids = result.mlapdv[0][seen], result.brain_location_ids[0][seen]
    assert not np.isin(ids, (0, 997)).any()
    assert (ids_touching(phantom, at) == ids[:, None]).any(axis=1).all()
    for k in range(1, 13):
        above = ids_touching(phantom, at + k * 50 * plane.normal)
        assert np.isin(above, (0, 997)).any(axis=1).all(), f"{k} voxels above"


def test_pixels_beside_the_brain_are_nan_with_id_zero(meta_of, phantom, phantom_mesh):
    meta = meta_of(fovs=((5.9, -2.0),), size=(2.0, 0.6))
    result = locate_fovs(meta, phantom, phantom_mesh)
    missing = np.isnan(result.mlapdv[0]).any(axis=-1)
    assert 0 < missing.mean() < 1
    assert (result.brain_location_ids[0][missing] == 0).all()
    assert (result.brain_location_ids[0][~missing] != 0).all()
    assert result.locations.fovs[0].fraction_outside == pytest.approx(missing.mean())


@pytest.mark.parametrize("hemisphere", [1, -1])
def test_a_ray_passes_through_root_tissue_on_both_sides_of_the_brain(hemisphere, meta_of):
    """ibllib 4.0.0 stops at root in the left hemisphere, whose root has an index of its own."""
    atlas, mesh, _ = flat_brain()
    root = int(np.flatnonzero(atlas.regions.id == 997 * hemisphere)[0])
    atlas.label[:, :, 20:24] = root
    meta = meta_of(center=(2.5 * hemisphere, -2.0), fovs=((2.5 * hemisphere, -2.0),))
    mlapdv, ids = project_mlapdv(meta, atlas, mesh)
    assert (ids[0] == 593).all()
    assert np.nanmax(mlapdv[0][..., 2]) < 332 - 23 * 50


def test_several_depths_of_one_roi_share_their_place(meta_of, phantom, phantom_mesh):
    meta = meta_of()
    meta["FOV"].append(copy.deepcopy(meta["FOV"][0]) | {"Zs": 250})
    result = locate_fovs(meta, phantom, phantom_mesh)
    np.testing.assert_array_equal(result.mlapdv[0], result.mlapdv[1])
    assert [f.z for f in result.locations.fovs] == [100.0, 250.0]


def test_a_window_beside_the_mesh_is_refused_with_its_place_and_the_meshs_span(meta_of, phantom, phantom_mesh):
    with pytest.raises(LocationError, match=r"centerMM.*mesh spans ML -.* AP .*found ML 5.9, AP 5.3 mm"):
        project_mlapdv(meta_of(center=(5.9, 5.3)), phantom, phantom_mesh)


def test_the_scaled_frame_is_an_explicit_setting_and_is_recorded(meta_of, phantom, phantom_mesh):
    meta = meta_of()
    plain = locate_fovs(meta, phantom, phantom_mesh)
    scaled = locate_fovs(
        meta, phantom, phantom_mesh, settings=LocationSettings(atlas="phantom", frame=Frame.MRI_TORONTO)
    )
    assert plain.locations.frame is Frame.CCF
    assert scaled.locations.frame is Frame.MRI_TORONTO
    # the same point of the living brain lies deeper in the CCF, whose DV axis is longer by 1/0.885
    dv = {k: np.nanmean(r.mlapdv[0][..., 2] - surface_dv_um(*np.moveaxis(r.mlapdv[0][..., :2] / s, -1, 0)) * z)
          for k, r, s, z in (("plain", plain, (1, 1), 1), ("scaled", scaled, (0.952, 1.031), 0.885))}  # fmt: skip
    assert abs(dv["plain"]) < 50
    assert abs(dv["scaled"]) < 50
    assert np.nanmax(np.abs(plain.mlapdv[0] - scaled.mlapdv[0])) > 30


def test_a_volume_with_a_scaled_frame_gives_plain_ccf_coordinates_by_default(meta_of, phantom, phantom_mesh):
    """Published coordinates are plain CCF µm although they were made with MRITorontoAtlas."""
    from iblatlas.atlas import BrainAtlas

    scale = np.array([0.952, 1.031, 0.885])
    order = np.array([1, 0, 2])
    bregma = np.array([5739, 5400, 332]) / 50
    toronto = BrainAtlas(phantom.image, phantom.label, 50e-6 * np.array([1, -1, -1]) * scale, phantom.regions, bregma,
                         dims2xyz=order, xyz2dims=order)  # fmt: skip
    toronto.res_um = 50
    meta = meta_of()
    np.testing.assert_allclose(
        project_mlapdv(meta, toronto, phantom_mesh)[0][0], project_mlapdv(meta, phantom, phantom_mesh)[0][0], atol=1e-6
    )


def test_known_columns_of_the_real_atlas_are_met_in_order(allen_25):
    grid = atlas_grid(allen_25)
    for ap, ml, expected in (
        (-2000, 2000, ["VISa1", "VISa2/3", "VISa4", "VISa5", "VISa6a", "VISa6b"]),
        (-4000, 2000, ["VISp1", "VISp2/3", "VISp4", "VISp5", "VISp6a"]),
    ):
        i, j = np.round((np.array([ml, ap]) - grid.origin_um[:2]) / 25).astype(int)
        column = grid.ids[grid.label[i, j, ::-1]]
        met = [acronym(allen_25, k) for k in dict.fromkeys(column.tolist()) if k]
        assert met[: len(expected)] == expected


def test_layer_one_is_met_first_on_the_real_session(sp061, allen_25, volume_cache):
    result = locate_fovs(sp061, allen_25, settings=LocationSettings(cache_folder=volume_cache))
    assert len(result.mlapdv) == 8
    for fov, ids in result.brain_location_ids.items():
        names = [acronym(allen_25, i) for i in np.unique(ids)]
        assert np.isfinite(result.mlapdv[fov]).all()
        assert all(name.endswith("1") for name in names), names
    centers = [acronym(allen_25, f.center_id) for f in result.locations.fovs]
    assert "VISp1" in centers  # the window of this session was drilled over visual and somatosensory cortex
    assert any(c.startswith("SSp") for c in centers)


def test_the_regional_normal_tilts_less_than_the_facets_when_the_centre_is_50_um_off(published_mesh):
    def worst_tilt(rule):
        worst = 0.0
        for center in ((2600, -2000), (1000, -3500), (3000, -1000), (-2000, 500), (0, -2000)):
            base = window_plane(published_mesh, np.array(center, float), rule).normal
            for angle in np.arange(8) * np.pi / 4:
                off = np.array(center) + 50 * np.array([np.cos(angle), np.sin(angle)])
                tilt = window_plane(published_mesh, off, rule).normal @ base
                worst = max(worst, float(np.degrees(np.arccos(min(1.0, tilt)))))
        return worst

    assert worst_tilt(NormalRule.REGION) < 1.5
    assert worst_tilt(NormalRule.REGION) < 0.6 * worst_tilt(NormalRule.FACET)


def test_a_centre_50_um_off_moves_the_real_sessions_pixels_by_a_third_of_what_it_does_by_the_facet(
    sp061, allen_25, published_mesh
):
    for fov in sp061["FOV"]:
        fov["nXnYnZ"] = [24, 24, 1]

    def moved(rule):
        settings = LocationSettings(atlas="phantom", normal_rule=rule)
        base = project_mlapdv(sp061, allen_25, published_mesh, settings=settings)[0]
        distance = []
        for angle in np.arange(8) * np.pi / 4:
            center = {"ML": 2.6 + 0.05 * np.cos(angle), "AP": -2.0 + 0.05 * np.sin(angle)}
            at = project_mlapdv(sp061 | {"centerMM": center}, allen_25, published_mesh, settings=settings)[0]
            distance.append([np.linalg.norm((at[i] - base[i])[..., :2], axis=-1) for i in base])
        return np.percentile(distance, 99)

    assert moved(NormalRule.REGION) < 15
    assert moved(NormalRule.FACET) > 30


def test_facet_rule_takes_the_normal_of_the_triangle_under_the_centre(published_mesh):
    points, connectivity = published_mesh
    up = connectivity[np.atleast_2d(surface_normal(points[connectivity]))[:, 2] > 0]
    center = np.array([2600.0, -2000.0])
    face = find_triangle(center, points, up)
    np.testing.assert_allclose(
        window_plane(published_mesh, center, NormalRule.FACET).normal, surface_normal(points[up[face]]), atol=1e-12
    )
