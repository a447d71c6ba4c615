"""Group timing: when each frame was taken, and what the experimenter noted about it."""

from __future__ import annotations

from typing import Any

from meso_core.session import fov_name, imaging_bouts

from ..io.managers import Product, SessionFiles
from ..io.metadata import frame_qc_metadata, frame_times_metadata, full_size, picture
from ..io.resources import OpenSession
from .session_asset import session_asset


@session_asset("frame_qc", io_manager="alf", after=("raw_session",), inputs=("imaging_metadata",))
def frame_qc(session: OpenSession, context: Any, imaging_metadata: SessionFiles) -> Product:
    """Join the experimenter's ratings of all bouts."""
    quality, per_fov = session_frame_qc(session)
    datasets = {
        fov_name(i): {"mpci.mpciFrameQC": values, "mpciFrameQC.names": quality.names}
        for i, (values, _) in enumerate(per_fov)
    }
    return Product(datasets, qc=quality.results, metadata=frame_qc_metadata(quality))


@session_asset("frame_times", io_manager="alf", after=("raw_session",), inputs=("imaging_metadata",))
def frame_times(session: OpenSession, context: Any, imaging_metadata: SessionFiles) -> Product:
    """Find when each frame of each field of view was taken."""
    from meso_core.timing import extract_frame_times
    from meso_core.timing.figure import frame_interval_figure

    times = extract_frame_times(session.path)
    figure = frame_interval_figure(times, str(session.key))
    return Product(
        times.datasets(),
        qc=times.results,
        figures={"frame_times": full_size(figure)},
        metadata={**frame_times_metadata(times), **picture(figure, "pulses over time, intervals between pulses")},
    )


def session_frame_qc(session: OpenSession) -> Any:
    """Join the ratings of a session, and give each FOV those of its depth."""
    from meso_core.timing import consolidate_frame_qc, get_timeshifts, load_imaging_bouts

    bouts = load_imaging_bouts(session.path)
    n_channels = len(bouts[0].meta["channelSaved"]) if isinstance(bouts[0].meta["channelSaved"], list) else 1
    quality = consolidate_frame_qc(
        imaging_bouts(session.path), [bout.n_frames for bout in bouts], n_channels=n_channels
    )
    shifts = get_timeshifts(bouts[0].meta)
    return quality, [quality.of_slice(index, shifts.frames_per_volume) for index in shifts.slices]
