"""Locations from what was seen of this brain: named points, histology, and the tilt of its surface.

What belongs here: FUNCTIONAL, LANDMARK and HISTOLOGY locations, depth below the surface, and the choice of the best
source that is there. What does not: the estimate from the surgery's coordinates (``location.project``).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import LocationError, MesoWarning, problem
from ...session import fov_name
from ..atlas.dorsal import dorsal_map
from ..atlas.loading import AtlasGrid, atlas_grid, describe_atlas
from ..atlas.mesh import Mesh, load_triangulation, window_plane
from ..project.geometry import fov_geometries, window_center_mm
from ..project.projection import Projection, locate_fovs
from ..project.rays import first_area
from ..provenance import Provenance, best_provenance
from ..records import PointFitRecord, SessionLocations, fov_location
from ..settings import LocationSettings
from .points import PointFit, SurfaceTilt, load_points, surface_tilt
from .reference_image import ReferenceImage, fov_objective_um, read_json

Floats = NDArray[np.float64]

#: Files in the folder of the reference image, by what they make possible.
SOURCES = {
    Provenance.FUNCTIONAL: "referenceImage.functional.json",
    Provenance.LANDMARK: "referenceImage.landmark.json",
    Provenance.HISTOLOGY: "referenceImage.mlapdv.npy",
}
_POINTS, _META = "referenceImage.points.json", "referenceImage.meta.json"
#: Registered histology is in voxels; smoothing over this distance removes their steps, µm.
_SMOOTH_UM = 50.0
#: From a point below the surface, how far a ray looks on for an area (vessels and cracks are void in atlases), µm.
_LOOK_ON_UM = 300.0


def available_sources(reference_folder: Path | None) -> tuple[Provenance, ...]:
    """Provenances that the files beside a reference image allow; ESTIMATE always."""
    if reference_folder is None:
        return (Provenance.ESTIMATE,)
    return (Provenance.ESTIMATE, *(p for p, name in SOURCES.items() if (reference_folder / name).is_file()))


def find_reference(bouts: Iterable[Path]) -> Path | None:
    """Find the reference folder of a session: that of the bout with the best source, the first of equals.

    Parameters
    ----------
    bouts
        Folders ``raw_imaging_data_NN``, in order.

    Returns
    -------
    pathlib.Path or None
        None where no bout has a folder ``reference``.
    """
    folders = [folder for bout in bouts if (folder := bout / "reference").is_dir()]
    sources = [available_sources(folder) for folder in folders]
    best = best_provenance(source for of_folder in sources for source in of_folder)
    return next((folder for folder, there in zip(folders, sources, strict=True) if best in there), None)


def locate_session(
    meta: Mapping[str, Any],
    atlas: Any,
    reference_folder: Path | None = None,
    *,
    mesh: Mesh | None = None,
    provenance: Provenance | None = None,
    settings: LocationSettings | None = None,
    kind: str = "affine",
) -> Projection:
    """Locate FOVs by the best source there is: HISTOLOGY, LANDMARK, FUNCTIONAL, else the ESTIMATE.

    Parameters
    ----------
    meta
        Imaging metadata.
    atlas
        Any ``iblatlas.atlas.BrainAtlas``.
    reference_folder
        Folder of the reference image: ``referenceImage.meta.json`` with ``referenceImage.mlapdv.npy`` (histology),
        ``referenceImage.landmark.json`` or ``referenceImage.functional.json`` (points), and
        ``referenceImage.points.json`` (three points in focus on the surface: depth below it is then added).
    mesh
        None makes or loads the atlas' own.
    provenance
        Asks for one source instead of the best.
    settings
        Normal rule, frame, cache.
    kind
        Transform for points: ``affine`` or ``thin_plate``.

    Raises
    ------
    MissingInputError, LocationError, MetadataError, InputFileError
        If a source that is used is missing, damaged, or does not fit its metadata.
    """
    chosen = provenance or best_provenance(available_sources(reference_folder)) or Provenance.ESTIMATE
    folder = reference_folder
    if folder is None or (chosen is Provenance.ESTIMATE and not (folder / _POINTS).is_file()):
        if chosen is not Provenance.ESTIMATE:
            raise _no_source(chosen)
        return locate_fovs(meta, atlas, mesh, settings=settings)
    reference_meta = read_json(folder / _META)
    reference = ReferenceImage.from_meta(reference_meta, where=str(folder / _META))
    tilt = None
    if (folder / _POINTS).is_file():
        tilt = surface_tilt(read_json(folder / _POINTS), reference, folder / _POINTS)
    if chosen is Provenance.ESTIMATE:
        found = locate_fovs(meta, atlas, mesh, settings=settings)
    elif chosen is Provenance.HISTOLOGY:
        indices = load_registered(folder / SOURCES[chosen], reference_meta)
        found = locate_from_histology(meta, atlas, reference, indices, mesh=mesh, settings=settings)
    else:
        fit = load_points(folder / SOURCES[chosen], kind=kind)
        found = locate_from_points(meta, atlas, reference, fit, chosen, mesh=mesh, settings=settings)
    return found if tilt is None else below_surface(found, meta, atlas, tilt)


def _no_source(provenance: Provenance) -> LocationError:
    return LocationError(
        problem(
            "brain location",
            field="provenance",
            expected=f"a reference folder with {SOURCES[provenance]}",
            found="no reference folder",
            remedy="Give the folder, or ask for ESTIMATE",
        )
    )


def locate_from_points(
    meta: Mapping[str, Any],
    atlas: Any,
    reference: ReferenceImage,
    fit: PointFit,
    provenance: Provenance,
    *,
    mesh: Mesh | None = None,
    settings: LocationSettings | None = None,
) -> Projection:
    """Locate FOVs by a transform from reference image pixels to ML and AP (FUNCTIONAL or LANDMARK).

    DV is that of the first area below each (ML, AP).
    """
    settings = settings or LocationSettings()
    dorsal = dorsal_map(atlas_grid(atlas, settings.frame.scale))

    def surface(fov: int) -> tuple[Floats, NDArray[np.int64]]:
        yx = reference.to_pixels(fov_objective_um(meta, fov))
        mlap = fit.transform(yx.reshape(-1, 2)).reshape(yx.shape)
        dv, ids = dorsal.at(mlap)
        at = np.concatenate([mlap, dv[..., None]], axis=-1)
        at[np.isnan(dv)] = np.nan
        return at, ids

    found = {f.fov: surface(f.fov) for f in fov_geometries(meta)}
    record = PointFitRecord(fit.kind, fit.names, fit.residuals_um)
    return _collect(meta, atlas, found, provenance, mesh, settings, record)


def load_registered(path: Path, reference_meta: Mapping[str, Any]) -> NDArray[np.int64]:
    """Load ``referenceImage.mlapdv.npy``: atlas indices (ML, AP, DV) per pixel, shape (h, w, 3).

    Raises
    ------
    LocationError, MetadataError
        If it is no such array, or its size is not that of the metadata.
    """
    try:
        indices = np.load(path)
    except (OSError, ValueError, EOFError) as error:
        raise LocationError(
            problem(path, expected="a .npy array", found=str(error), remedy="Export the registration again")
        ) from error
    if indices.ndim != 3 or indices.shape[2] != 3 or indices.dtype.kind not in "iu":
        raise LocationError(
            problem(
                path,
                expected="atlas indices (ML, AP, DV) per pixel: whole numbers, shape (h, w, 3)",
                found=f"shape {indices.shape}, dtype {indices.dtype}",
                remedy="Export the registration again",
            )
        )
    ReferenceImage.from_meta(reference_meta, indices.shape[:2], where=str(path))
    whole: NDArray[np.int64] = indices.astype(np.int64)
    return whole


def locate_from_histology(
    meta: Mapping[str, Any],
    atlas: Any,
    reference: ReferenceImage,
    indices: NDArray[np.integer],
    *,
    mesh: Mesh | None = None,
    settings: LocationSettings | None = None,
) -> Projection:
    """Locate FOVs by a reference image that was registered to the atlas (HISTOLOGY).

    Parameters
    ----------
    indices
        Atlas indices (ML, AP, DV) as the label volume has them (AP from the front, DV from the top), per pixel of
        the reference image, (h, w, 3); pixels with all three 0 were not registered.

    Notes
    -----
    Indices are turned to µm, smoothed by a Gaussian over 50 µm of the image (unregistered pixels excluded), and
    interpolated linearly at each FOV pixel's place in the objective's field. Areas are those first met along the
    inward normal from there.
    """
    from scipy.ndimage import gaussian_filter, map_coordinates

    settings = settings or LocationSettings()
    grid = atlas_grid(atlas, settings.frame.scale)
    registered = (indices != 0).any(axis=2)
    if not registered.any() or (indices[registered] >= _shape_mlapdv(grid)).any() or indices.min() < 0:
        raise LocationError(
            problem(
                "referenceImage.mlapdv.npy",
                expected=f"indices into an atlas of {grid.label.shape} voxels (ML, AP, DV)",
                found=f"values {indices.min()} to {indices.max()}",
                remedy="Use the atlas resolution that the registration was made with",
            )
        )
    um = _indices_to_um(grid, indices, atlas)
    pixel_um = np.abs(np.subtract(reference.last_um, reference.first_um)) / (np.array(reference.shape[::-1]) - 1)
    sigma = _SMOOTH_UM / pixel_um[::-1]
    weight = gaussian_filter(registered.astype(float), sigma, mode="nearest")
    layers = [gaussian_filter(np.where(registered, um[..., k], 0.0), sigma, mode="nearest") for k in range(3)]
    field = np.where(registered[..., None], np.stack(layers, axis=-1) / np.maximum(weight, 1e-9)[..., None], np.nan)
    window = _window(meta, atlas, mesh, settings)

    def surface(fov: int) -> tuple[Floats, NDArray[np.int64]]:
        yx = np.moveaxis(reference.to_pixels(fov_objective_um(meta, fov)), -1, 0)
        at = np.stack(
            [map_coordinates(field[..., k], yx, order=1, mode="constant", cval=np.nan) for k in range(3)], axis=-1
        )
        flat = at.reshape(-1, 3)
        _, ids = first_area(grid, flat + window.normal * grid.step_um, window.normal, within_um=_LOOK_ON_UM)
        at[(ids == 0).reshape(at.shape[:2])] = np.nan
        return at, ids.reshape(at.shape[:2])

    found = {f.fov: surface(f.fov) for f in fov_geometries(meta)}
    return _collect(meta, atlas, found, Provenance.HISTOLOGY, mesh, settings, None)


def _shape_mlapdv(grid: AtlasGrid) -> NDArray[np.intp]:
    return np.array(grid.label.shape)


def _indices_to_um(grid: AtlasGrid, indices: NDArray[np.integer], atlas: Any) -> Floats:
    """µm from bregma of volume indices (…, 3) in the volume's own direction along each axis."""
    forward = np.sign(np.asarray(atlas.bc.dxyz)) > 0
    um: Floats = np.where(forward, grid.origin_um, grid.end_um) + indices * grid.voxel_um * np.where(forward, 1, -1)
    return um


def below_surface(found: Projection, meta: Mapping[str, Any], atlas: Any, tilt: SurfaceTilt) -> Projection:
    """Move pixels from the surface to the depth they were imaged at, along the inward normal.

    Depth is that of the FOV's z below the surface plane, which tilts against the optical axis; ids are looked up
    there.

    Warns
    -----
    MesoWarning
        If part of a FOV lies above the surface plane; its depth counts as 0.
    """
    grid = atlas_grid(atlas, found.locations.frame.scale)
    normal = found.locations.window.normal
    mlapdv, ids, records = {}, {}, []
    for fov in fov_geometries(meta):
        if fov.z is None:
            raise LocationError(
                problem(
                    "imaging metadata", field=f"FOV[{fov.fov}].Zs", expected="the FOV's depth, µm", found="none",
                    remedy="Extract the metadata again, or leave referenceImage.points.json out",
                )
            )  # fmt: skip
        depth = tilt.depth_um(fov_objective_um(meta, fov.fov), fov.z)
        if (above := float((depth < 0).mean())) > 0:
            warnings.warn(
                f"{fov_name(fov.fov)}: {above:.0%} of the pixels lie above the surface (z {fov.z:g} µm); depth 0 taken",
                MesoWarning,
                stacklevel=2,
            )
        at = found.mlapdv[fov.fov] - np.clip(depth, 0, None)[..., None] * normal
        _, region = first_area(grid, at.reshape(-1, 3), normal, within_um=_LOOK_ON_UM)
        at[(region == 0).reshape(depth.shape)] = np.nan
        mlapdv[fov.fov], ids[fov.fov] = at, region.reshape(depth.shape)
        new = fov_location(fov, at, ids[fov.fov])
        records.append(replace(new, depth_um=float(depth.mean()), fraction_above=above))
    locations = replace(found.locations, fovs=tuple(records), tilt_deg=tilt.angle_deg)
    return Projection(mlapdv, ids, locations)


def _window(meta: Mapping[str, Any], atlas: Any, mesh: Mesh | None, settings: LocationSettings) -> Any:
    if mesh is None:
        mesh = load_triangulation(atlas, path=settings.mesh_path, cache=settings.cache_folder)
    scaled = (mesh[0] * np.array(settings.frame.scale), mesh[1])
    return window_plane(scaled, window_center_mm(meta) * 1e3, settings.normal_rule)


def _collect(
    meta: Mapping[str, Any],
    atlas: Any,
    found: Mapping[int, tuple[Floats, NDArray[np.int64]]],
    provenance: Provenance,
    mesh: Mesh | None,
    settings: LocationSettings,
    fit: PointFitRecord | None,
) -> Projection:
    window = _window(meta, atlas, mesh, settings)
    records = tuple(fov_location(f, *found[f.fov]) for f in fov_geometries(meta))
    locations = SessionLocations(provenance, describe_atlas(atlas), settings.frame, window, records, fit)
    return Projection({k: v[0] for k, v in found.items()}, {k: v[1] for k, v in found.items()}, locations)
