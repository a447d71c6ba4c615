"""Group suite2p: movies without motion, and cells.

Both assets are graphs: one step prepares, then one step per FOV, then a gather that publishes. So FOVs run side by
side, fail alone, and a run that was killed resumes at the FOV that was not whole (``meso_core.imaging`` keeps a
completion marker per FOV in the work folder).
"""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from meso_core.session import fov_name

from ..defs.catalogue import CATALOGUE
from ..defs.partitions import session_partitions
from ..io.managers import Product, SessionFiles
from ..runs.instance import SUITE2P_POOL
from ..suite2p_work import Suite2pWork
from .session_asset import guarded, open_session, platform_of, progress_of, tolerated_metadata

_FRAMES, _ROIS = CATALOGUE["motion_registered_frames"], CATALOGUE["rois"]
_BETWEEN = "between_steps"


class Suite2pConfig(dg.Config):
    """Choices of one run; they win over the settings."""

    #: suite2p options by name, as in ``{"threshold_scaling": 0.8}``.
    suite2p: dict[str, Any] = {}  # noqa: RUF012  pydantic copies it
    #: Whether ROIs that a person curated may be replaced where other settings ask for new ones.
    discard_curation: bool = False


def _work(context: Any, config: Suite2pConfig) -> Suite2pWork:
    settings = platform_of(context).settings
    return Suite2pWork(open_session(context), settings, config.suite2p, config.discard_curation)


def _per_fov(config: Suite2pConfig, *steps: str) -> Mapping[str, Any]:
    """Hand the configuration of the asset to its steps."""
    chosen = {"suite2p": config.suite2p, "discard_curation": config.discard_curation}
    return {step: {"config": chosen} for step in steps}


@dg.op(
    ins={"raw_session": dg.In(dg.Nothing)},
    out=dg.DynamicOut(int, io_manager_key=_BETWEEN),
    code_version=_FRAMES.code_version,
    required_resource_keys={"platform"},
    description="Cut the pages into one movie per field of view; not repeated where that was done.",
)
def split_pages(
    context: dg.OpExecutionContext, config: Suite2pConfig, imaging_metadata: SessionFiles, frame_qc: Any
) -> Iterator[dg.DynamicOutput[int]]:
    """Split the raw pages and start one step per FOV."""
    with guarded(context):
        n_fovs = _work(context, config).split(progress_of(context))
    for fov in range(n_fovs):
        yield dg.DynamicOutput(fov, mapping_key=fov_name(fov))


@dg.op(
    out=dg.Out(int, io_manager_key=_BETWEEN),
    code_version=_FRAMES.code_version,
    pool=SUITE2P_POOL,
    required_resource_keys={"platform"},
    description="Remove the brain's motion from one field of view.",
)
def register_fov(context: dg.OpExecutionContext, config: Suite2pConfig, fov: int) -> int:
    """Register one FOV."""
    with guarded(context):
        found = _work(context, config).register(fov, progress_of(context))
    context.log.info(f"{found.n_frames} frames, {'kept from an earlier run' if found.resumed else 'registered'}")
    return fov


@dg.op(
    out=dg.Out(Product, io_manager_key="session_files"),
    code_version=_FRAMES.code_version,
    required_resource_keys={"platform"},
    description="Publish the movies of all fields of view.",
)
def publish_frames(context: dg.OpExecutionContext, config: Suite2pConfig, fovs: list[int]) -> Product:
    """Gather the registered FOVs."""
    with guarded(context) as tolerated:
        product = _work(context, config).registered_product(sorted(fovs))
    context.add_output_metadata({**product.metadata, **tolerated_metadata(tolerated)})
    return product


@dg.op(
    out=dg.DynamicOut(int, io_manager_key=_BETWEEN),
    code_version=_ROIS.code_version,
    required_resource_keys={"platform"},
    description="Start one step per registered field of view.",
)
def each_fov(
    context: dg.OpExecutionContext, config: Suite2pConfig, motion_registered_frames: SessionFiles
) -> Iterator[dg.DynamicOutput[int]]:
    """Start one step per FOV."""
    with guarded(context):
        n_fovs = _work(context, config).begin_rois(motion_registered_frames)
    for fov in range(n_fovs):
        yield dg.DynamicOutput(fov, mapping_key=fov_name(fov))


@dg.op(
    out=dg.Out(int, io_manager_key=_BETWEEN),
    code_version=_ROIS.code_version,
    pool=SUITE2P_POOL,
    required_resource_keys={"platform"},
    description="Find the cells of one field of view, extract and deconvolve their activity.",
)
def find_rois(context: dg.OpExecutionContext, config: Suite2pConfig, fov: int) -> int:
    """Detect the ROIs of one FOV."""
    with guarded(context):
        found = _work(context, config).detect(fov, progress_of(context))
    context.log.info(f"{found.n_rois} ROIs, {found.n_cells} of them cells{' (curated)' if found.curated else ''}")
    return fov


@dg.op(
    out=dg.Out(Product, io_manager_key="alf"),
    code_version=_ROIS.code_version,
    required_resource_keys={"platform"},
    description="Publish the cells of all fields of view.",
)
def publish_rois(context: dg.OpExecutionContext, config: Suite2pConfig, fovs: list[int]) -> Product:
    """Gather the ROIs of all FOVs."""
    with guarded(context) as tolerated:
        product = _work(context, config).rois_product(sorted(fovs))
    context.add_output_metadata({**product.metadata, **tolerated_metadata(tolerated)})
    return product


@dg.config_mapping
def _frames_config(config: Suite2pConfig) -> Mapping[str, Any]:
    return _per_fov(config, "split_pages", "register_fov", "publish_frames")


@dg.config_mapping
def _rois_config(config: Suite2pConfig) -> Mapping[str, Any]:
    return _per_fov(config, "each_fov", "find_rois", "publish_rois")


@dg.graph_asset(
    **_FRAMES.options(),
    partitions_def=session_partitions,
    config=_frames_config,
    ins={
        "raw_session": dg.AssetIn(dagster_type=dg.Nothing),
        "imaging_metadata": dg.AssetIn(),
        "frame_qc": dg.AssetIn(),
    },
)
def motion_registered_frames(raw_session: None, imaging_metadata: SessionFiles, frame_qc: Any) -> Product:
    """Register all FOVs."""
    split = split_pages(imaging_metadata=imaging_metadata, frame_qc=frame_qc, raw_session=raw_session)
    product: Product = publish_frames(split.map(register_fov).collect())
    return product


@dg.graph_asset(
    **_ROIS.options(),
    partitions_def=session_partitions,
    config=_rois_config,
    ins={"motion_registered_frames": dg.AssetIn()},
)
def rois(motion_registered_frames: SessionFiles) -> Product:
    """Find the ROIs of all FOVs."""
    product: Product = publish_rois(each_fov(motion_registered_frames).map(find_rois).collect())
    return product
