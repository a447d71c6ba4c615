"""Group suite2p: movies without motion, and cells.

Both assets are graphs: one step prepares, then one step per FOV, then a gather that publishes. So FOVs run side by
side, fail alone, and a run that was killed resumes at the FOV that was not whole (``meso_core.imaging`` keeps a
completion marker per FOV in the work folder). Where an earlier result is current, no FOV is started.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import dagster as dg
import numpy as np
import numpy.typing as npt

from meso_core.session import LEFT_OUT_FOVS, MESO_FOLDER, RawFiles, SessionMetadata, check_left_out, fov_name
from meso_core.storage import Basis, FileRecord, Session, in_the_way

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
from ..runs.settings.settings import MesoSettings
from .before_work import estimate_metadata, tell_estimate
from .session_asset import OWNERS, AssetRun, Product, gathered, open_run, tell_why
from .subject import ask_alyx, tau_metadata
from .suite2p_config import Suite2pConfig, suite2p_config

if TYPE_CHECKING:
    from meso_core.imaging import FailedFov, SessionImaging, StagedRegistration, StagedRois

    #: What a gather returns; Dagster knows it by the bare class and the type of its ``Out``.
    Published: TypeAlias = dg.Output[Publication]
else:
    Published = dg.Output

_FRAMES, _ROIS = CATALOGUE["motion_registered_frames"], CATALOGUE["rois"]
_BETWEEN = "between_steps"
#: Inputs whose part of one field of view is in the basis of that field: its excluded frames, its registered movie.
_BY_FOV = ("frame_qc", _FRAMES.name)


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
    left_out = check_left_out(metadata.imaging, settings.left_out_of(session.key), str(session.key))
    excluded = () if frame_qc is None else [_excluded(frame_qc, fov.name) for fov in metadata.imaging.fovs]
    own = declaration.with_options(_of_all_fovs(basis), chosen)
    return SessionImaging(
        session.path / MESO_FOLDER / "work" / "suite2p",
        metadata.imaging,
        str(session.key),
        overrides=chosen,
        genotype=settings.genotype,
        bad_frames=excluded,
        registration_basis=own,
        detection_basis=own,
        discard_curation=config.discard_curation,
        left_out=left_out,
    )


def _of_all_fovs(basis: Basis) -> Basis:
    """Leave out inputs of which each FOV reads its own part alone, which stands in its own basis; and what is left out.

    So a FOV is not made again where something has changed for others.
    """
    inputs = {name: version for name, version in basis.inputs.items() if name not in _BY_FOV}
    return replace(basis, inputs=inputs, settings={n: v for n, v in basis.settings.items() if n != LEFT_OUT_FOVS})


def _excluded(frame_qc: FovDatasets, fov: str) -> npt.NDArray[np.bool_]:
    """Frames that the experimenter excluded; none of a FOV that is left out."""
    return np.asarray(frame_qc[fov]["mpci.excludedFrames"] if fov in frame_qc else (), bool)


def _told(context: dg.OpExecutionContext, failed: "FailedFov") -> "FailedFov":
    context.log.error(f"{failed.name} failed, the other fields of view go on: {failed.reason}")
    return failed


def _in_doubt(run: AssetRun, spared: Collection[str]) -> frozenset[str]:
    """Name the planes of which published files are gone or changed.

    Raises
    ------
    StorageError
        If one was changed that is not among those that suite2p's GUI may write: it would be refused after the work.
    """
    made, present = run.standing.manifest, run.seen.present
    wrong = [f.path for f in (made.files if made else ()) if not present.is_unchanged(f)]
    changed = [path for path in wrong if path in present.files and path.rpartition("/")[2] not in spared]
    if changed:
        raise in_the_way(run.session.where(""), run.declaration.name, changed)
    return frozenset(path.split("/")[1] for path in wrong if path.startswith("suite2p/"))


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
    from meso_core.imaging import BY_THE_WAY

    with guarded(context):
        run = _open(context, platform, _FRAMES, config)
        if run.is_current:
            return
        tell_why(run)
        in_doubt = _in_doubt(run, BY_THE_WAY)
        tell_estimate(run, imaging_metadata)
        run.fetch_raw()
        cores = run.settings.cores
        frames = {bout.name: bout.frame_index for bout in imaging_metadata.bouts}
        fovs = _imaging(run, config, imaging_metadata, frame_qc).split(
            lambda: [bout_source(b, workers=cores, frames=frames.get(b.name)) for b in raw_frames.bouts],
            run.progress,
            in_doubt,
        )
    for fov in fovs:
        yield dg.DynamicOutput(fov, mapping_key=fov_name(fov))


@dg.op(
    out=dg.Out(io_manager_key=_BETWEEN),
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
) -> Any:  # noqa: ANN401  a RegisteredFov or a FailedFov, whose import would load all of imaging here
    """Register one FOV."""
    from meso_core.imaging import FailedFov, alone

    with guarded(context):
        run = _open(context, platform, _FRAMES, config)
        imaging = _imaging(run, config, imaging_metadata, frame_qc)
        found = alone(fov, lambda: imaging.register(fov, run.progress), run.session.path)
    if isinstance(found, FailedFov):
        return _told(context, found)
    told = f"registered ({found.reason})" if found.reason else "kept from an earlier run"
    context.log.info(f"{found.n_frames} frames, {told}")
    return found


@dg.op(
    out=dg.Out(PUBLICATION, io_manager_key=_FRAMES.io_manager),
    description="Publish the movies of all fields of view.",
)
def publish_frames(
    context: dg.OpExecutionContext,
    platform: Platform,
    config: Suite2pConfig,
    registered: list[Any],
    imaging_metadata: SessionMetadata,
    frame_qc: FovDatasets,
) -> Published:
    """Gather the registered FOVs."""
    from meso_core.imaging import BY_THE_WAY

    def compute(run: AssetRun) -> Product:
        imaging = _imaging(run, config, imaging_metadata, frame_qc)
        imaging.take_back(run.stage(keep=True).folder)
        staging = run.stage()
        staging.give_up(_as_edited(run, BY_THE_WAY))
        done, failed = _sorted_out(registered)
        found = imaging.stage_registered(staging.folder, [one.fov for one in done], run.session.path, failed)
        staging.know({file.path: file.content for file in found.files})
        shown = {**registration_metadata(found.fovs), **picture(found.picture, f"shifts over time of {_first(found)}")}
        shown |= estimate_metadata(run)
        return Product(staging, qc=found.qc, metadata=shown, failed=found.missing)

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
    from meso_core.imaging import CURATED_FILES

    with guarded(context):
        ask_alyx(context, platform, alyx)
        run = _open(context, platform, _ROIS, config)
        if run.is_current:
            return
        tell_why(run)
        _in_doubt(run, CURATED_FILES)
        made = run.standing.manifest
        published = {file.path: file.sha256 for file in made.files} if made else {}
        run.stage()
        movies = motion_registered_frames.manifest.files
        curated = [path for path in published if path.startswith("suite2p/")]
        there = run.seen.present.files
        needed = [path for path in (*(file.path for file in movies), *curated) if path in there]
        root = run.session.fetch(needed, run.progress)
        fovs = _imaging(run, config, imaging_metadata).begin_rois(root, movies, published, run.lacking)
    for fov in fovs:
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
) -> Any:  # noqa: ANN401  a DetectedFov or a FailedFov, whose import would load all of imaging here
    """Detect the ROIs of one FOV."""
    from meso_core.imaging import FailedFov, alone

    with guarded(context):
        run = _open(context, platform, _ROIS, config)
        imaging, staged = _imaging(run, config, imaging_metadata), run.stage(keep=True).folder
        found = alone(fov, lambda: imaging.detect(fov, staged, run.progress), run.session.path)
    if isinstance(found, FailedFov):
        return _told(context, found)
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
    from meso_core.imaging import CURATED_FILES

    def compute(run: AssetRun) -> Product:
        staging = run.stage(keep=True)
        found = _imaging(run, config, imaging_metadata).stage_rois(staging.folder, *_sorted_out(detected))
        if config.discard_curation:
            staging.give_up(_as_edited(run, CURATED_FILES))
        staging.know({file.path: file.content for file in found.files})
        shown = {
            **rois_metadata(found.fovs),
            **tau_metadata(platform.settings, run.settings, config.suite2p),
            **picture(found.picture, f"mean image of {_first(found)} with ROI outlines"),
        }
        return Product(staging, qc=found.qc, metadata=shown, failed=found.missing)

    return gathered(context, lambda: _open(context, platform, _ROIS, config), compute)


def _as_edited(run: AssetRun, names: Collection[str]) -> tuple[FileRecord, ...]:
    """Tell what published files of these names are where suite2p's GUI has written over them."""
    from meso_core.imaging import as_edited

    made, present = run.standing.manifest, run.seen.present
    named = [f for f in (made.files if made else ()) if f.path.rpartition("/")[2] in names]
    edited = [f.path for f in named if f.path in present.files and not present.is_unchanged(f)]
    return as_edited(run.session.fetch(edited), edited) if edited else ()


def _sorted_out(ended: Iterable[Any]) -> tuple[list[Any], "list[FailedFov]"]:
    """Tell FOVs that are done from those that failed, each in the order of the metadata."""
    from meso_core.imaging import FailedFov

    in_order = sorted(ended, key=lambda one: one.fov)
    failed = [one for one in in_order if isinstance(one, FailedFov)]
    return [one for one in in_order if not isinstance(one, FailedFov)], failed


def _first(found: "StagedRegistration | StagedRois") -> str:
    return next(iter(found.fovs))


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
