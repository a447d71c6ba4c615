"""meso_core: the science and the storage of two-photon mesoscope sessions.

Usable alone and never imports dagster. The names below are imported when first used, so that ``import meso_core`` costs
next to nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

#: Public name → module that defines it.
_HOME = {
    "MesoError": "errors",
    "QCResult": "qc",
    "SessionKey": "session",
    "Verdict": "qc",
    "open_store": "storage",
    # simulation
    "load_truth": "simulate",
    "preset": "simulate",
    "simulate_session": "simulate",
    # metadata and splitting
    "bin_per_plane": "scanimage",
    "extract_imaging_meta": "scanimage",
    "load_meta_files": "scanimage",
    "patch_imaging_meta": "scanimage",
    # motion registration and ROIs
    "export_rois": "imaging",
    "get_default_tau": "imaging",
    "image_motion_registration": "imaging",
    "roi_detection": "imaging",
    # timing
    "consolidate_frame_qc": "timing",
    "extract_frame_times": "timing",
    "get_bout_edges": "timing",
    "get_timeshifts": "timing",
    # brain location
    "Provenance": "location",
    "find_triangle": "location",
    "get_provenance": "location",
    "in_triangle": "location",
    "load_triangulation": "location",
    "project_mlapdv": "location",
    "roi_mlapdv": "location",
    "surface_normal": "location",
    # archive
    "compress_tifs": "archive",
    "verify_archive": "archive",
    # Alyx
    "register_fov": "alyx",
    "register_snapshots": "alyx",
    "update_surgery_json": "alyx",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:  # noqa: ANN401  functions and classes alike
    if name not in _HOME:
        raise AttributeError(f"module 'meso_core' has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
