"""Group timing: when each frame was taken, and what the experimenter noted about it."""

import dagster as dg

from meso_core.pictures import full_png
from meso_core.session import RawFiles, SessionMetadata, daq_folder

from ..defs.catalogue import CATALOGUE
from ..io.metadata import frame_qc_metadata, frame_times_metadata, picture
from ..io.resources import Platform
from .session_asset import AssetRun, Product, Result, materialized, session_asset

_FRAME_QC, _FRAME_TIMES = CATALOGUE["frame_qc"], CATALOGUE["frame_times"]


@session_asset(_FRAME_QC)
def frame_qc(
    context: dg.AssetExecutionContext,
    platform: Platform,
    raw_frame_ratings: RawFiles,
    imaging_metadata: SessionMetadata,
) -> Result:
    """Join the experimenter's ratings of all bouts."""
    from meso_core.timing import session_frame_qc

    def compute(run: AssetRun) -> Product:
        bouts = [raw_frame_ratings.session_path / bout.name for bout in imaging_metadata.bouts]
        quality, staging = session_frame_qc(bouts, imaging_metadata, misfits="tell"), run.stage()
        staging.write_fovs(run.but_left_out(quality.datasets(), imaging_metadata), where=str(run.session.key))
        return Product(staging, qc=quality.joined.results, metadata=frame_qc_metadata(quality.joined))

    return materialized(context, platform, _FRAME_QC, compute)


@session_asset(_FRAME_TIMES)
def frame_times(
    context: dg.AssetExecutionContext, platform: Platform, raw_daq: RawFiles, imaging_metadata: SessionMetadata
) -> Result:
    """Find when each frame of each field of view was taken."""
    from meso_core.timing import find_frame_times, frame_interval_figure

    def compute(run: AssetRun) -> Product:
        times = find_frame_times(
            daq_folder(raw_daq),
            imaging_metadata,
            session=run.session.key,
            frame_channel=run.settings.frame_channel,
        )
        figure, staging = frame_interval_figure(times, str(run.session.key)), run.stage()
        staging.write_fovs(run.but_left_out(times.datasets(), imaging_metadata), where=str(run.session.key))
        return Product(
            staging,
            qc=times.results,
            figures={"frame_times": full_png(figure)},
            metadata={**frame_times_metadata(times), **picture(figure, "pulses over time, intervals between pulses")},
        )

    return materialized(context, platform, _FRAME_TIMES, compute)
