"""Atlases, meshes and metadata for the tests of brain location; volumes are made once per test session."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from meso_core.location import LocationSettings, load_atlas, load_triangulation
from tests.whole_metadata import whole_metadata

HEADER = "headers/SP061_2025-01-28_001_raw_imaging_data_00__ibl_rawImagingData.meta.json"


@pytest.fixture(scope="session")
def volume_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("atlas_cache")


@pytest.fixture(scope="session")
def phantom(volume_cache: Path) -> Any:
    return load_atlas(LocationSettings(atlas="phantom", resolution_um=50, cache_folder=volume_cache))


@pytest.fixture(scope="session")
def phantom_mesh(phantom: Any, volume_cache: Path) -> Any:
    return load_triangulation(phantom, cache=volume_cache)


@pytest.fixture(scope="session")
def allen_25(real_data: Path, volume_cache: Path) -> Any:
    """Return the real Allen CCF at 25 µm."""
    path = real_data / "ccf" / "annotation_25.nrrd"
    return load_atlas(LocationSettings(atlas="file", atlas_path=path, resolution_um=25, cache_folder=volume_cache))


@pytest.fixture(scope="session")
def published_mesh(real_data: Path) -> Any:
    return load_triangulation(path=real_data / "ccf" / "surface_triangulation.npz")


@pytest.fixture
def sp061(real_data: Path) -> dict[str, Any]:
    """Metadata of a real session, fresh for each test."""
    return json.loads((real_data / HEADER).read_text())


def make_meta(
    center: tuple[float, float] = (2.5, -2.0),
    fovs: tuple[tuple[float, float], ...] = ((2.5, -2.0),),
    size: tuple[float, float] = (0.6, 0.6),
    pixels: tuple[int, int] = (40, 40),
) -> dict[str, Any]:
    """Metadata of a window with FOVs whose rows run to lateral-to-medial and columns to posterior, as SP061's do.

    ``size`` is the extent along rows (ML) and columns (AP) in mm, ``pixels`` the number of rows and columns.
    """
    high, wide = size
    made = []
    for ml, ap in fovs:
        corner = {
            "topLeft": [ml + high / 2, ap + wide / 2],
            "topRight": [ml + high / 2, ap - wide / 2],
            "bottomLeft": [ml - high / 2, ap + wide / 2],
            "bottomRight": [ml - high / 2, ap - wide / 2],
        }
        made.append({"MM": corner, "nXnYnZ": [pixels[1], pixels[0], 1], "roiUUID": f"{len(made):04X}", "Zs": 100})
    return whole_metadata(made, centerMM={"ML": center[0], "AP": center[1]})


@pytest.fixture
def meta_of() -> Callable[..., dict[str, Any]]:
    return make_meta
