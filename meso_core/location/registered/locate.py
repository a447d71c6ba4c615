"""The best source of locations that a session has.

What belongs here: which files make which source, choosing among them, and locating by the chosen one. What does not:
the sources themselves (``points``, ``histology``, ``project.projection``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import LocationError
from ...opening import is_there
from ...progress import Progress, silent
from ...scanimage import as_imaging_metadata
from ...session.imaging import ImagingMetadata
from ..project.geometry import fov_geometries, window_center_mm
from ..project.projection import Projection, estimate
from ..provenance import Provenance, best_provenance
from ..settings import LocationSettings
from ..surface.mesh import Mesh
from ..surface.window import windowed_atlas
from .depth import FOCUS_FILE, below_surface, surface_tilt
from .histology import HISTOLOGY_FILE, load_registered, locate_from_histology
from .points import load_points, locate_from_points
from .reference_image import ReferenceImage, read_object

if TYPE_CHECKING:
    from iblatlas.atlas import BrainAtlas

#: Files in the folder of the reference image, by the provenance that they make possible.
SOURCES = {
    Provenance.FUNCTIONAL: "referenceImage.functional.json",
    Provenance.LANDMARK: "referenceImage.landmark.json",
    Provenance.HISTOLOGY: HISTOLOGY_FILE,
}
_META = "referenceImage.meta.json"


def available_sources(reference_folder: Path | None) -> tuple[Provenance, ...]:
    """Provenances that the files beside a reference image allow; ESTIMATE always."""
    if reference_folder is None:
        return (Provenance.ESTIMATE,)
    return (Provenance.ESTIMATE, *(p for p, name in SOURCES.items() if is_there(reference_folder / name)))


def find_reference(bouts: Iterable[Path]) -> Path | None:
    """Find the reference folder of a session: that of the bout with the best source, the first of equals.

    Parameters
    ----------
    bouts
        Folders ``raw_imaging_data_NN``, in order.

    Returns
    -------
    pathlib.Path or None
        None if no bout has a folder ``reference``.
    """
    folders = [folder for bout in bouts if (folder := bout / "reference").is_dir()]
    sources = [available_sources(folder) for folder in folders]
    best = best_provenance(source for of_folder in sources for source in of_folder)
    return next((folder for folder, there in zip(folders, sources, strict=True) if best in there), None)


def locate_session(
    meta: Mapping[str, Any] | ImagingMetadata,
    atlas: BrainAtlas,
    reference_folder: Path | None = None,
    *,
    mesh: Mesh | None = None,
    provenance: Provenance | None = None,
    settings: LocationSettings | None = None,
    kind: str = "affine",
    progress: Progress = silent,
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
        ``referenceImage.points.json`` (three points in focus on the surface: pixels are then moved to their depth).
    mesh
        Points and connectivity in CCF µm; None loads or makes the one of the settings.
    provenance
        Asks for one source instead of the best.
    settings
        Normal rule, frame, cache folder.
    kind
        Transform for points: ``affine`` or ``thin_plate``.
    progress
        Called after each FOV of an ESTIMATE.

    Raises
    ------
    MissingInputError, LocationError, MetadataError, InputFileError
        If the chosen source is missing, damaged, or does not fit its metadata.
    AtlasError
        If the atlas or the mesh is unusable.
    """
    meta = as_imaging_metadata(meta)
    chosen = provenance or best_provenance(available_sources(reference_folder)) or Provenance.ESTIMATE
    if reference_folder is None and chosen is not Provenance.ESTIMATE:
        raise _no_source(chosen)
    center_um, fovs = window_center_mm(meta) * 1e3, fov_geometries(meta)
    window = windowed_atlas(atlas, center_um, settings or LocationSettings(), mesh)
    if reference_folder is None or (chosen is Provenance.ESTIMATE and not is_there(reference_folder / FOCUS_FILE)):
        return estimate(fovs, window, progress)
    focus, meta_file = reference_folder / FOCUS_FILE, reference_folder / _META
    reference_meta = as_imaging_metadata(read_object(meta_file), str(meta_file))
    reference = ReferenceImage.from_meta(reference_meta, where=str(meta_file))
    if chosen is Provenance.ESTIMATE:
        found = estimate(fovs, window, progress)
    elif chosen is Provenance.HISTOLOGY:
        indices = load_registered(reference_folder / HISTOLOGY_FILE, reference_meta)
        found = locate_from_histology(meta, atlas, window, reference, indices)
    else:
        fit = load_points(reference_folder / SOURCES[chosen], kind=kind)
        found = locate_from_points(meta, window, reference, fit, chosen)
    if not is_there(focus):
        return found
    return below_surface(found, meta, window, surface_tilt(read_object(focus), reference, focus))


def _no_source(provenance: Provenance) -> LocationError:
    return LocationError.at(
        "brain location",
        field="provenance",
        expected=f"a reference folder with {SOURCES[provenance]}",
        found="no reference folder",
        remedy="Give the folder, or ask for ESTIMATE",
    )
