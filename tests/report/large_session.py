"""The inputs of a report of many fields and ROIs, drawn at random: what counts is how much there is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import sparse
from scipy.ndimage import gaussian_filter

from meso_core.imaging.fovs import plane
from meso_core.location import load_atlas, locate_fovs, region_map
from meso_core.location.project.rois import roi_mlapdv
from meso_core.location.settings import LocationSettings
from meso_core.qc import QCResult, Verdict
from meso_core.report import MadeResult, ReportInputs
from meso_core.scanimage import load_session_metadata
from meso_core.session import SessionMetadata
from meso_core.simulate import preset, simulate_session
from meso_core.simulate.config import SimulationConfig

RESULTS = ("imaging_metadata", "frame_times", "motion_registered_frames", "rois", "mean_image_mlapdv",
           "roi_brain_locations")  # fmt: skip


def metadata_of(folder: Path, config: SimulationConfig) -> SessionMetadata:
    """Metadata of a session, without its movies."""
    made = simulate_session(folder, replace(config, write_movie=False))
    return load_session_metadata(made.session_path, channels="depths" if config.channels_are_depths else "colours")


def report_inputs(
    folder: Path, *, n_rois: int = 1500, n_frames: int = 8000, preset_name: str = "real", **changes: Any
) -> ReportInputs:
    """Draw the inputs of a report of two bouts; arrays of traces are memory-mapped, as those of a session are."""
    half = (n_frames // 2, n_frames - n_frames // 2)
    metadata = metadata_of(folder / "Subjects", replace(preset(preset_name), frames_per_bout=half, **changes))
    settings = LocationSettings(atlas="phantom", resolution_um=50, cache_folder=folder / "cache")
    atlas = load_atlas(settings)
    found = locate_fovs(metadata.imaging, atlas, settings=settings)
    datasets, planes = {}, {}
    for fov in metadata.imaging.fovs:
        rng = np.random.default_rng(fov.index)
        place = folder / "suite2p" / f"plane{fov.index}"
        planes[fov.name] = place
        stack_pos = np.stack([rng.integers(10, n - 10, n_rois) for n in fov.shape], axis=1)
        stack_pos = np.c_[stack_pos, np.zeros(n_rois, int)]
        datasets[fov.name] = {
            **_traces(folder / fov.name, rng, n_frames, n_rois),
            **_rois(rng, stack_pos, fov.shape, n_frames),
            **found.datasets[fov.name],
            "mpci.times": 20 + 0.003 * fov.index + np.arange(n_frames) / metadata.imaging.fov_rate_hz,
        }
        names = found.locations.dataset_names("mpciROIs")
        of_rois = roi_mlapdv(stack_pos, found.mlapdv[fov.index], found.brain_location_ids[fov.index])
        datasets[fov.name] |= dict(zip(names, of_rois, strict=True))
        _registration(place, rng, fov.shape, n_frames)
    verdicts = [QCResult("cells_found", Verdict.PASS, 9, 1, "9 of 12 ROIs are cells.", "x", name) for name in datasets]
    return ReportInputs(
        preset(preset_name).key,
        [MadeResult(name, "0123456789abcdef") for name in RESULTS],
        metadata,
        datasets,
        planes,
        planes,
        locations=found.locations,
        regions=region_map(atlas, found.locations.frame),
        verdicts={"rois": verdicts},
    )


def _traces(folder: Path, rng: np.random.Generator, n_frames: int, n_rois: int) -> dict[str, np.ndarray]:
    folder.mkdir(parents=True, exist_ok=True)
    light = (1000 + 60 * rng.standard_normal((n_frames, n_rois), dtype=np.float32)).astype(np.float32)
    around = 400 + 0.2 * (light - 1000)
    spikes = np.where(rng.random((n_frames, n_rois), dtype=np.float32) > 0.99, 60, 0).astype(np.float32)
    light += 500 * spikes / 60
    found = {}
    for name, values in (("F", light), ("NeuropilActivityF", around), ("Deconvolved", spikes)):
        np.save(folder / f"{name}.npy", values)
        found[name] = np.load(folder / f"{name}.npy", mmap_mode="r")
    return {
        "mpci.ROIActivityF": found["F"],
        "mpci.ROINeuropilActivityF": found["NeuropilActivityF"],
        "mpci.ROIActivityDeconvolved": found["Deconvolved"],
    }


def _rois(
    rng: np.random.Generator, stack_pos: np.ndarray, shape: tuple[int, int], n_frames: int
) -> dict[str, np.ndarray]:
    n_rois = len(stack_pos)
    ys, xs = np.mgrid[-7:8, -7:8]
    near = np.hypot(ys, xs) < 6
    y, x = (stack_pos[:, k, None] + offset[near] for k, offset in enumerate((ys, xs)))
    roi = np.repeat(np.arange(n_rois), near.sum())
    weight = rng.uniform(0.5, 1.5, roi.size) * np.tile(np.exp(-(ys**2 + xs**2)[near] / 30), n_rois)
    kept = ((y >= 0) & (y < shape[0]) & (x >= 0) & (x < shape[1])).ravel()
    places = np.stack([roi, y.ravel(), x.ravel()])[:, kept]
    masks = sparse.COO(places, weight[kept].astype(np.float32), shape=(n_rois, *shape))
    return {
        "mpci.badFrames": rng.random(n_frames) < 0.02,
        "mpciMeanImage.images": _image(rng, shape),
        "mpciROIs.mpciROITypes": (rng.random(n_rois) > 0.4).astype(np.int16),
        "mpciROIs.cellClassifier": rng.random(n_rois),
        "mpciROIs.uuids": np.array([f"{k:08x}-0000-5000-8000-000000000000" for k in range(n_rois)]),
        "mpciROIs.stackPos": stack_pos,
        "mpciROIs.masks": sparse.GCXS.from_coo(masks),
    }


def _image(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Draw an image with grain as fine as that of tissue in focus."""
    return gaussian_filter(rng.gamma(0.3, 300, shape), 1.0).astype(np.float32)


def _registration(place: Path, rng: np.random.Generator, shape: tuple[int, int], n_frames: int) -> None:
    place.mkdir(parents=True)
    walk = np.cumsum(rng.standard_normal((2, n_frames)) * 0.1, axis=1)
    image = _image(rng, shape)
    outputs = {
        "yoff": np.rint(walk[0]).astype(int),
        "xoff": np.rint(walk[1]).astype(int),
        "corrXY": rng.uniform(0.05, 0.1, n_frames),
        "yoff1": rng.uniform(-2, 2, (n_frames, 9)).astype(np.float32),
        "xoff1": rng.uniform(-2, 2, (n_frames, 9)).astype(np.float32),
        "badframes": rng.random(n_frames) < 0.02,
        "refImg": image,
        "meanImg": image,
        "regDX": rng.uniform(0, 1.2, (30, 4)),
        "regPC": np.tile(image, (2, 30, 1, 1)),
        "yrange": [0, shape[0]],
        "xrange": [0, shape[1]],
    }
    plane.save_objects(place / "reg_outputs.npy", outputs)
    plane.save_objects(place / "detect_outputs.npy", {"max_proj": image, "Vcorr": image**0.5})
