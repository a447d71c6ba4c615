"""The surface: the mesh against the published one and as a file, and the brain from above."""

from __future__ import annotations

import numpy as np
import pytest

from meso_core.errors import AtlasError, MesoError, MesoWarning
from meso_core.location import atlas_grid, describe_atlas, dorsal_map, find_triangle, load_triangulation
from meso_core.location.atlas.phantom import surface_dv_um
from meso_core.location.surface.triangles import facet_normals


def height_and_normal(mesh, points):
    vertices, connectivity = mesh
    normals = facet_normals(vertices[connectivity])
    connectivity, normals = connectivity[normals[:, 2] > 0], normals[normals[:, 2] > 0]
    face = find_triangle(points, vertices, connectivity)
    assert (face >= 0).all()
    corner, normal = vertices[connectivity[face, 0]], normals[face]
    height = corner[:, 2] - ((points - corner[:, :2]) * normal[:, :2]).sum(axis=1) / normal[:, 2]
    return height, normal / np.linalg.norm(normal, axis=1, keepdims=True)


def test_own_mesh_lies_on_the_published_one(allen_25, published_mesh, volume_cache):
    """At 25 µm: heights within 50 µm, normals within 3 degrees in the median over the windows that labs use."""
    ml, ap = np.meshgrid(np.arange(-4000, 4001, 160.0), np.arange(-5000, 3001, 160.0))
    points = np.c_[ml.ravel(), ap.ravel()]
    own_mesh = load_triangulation(allen_25, cache=volume_cache)
    for vertices, connectivity in (published_mesh, own_mesh):
        up = connectivity[facet_normals(vertices[connectivity])[:, 2] > 0]
        points = points[find_triangle(points, vertices, up) >= 0]
    assert len(points) > 2400  # of 2601: the corners of the square lie beside the brain
    own = height_and_normal(own_mesh, points)
    published = height_and_normal(published_mesh, points)
    assert np.median(np.abs(own[0] - published[0])) <= 50
    angle = np.degrees(np.arccos(np.clip((own[1] * published[1]).sum(axis=1), -1, 1)))
    assert np.median(angle) <= 3


def test_mesh_of_the_phantom_follows_the_surface_it_was_made_with(phantom_mesh):
    ml, ap = np.meshgrid(np.arange(-3500, 3501, 250.0), np.arange(-4500, 2501, 250.0))
    height, _ = height_and_normal(phantom_mesh, np.c_[ml.ravel(), ap.ravel()])
    assert np.abs(height - surface_dv_um(ml.ravel(), ap.ravel())).max() < 60  # voxels are 50 µm


def test_mesh_is_stored_under_the_atlas_content_and_is_the_same_when_read(phantom, tmp_path):
    made = load_triangulation(phantom, cache=tmp_path)
    (stored,) = tmp_path.glob("*.npz")
    assert describe_atlas(phantom).sha256[:16] in stored.name
    before = stored.stat().st_mtime_ns
    read = load_triangulation(phantom, cache=tmp_path)
    assert stored.stat().st_mtime_ns == before
    stored.write_bytes(stored.read_bytes()[:1000])
    again = load_triangulation(phantom, cache=tmp_path)
    assert stored.stat().st_size > 1000, "a damaged one is replaced"
    for mesh in (read, again):
        for a, b in zip(made, mesh, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_mesh_that_cannot_be_kept_is_used_all_the_same(phantom, phantom_mesh, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.warns(MesoWarning, match="could not be stored"):
        points, _ = load_triangulation(phantom, cache=tmp_path / "file")
    np.testing.assert_array_equal(points, phantom_mesh[0])


def test_normals_of_the_mesh_point_out_of_the_brain(phantom_mesh):
    points, connectivity = phantom_mesh
    assert (facet_normals(points[connectivity])[:, 2] > 0).all()


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (lambda p, c: (p * 1e-3, c), "span"),
        (lambda p, c: (p, c + 1_000_000), "indices"),
        (lambda p, c: (p[:, :2], c), "shapes"),
        (lambda p, c: (np.where(p > 0, np.nan, p), c), "not finite"),
    ],
    ids=["millimetres", "one_based", "flat", "nan"],
)
def test_a_file_that_is_no_mesh_is_refused(spoil, found, tmp_path, phantom_mesh):
    points, connectivity = spoil(*phantom_mesh)
    np.savez(tmp_path / "mesh.npz", points=points, connectivity_list=connectivity)
    with pytest.raises(AtlasError, match=found):
        load_triangulation(path=tmp_path / "mesh.npz")


def test_missing_and_truncated_mesh_files_are_named(tmp_path, real_data):
    with pytest.raises(MesoError, match=r"nothing\.npz.*no such file"):
        load_triangulation(path=tmp_path / "nothing.npz")
    whole = (real_data / "ccf" / "surface_triangulation.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(AtlasError, match=r"cut\.npz"):
        load_triangulation(path=tmp_path / "cut.npz")


def test_the_dorsal_map_is_the_first_area_of_every_column(phantom):
    above = dorsal_map(atlas_grid(phantom))
    label = np.asarray(phantom.label)
    rng = np.random.default_rng(3)
    for ap, ml in zip(rng.integers(0, 264, 300), rng.integers(0, 228, 300), strict=True):
        ids = np.abs(phantom.regions.id[label[ap, ml]])
        area = np.flatnonzero((ids != 0) & (ids != 997))
        i, j = ml, 263 - ap
        if len(area):
            assert above.ids[i, j] == ids[area[0]]
            assert above.dv_um[i, j] == pytest.approx(332 - 50 * area[0])
        else:
            assert np.isnan(above.dv_um[i, j])


@pytest.mark.parametrize("cores", [1, 3, 1000])
def test_the_dorsal_map_does_not_depend_on_the_number_of_cores(cores, phantom, monkeypatch):
    from meso_core.location.atlas import rays

    expected = dorsal_map(atlas_grid(phantom))
    monkeypatch.setattr(rays, "cores_at_hand", lambda: cores)
    shown = dorsal_map(atlas_grid(phantom))
    np.testing.assert_array_equal(shown.dv_um, expected.dv_um)
    np.testing.assert_array_equal(shown.ids, expected.ids)


def test_points_beside_the_dorsal_map_or_nowhere_have_no_surface(phantom):
    dv, ids = dorsal_map(atlas_grid(phantom)).at(np.array([[9e3, 0.0], [0.0, -9e3], [np.nan, 0.0], [2500.0, -2000.0]]))
    assert np.isnan(dv).tolist() == [True, True, True, False]
    assert (ids != 0).tolist() == [False, False, False, True]
