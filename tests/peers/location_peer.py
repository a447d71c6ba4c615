"""Runs ibllib's own projection in the peer's environment: ``python location_peer.py job.json …``.

The job names the label volume (.npy of region indices), its resolution, the metadata, the mesh (or none, for
ibllib's own) and the file for the results. ibllib would download its atlas; here it gets the volume that the job
names, as an ``iblatlas.atlas.BrainAtlas``.
"""

import json
import logging
import sys
import time
from pathlib import Path

started = time.perf_counter()

import numpy as np  # noqa: E402
from iblatlas.atlas import ALLEN_CCF_LANDMARKS_MLAPDV_UM, BrainAtlas  # noqa: E402
from iblatlas.regions import BrainRegions  # noqa: E402
from ibllib.pipes import mesoscope_tasks as peer  # noqa: E402

import_s = time.perf_counter() - started


def atlas_of(job: dict) -> BrainAtlas:
    label = np.load(job["label"])  # in memory, as AllenAtlas has it
    res = job["resolution_um"]
    dxyz = res * 1e-6 * np.array([1, -1, -1]) * np.array(job.get("scaling", [1, 1, 1]))
    image = np.broadcast_to(np.uint16(0), label.shape)
    bregma = ALLEN_CCF_LANDMARKS_MLAPDV_UM["bregma"] / res
    order = np.array([1, 0, 2])
    atlas = BrainAtlas(image, label, dxyz, BrainRegions(), bregma, dims2xyz=order, xyz2dims=order)
    atlas.res_um = res
    return atlas


def project(job: dict, task: object) -> dict:
    atlas = atlas_of(job)
    if job.get("mesh"):
        mesh = np.load(job["mesh"])
        points, connectivity = mesh["points"].astype("f8"), mesh["connectivity_list"]
        task.load_triangulation = lambda: (points, connectivity)
    meta = json.loads(Path(job["meta"]).read_text())
    begin = time.perf_counter()
    mlapdv, ids = task.project_mlapdv(meta, atlas=atlas)
    seconds = time.perf_counter() - begin
    arrays = {"seconds": seconds, "import_seconds": import_s}
    arrays |= {f"mlapdv_{i}": v for i, v in mlapdv.items()} | {f"ids_{i}": v for i, v in ids.items()}
    arrays["corners"] = np.array([[f["MLAPDV"][k] for k in job["places"]] for f in meta["FOV"]])
    return arrays


def triangles(job: dict) -> dict:
    given = np.load(job["points"])
    vertices, connectivity = given["vertices"], given["connectivity"].astype(np.intp)
    peer.find_triangle(given["points"][0], vertices, connectivity)
    begin = time.perf_counter()
    found = np.array([peer.find_triangle(p, vertices, connectivity) for p in given["points"]])
    seconds = time.perf_counter() - begin
    inside = np.array([peer.in_triangle(vertices[connectivity[0]], p) for p in given["points"]])
    normals = peer.surface_normal(given["triangles"])
    return {"found": found, "inside": inside, "normals": normals, "seconds": seconds}


def rois(job: dict, task: object) -> dict:
    task.session_path = Path(job["session"])
    begin = time.perf_counter()
    mlapdv, ids = task.roi_mlapdv(job["n_fovs"], suffix="estimate")
    arrays = {"seconds": time.perf_counter() - begin}
    return arrays | {f"mlapdv_{i}": v for i, v in mlapdv.items()} | {f"ids_{i}": v for i, v in ids.items()}


def run(job: dict) -> None:
    task = peer.MesoscopeFOV.__new__(peer.MesoscopeFOV)
    task.one = None
    results = {}
    for part in job["parts"]:
        values = triangles(job) if part == "triangles" else {"project": project, "rois": rois}[part](job, task)
        results |= {f"{part}_{key}": value for key, value in values.items()}
    np.savez(job["out"], **results)


logging.disable(logging.WARNING)
for path in sys.argv[1:]:
    run(json.loads(Path(path).read_text()))
