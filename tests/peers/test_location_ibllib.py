"""Brain location against ibllib 4.0.0 itself: the same volume, mesh and metadata through both.

``location_peer.py`` runs ibllib's code in its own environment. The inputs are made here: volumes of region indices at
50 µm, a mesh, and small FOVs (ibllib needs tens of µs per pixel and voxel).
"""

from __future__ import annotations

import copy
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from meso_core.location import (
    AtlasInfo,
    LocationSettings,
    NormalRule,
    brain_atlas,
    find_triangle,
    in_triangle,
    load_atlas,
    load_triangulation,
    locate_fovs,
    project_mlapdv,
    roi_mlapdv,
    surface_normal,
)
from tests.whole_metadata import whole_metadata

SCRIPT = Path(__file__).with_name("location_peer.py")
PLACES = ["topLeft", "topRight", "bottomLeft", "bottomRight", "center"]
FACET = LocationSettings(atlas="phantom", normal_rule=NormalRule.FACET)


def fov(ml, ap, pixels, angle=0.0, size=0.7):
    """Outline of a FOV of ``pixels`` columns and rows whose rows run to medial, turned by an angle."""
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    ends = {"topLeft": (1, 1), "topRight": (1, -1), "bottomLeft": (-1, 1), "bottomRight": (-1, -1)}
    corners = {k: (turn @ (np.array(v) * size / 2) + [ml, ap]).tolist() for k, v in ends.items()}
    return {"MM": corners, "nXnYnZ": [*pixels, 1], "roiUUID": "0"}


def with_root_patches(atlas):
    """Put root tissue, 150 µm thick, on top of a patch of cortex in each hemisphere."""
    label = np.array(atlas.label)
    for hemisphere in (1, -1):
        root = np.flatnonzero(atlas.regions.id == 997 * hemisphere)[0]
        ap, ml = np.meshgrid(*(np.arange(-400, 401, 50) for _ in range(2)))
        i = np.round((5400 - (ap.ravel() - 2600)) / 50).astype(int)
        j = np.round((5739 + hemisphere * (ml.ravel() + 1600)) / 50).astype(int)
        top = (label[i, j] > 0).argmax(axis=1)
        for k in range(3):
            label[i, j, top + k] = root
    return label


def real_session(folder, real_data, cache):
    """Set up the session SP061 with the Allen CCF at 25 µm, its images coarser for ibllib's sake."""
    path = real_data / "ccf" / "annotation_25.nrrd"
    atlas = load_atlas(LocationSettings(atlas="file", atlas_path=path, resolution_um=25, cache_folder=cache))
    meta = json.loads(next((real_data / "headers").glob("SP061*")).read_text())
    for image in meta["FOV"]:
        image["nXnYnZ"] = [32, 32, 1]
    (folder / "real_meta.json").write_text(json.dumps(meta))
    job = {
        "parts": ["project"],
        "label": str(atlas.label.filename),
        "resolution_um": 25,
        "meta": str(folder / "real_meta.json"),
        "mesh": None,
        "out": str(folder / "real.npz"),
    }
    return {"job": job, "atlas": atlas, "meta": meta}


@pytest.fixture(scope="module")
def published_points(real_data):
    return load_triangulation(path=real_data / "ccf" / "surface_triangulation.npz")


@pytest.fixture(scope="module")
def results(tmp_path_factory, peer_python, real_data):
    """Run ibllib once over all the cases; give both sides' inputs and its results."""
    folder = tmp_path_factory.mktemp("peer")
    cache = folder / "cache"
    whole = load_atlas(LocationSettings(atlas="phantom", resolution_um=50, cache_folder=cache))
    label = with_root_patches(whole)
    np.save(folder / "label.npy", label)
    atlas = brain_atlas(label, 50, whole.regions, AtlasInfo("patched phantom", 50, "patched", "test", phantom=True))
    mesh = load_triangulation(path=real_data / "ccf" / "surface_triangulation.npz")
    meta = whole_metadata(
        centerMM={"ML": 2.6, "AP": -2.03},
        fovs=[
            fov(2.6, -2.03, (37, 37)),
            fov(1.3, -3.1, (24, 24), angle=0.4),
            fov(-1.7, -1.0, (24, 24)),  # left hemisphere
            fov(5.9, -2.0, (24, 24), size=1.8),  # leaves the brain
            fov(2.6, -2.03, (20, 31)),  # not square
            fov(-1.6, -2.6, (40, 40)),  # over a patch of root tissue in the left hemisphere
            fov(1.6, -2.6, (40, 40)),  # and in the right
        ],
    )
    rng = np.random.default_rng(5)
    points, connectivity = mesh
    dorsal = connectivity[np.atleast_2d(surface_normal(points[connectivity]))[:, 2] > 0]
    inputs = {
        "vertices": points[:, :2] * 1e-3,
        "connectivity": dorsal,
        "points": np.concatenate(
            [
                rng.uniform((-6, -8.5), (6, 6), (400, 2)),
                points[rng.choice(dorsal.ravel(), 200), :2] * 1e-3,  # vertices
                points[dorsal[:200, :2], :2].mean(axis=1) * 1e-3,  # middles of edges
            ]
        ),
        "triangles": points[connectivity[::50]],
    }
    np.savez(folder / "points.npz", **inputs)
    np.savez(folder / "mesh.npz", points=points, connectivity_list=connectivity)
    (folder / "meta.json").write_text(json.dumps(meta))
    session = folder / "session"
    pixels = locate_fovs(meta, atlas, mesh, settings=FACET)
    stack_pos = {}
    for i in range(4):
        alf = session / "alf" / f"FOV_{i:02d}"
        alf.mkdir(parents=True)
        ny, nx = pixels.brain_location_ids[i].shape
        stack_pos[i] = np.c_[rng.integers(0, ny, 50), rng.integers(0, nx, 50), np.zeros(50, int)]
        np.save(alf / "mpciROIs.stackPos.npy", stack_pos[i])
        np.save(alf / "mpciMeanImage.mlapdv_estimate.npy", pixels.mlapdv[i])
        np.save(alf / "mpciMeanImage.brainLocationIds_ccf_2017_estimate.npy", pixels.brain_location_ids[i])
    job = {
        "parts": ["project", "triangles", "rois"],
        "label": str(folder / "label.npy"),
        "resolution_um": 50,
        "mesh": str(folder / "mesh.npz"),
        "meta": str(folder / "meta.json"),
        "places": PLACES,
        "points": str(folder / "points.npz"),
        "session": str(session),
        "n_fovs": 4,
        "out": str(folder / "peer.npz"),
    }
    (folder / "job.json").write_text(json.dumps(job))
    real = real_session(folder, real_data, cache)
    (folder / "real.json").write_text(json.dumps(job | real["job"]))
    command = [str(peer_python), str(SCRIPT), str(folder / "job.json"), str(folder / "real.json")]
    subprocess.run(command, check=True, capture_output=True, timeout=200)
    with np.load(folder / "peer.npz") as file:
        peer = dict(file)
    with np.load(folder / "real.npz") as file:
        real["peer"] = dict(file)
    return {
        "real": real,
        "peer": peer,
        "ours": pixels,
        "inputs": inputs,
        "stack_pos": stack_pos,
        "meta": meta,
        "atlas": atlas,
        "mesh": mesh,
    }


@pytest.mark.parametrize("number", [0, 1, 3, 6], ids=["square", "turned", "leaving_the_brain", "under_root"])
def test_square_fovs_are_where_ibllib_puts_them(results, number):
    theirs, ours = results["peer"][f"project_mlapdv_{number}"], results["ours"].mlapdv[number]
    np.testing.assert_array_equal(results["peer"][f"project_ids_{number}"], results["ours"].brain_location_ids[number])
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)  # NaN where NaN
    if number == 3:
        assert 0.05 < np.isnan(ours[..., 0]).mean() < 0.95


def test_the_real_session_is_where_ibllib_puts_it_in_the_real_atlas(results, published_points):
    """With ibllib's own mesh and rule; SP061's window lies right of the midline, where root is no trouble."""
    real = results["real"]
    mlapdv, ids = project_mlapdv(real["meta"], real["atlas"], published_points, settings=FACET)
    assert len(ids) == 8
    for number in ids:
        np.testing.assert_array_equal(ids[number], real["peer"][f"project_ids_{number}"])
        np.testing.assert_allclose(mlapdv[number], real["peer"][f"project_mlapdv_{number}"], rtol=0, atol=1e-6)


def test_left_hemisphere_has_the_ids_of_the_right_as_in_ibllib(results):
    ours = results["ours"].brain_location_ids[2]
    np.testing.assert_array_equal(results["peer"]["project_ids_2"], ours)
    np.testing.assert_allclose(results["ours"].mlapdv[2], results["peer"]["project_mlapdv_2"], rtol=0, atol=1e-6)
    assert (ours > 0).all()
    assert (results["ours"].mlapdv[2][..., 0] < 0).all()


def test_corners_and_centre_are_those_that_ibllib_writes_into_the_metadata(results):
    for number in (0, 1, 2, 3):
        record = results["ours"].locations.fovs[number]
        ours = np.concatenate([record.corners_um, record.center_um[None]])
        np.testing.assert_allclose(ours, results["peer"]["project_corners"][number], rtol=0, atol=1e-6)


def test_fovs_that_are_not_square_come_out_transposed_in_ibllib_and_right_here(results):
    """31 rows and 20 columns: the image is (nY, nX), which ibllib's map is not."""
    ours, theirs = results["ours"].mlapdv[4], results["peer"]["project_mlapdv_4"]
    assert ours.shape == (31, 20, 3)
    assert theirs.shape == (20, 31, 3)
    meta = copy.deepcopy(results["meta"])
    meta["FOV"] = [meta["FOV"][4] | {"nXnYnZ": [31, 20, 1]}]  # what ibllib takes it for
    swapped = project_mlapdv(meta, results["atlas"], results["mesh"], settings=FACET)[0][0]
    np.testing.assert_allclose(swapped, theirs, rtol=0, atol=1e-6)


def test_ibllib_takes_root_of_the_left_hemisphere_for_an_area_and_here_it_is_one_on_neither_side(results):
    for number, hemisphere in ((5, "left"), (6, "right")):
        ours, theirs = results["ours"].brain_location_ids[number], results["peer"][f"project_ids_{number}"]
        seen = np.isfinite(results["peer"][f"project_mlapdv_{number}"][..., 0])
        assert ((theirs == 997) & seen).any() == (hemisphere == "left")
        assert not (ours == 997).any()  # there is cortex under the patch
        np.testing.assert_array_equal(ours[theirs != 997], theirs[theirs != 997])


def test_triangles_are_found_as_ibllib_finds_them(results):
    given, peer = results["inputs"], results["peer"]
    found = find_triangle(given["points"], given["vertices"], given["connectivity"])
    np.testing.assert_array_equal(found, peer["triangles_found"])
    assert (found == -1).any()
    assert [find_triangle(p, given["vertices"], given["connectivity"]) for p in given["points"][:20]] == found[
        :20
    ].tolist()
    first = given["vertices"][given["connectivity"][0]]
    np.testing.assert_array_equal(in_triangle(first, given["points"]), peer["triangles_inside"])
    np.testing.assert_allclose(surface_normal(given["triangles"]), peer["triangles_normals"], atol=1e-12)


def test_rois_are_where_ibllib_puts_them(results):
    for i, stack_pos in results["stack_pos"].items():
        mlapdv, ids = roi_mlapdv(stack_pos, results["ours"].mlapdv[i], results["ours"].brain_location_ids[i])
        np.testing.assert_array_equal(mlapdv, results["peer"][f"rois_mlapdv_{i}"])
        np.testing.assert_array_equal(ids, results["peer"][f"rois_ids_{i}"])
