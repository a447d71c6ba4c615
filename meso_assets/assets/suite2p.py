"""Group suite2p: movies without motion, and cells.

Both assets are graphs: one step prepares, then one step per FOV, then a gather that publishes. So FOVs run side by
side, fail alone, and a run that was killed resumes at the FOV that was not whole (``meso_core.imaging`` keeps a
completion marker per FOV in the work folder). Where an earlier result is current, no FOV is started.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import dagster as dg
import numpy as np

from meso_core.session import MESO_FOLDER, RawFiles, SessionMetadata, fov_name
from meso_core.storage import Basis, Session

from ..defs.catalogue import CATALOGUE
from ..defs.declare import Declaration
from ..defs.guard import guarded
from ..defs.partitions import session_partitions
from ..io.alyx import Alyx
from ..io.managers import PUBLICATION, Publication
from ..io.metadata import picture, registration_metadata, rois_metadata
from ..io.published import FovDatasets, SessionFiles
from ..io.resources import Platform
from ..runs.instance import SUITE2P_POOL
from ..runs.settings import MesoSettings
from .before_work import estimate_metadata, tell_estimate
from .session_asset import OWNERS, AssetRun, Product, gathered, open_run, tell_why
from .subject import ask_alyx, tau_metadata
from .suite2p_config import Suite2pConfig, suite2p_config

if TYPE_CHECKING:
    from meso_core.imaging import SessionImaging

    #: What a gather returns; Dagster knows it by the bare class and the type of its ``Out``.
    Published: TypeAlias = dg.Output[Publication]
else:
    Published = dg.Output

_FRAMES, _ROIS = CATALOGUE["motion_registered_frames"], CATALOGUE["rois"]
_BETWEEN = "between_steps"


def _open(
    context: dg.OpExecutionContext, platform: Platform, declaration: Declaration, config: Suite2pConfig
) -> AssetRun:
    return open_run(context, platform, declaration, {"suite2p": config.suite2p} if config.suite2p else {})


def session_imaging(
    session: Session,
    settings: MesoSettings,
    declaration: Declaration,
    basis: Basis,
    config: Suite2pConfig,
    metadata: SessionMetadata,
    frame_qc: FovDatasets | None = None,
) -> "SessionImaging":
    """Hand everything that suite2p works with in a session to ``meso_core``."""
    from meso_core.imaging import SessionImaging, Suite2pOverrides

    chosen = settings.overrides | Suite2pOverrides.parse(config.suite2p)
    excluded = () if frame_qc is None else [frame_qc[fov.name]["mpci.excludedFrames"] for fov in metadata.imaging.fovs]
    return SessionImaging(
        session.path / MESO_FOLDER / "work" / "suite2p",
        metadata.imaging,
        str(session.key),
        overrides=chosen,
        genotype=settings.genotype,
        bad_frames=[np.asarray(frames) for frames in excluded],
        registration_basis=declaration.with_options(basis, chosen),
        detection_basis=declaration.with_options(basis, chosen),
        discard_curation=config.discard_curation,
    )


def _imaging(
    run: AssetRun, config: Suite2pConfig, metadata: SessionMetadata, frame_qc: FovDatasets | None = None
) -> "SessionImaging":
    return session_imaging(run.session, run.settings, run.declaration, run.standing.basis, config, metadata, frame_qc)


@dg.op(
    out=dg.DynamicOut(int, io_manager_key=_BETWEEN),
    description="Cut the pages into one movie per field of view; not repeated where that was done.",
)
def split_pages(
    context: dg.OpExecutionContext,
    platform: Platform,
    config: Suite2pConfig,
    raw_frames: RawFiles,
    imaging_metadata: SessionMetadata,
    frame_qc: FovDatasets,
) -> Iterator[dg.DynamicOutput[int]]:
    """Split the raw pages and start one step per FOV."""
    from meso_core.archive import bout_source

    with guarded(context):
        run = _open(context, platform, _FRAMES, config)
        if run.is_current:
            return
        tell_why(run)
        tell_estimate(run, imaging_metadata)
        run.fetch_raw()
        cores = run.settings.cores
        frames = {bout.name: bout.frame_index for bout in imaging_metadata.bouts}
        n_fovs = _imaging(run, config, imaging_metadata, frame_qc).split(
            lambda: [bout_source(b, workers=cores, frames=frames.get(b.name)) for b in raw_frames.bouts], run.progress
        )
    for fov in range(n_fovs):
        yield dg.DynamicOutput(fov, mapping_key=fov_name(fov))


@dg.op(
    out=dg.Out(int, io_manager_key=_BETWEEN),
    pool=SUITE2P_POOL,
    description="Remove the brain's motion from one field of view.",
)
def register_fov(
    context: dg.OpExecutionContext,
    platform: Platform,
    config: Suite2pConfig,
    fov: int,
    imaging_metadata: SessionMetadata,
    frame_qc: FovDatasets,
) -> int:
    """Register one FOV."""
    with guarded(context):
        run = _open(context, platform, _FRAMES, config)
        found = _imaging(run, config, imaging_metadata, frame_qc).register(fov, run.progress)
    told = f"registered ({found.reason})" if found.reason else "kept from an earlier run"
    context.log.info(f"{found.n_frames} frames, {told}")
    return fov


@dg.op(
    out=dg.Out(PUBLICATION, io_manager_key=_FRAMES.io_manager),
    description="Publish the movies of all fields of view.",
)
def publish_frames(
    context: dg.OpExecutionContext,
    platform: Platform,
    config: Suite2pConfig,
    fovs: list[int],
    imaging_metadata: SessionMetadata,
    frame_qc: FovDatasets,
) -> Published:
    """Gather the registered FOVs."""

    def compute(run: AssetRun) -> Product:
        imaging = _imaging(run, config, imaging_metadata, frame_qc)
        imaging.take_back(run.stage(keep=True).folder)
        staging = run.stage()
        found = imaging.stage_registered(staging.folder, sorted(fovs), run.session.path)
        staging.know({file.path: file.content for file in found.files})
        shown = {**registration_metadata(list(found.fovs)), **picture(found.picture, "shifts over time of FOV_00")}
        shown |= estimate_metadata(run)
        return Product(staging, qc=found.qc, metadata=shown)

    return gathered(context, lambda: _open(context, platform, _FRAMES, config), compute)


@dg.op(
    out=dg.DynamicOut(int, io_manager_key=_BETWEEN),
    description="Start one step per registered field of view.",
)
def each_fov(
    context: dg.OpExecutionContext,
    platform: Platform,
    alyx: Alyx,
    config: Suite2pConfig,
    imaging_metadata: SessionMetadata,
    motion_registered_frames: SessionFiles,
) -> Iterator[dg.DynamicOutput[int]]:
    """Start one step per FOV."""
    with guarded(context):
        ask_alyx(context, platform, alyx)
        run = _open(context, platform, _ROIS, config)
        if run.is_current:
            return
        tell_why(run)
        made = run.standing.manifest
        published = {file.path: file.sha256 for file in made.files} if made else {}
        run.stage()
        movies = motion_registered_frames.manifest.files
        curated = [path for path in published if path.startswith("suite2p/")]
        there = run.seen.present.files
        needed = [path for path in (*(file.path for file in movies), *curated) if path in there]
        root = run.session.fetch(needed, run.progress)
        n_fovs = _imaging(run, config, imaging_metadata).begin_rois(root, movies, published)
    for fov in range(n_fovs):
        yield dg.DynamicOutput(fov, mapping_key=fov_name(fov))


@dg.op(
    out=dg.Out(io_manager_key=_BETWEEN),
    pool=SUITE2P_POOL,
    description="Find the cells of one field of view, extract and deconvolve their activity.",
)
def find_rois(
    context: dg.OpExecutionContext,
    platform: Platform,
    config: Suite2pConfig,
    fov: int,
    imaging_metadata: SessionMetadata,
) -> Any:  # noqa: ANN401  a DetectedFov, whose import would load all of imaging here
    """Detect the ROIs of one FOV."""
    with guarded(context):
        run = _open(context, platform, _ROIS, config)
        found = _imaging(run, config, imaging_metadata).detect(fov, run.stage(keep=True).folder, run.progress)
    result = found.result
    context.log.info(f"{result.n_rois} ROIs, {result.n_cells} of them cells{' (curated)' if result.curated else ''}")
    return found


@dg.op(
    out=dg.Out(PUBLICATION, io_manager_key=_ROIS.io_manager),
    description="Publish the cells of all fields of view.",
)
def publish_rois(
    context: dg.OpExecutionContext,
    platform: Platform,
    config: Suite2pConfig,
    detected: list[Any],
    imaging_metadata: SessionMetadata,
) -> Published:
    """Gather the ROIs of all FOVs."""

    def compute(run: AssetRun) -> Product:
        staging = run.stage(keep=True)
        in_order = sorted(detected, key=lambda one: one.fov)
        found = _imaging(run, config, imaging_metadata).stage_rois(staging.folder, in_order)
        staging.know({file.path: file.content for file in found.files})
        shown = {
            **rois_metadata(list(found.fovs)),
            **tau_metadata(platform.settings, run.settings, config.suite2p),
            **picture(found.picture, "mean image of FOV_00 with ROI outlines"),
        }
        return Product(staging, qc=found.qc, metadata=shown)

    return gathered(context, lambda: _open(context, platform, _ROIS, config), compute)


@dg.graph_asset(
    name=_FRAMES.name,
    group_name=_FRAMES.group,
    description=_FRAMES.description,
    owners=OWNERS,
    kinds=set(_FRAMES.kinds),
    code_version=_FRAMES.code_version,
    partitions_def=session_partitions,
    config=suite2p_config("split_pages", "register_fov", "publish_frames"),
)
def motion_registered_frames(raw_frames: RawFiles, imaging_metadata: SessionMetadata, frame_qc: FovDatasets) -> object:
    """Register all FOVs."""
    fovs = split_pages(raw_frames=raw_frames, imaging_metadata=imaging_metadata, frame_qc=frame_qc)
    registered = fovs.map(lambda fov: register_fov(fov, imaging_metadata, frame_qc))
    return publish_frames(registered.collect(), imaging_metadata, frame_qc)


@dg.graph_asset(
    name=_ROIS.name,
    group_name=_ROIS.group,
    description=_ROIS.description,
    owners=OWNERS,
    kinds=set(_ROIS.kinds),
    code_version=_ROIS.code_version,
    partitions_def=session_partitions,
    config=suite2p_config("each_fov", "find_rois", "publish_rois"),
)
def rois(imaging_metadata: SessionMetadata, motion_registered_frames: SessionFiles) -> object:
    """Find the ROIs of all FOVs."""
    fovs = each_fov(imaging_metadata=imaging_metadata, motion_registered_frames=motion_registered_frames)
    detected = fovs.map(lambda fov: find_rois(fov, imaging_metadata))
    return publish_rois(detected.collect(), imaging_metadata)
