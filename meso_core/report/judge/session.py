"""Verdicts on a session, from what its results have published.

What belongs here: which field is asked what, and questions about the records. What does not: the questions about a
field (``clock``, ``movie``, ``cells``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...imaging.fovs import plane
from ...progress import Progress, silent
from ...qc import DEFAULT_LIMITS, Limits, QCResult, judge
from ...session import Fov
from ..frames import opened_movie
from ..inputs import ReportInputs
from ..measure.clock import bout_edges
from ..measure.motion import read_motion
from ..stacks import field_stack
from .cells import FovTraces, judge_cells
from .clock import judge_clock
from .field_value import ORIGIN
from .movie import judge_motion, judge_movie

_TRACES = ("mpci.ROIActivityF", "mpci.ROINeuropilActivityF", "mpci.ROIActivityDeconvolved", "mpciROIs.mpciROITypes",
           "mpci.badFrames")  # fmt: skip
#: Result with the archives.
_ARCHIVE = "imaging_frames_archive"


def judge_session(
    inputs: ReportInputs, limits: Limits = DEFAULT_LIMITS, progress: Progress = silent
) -> tuple[QCResult, ...]:
    """Judge what the results of a session have published; what was not made is not judged.

    Verdicts that the results published themselves are not among them.

    Parameters
    ----------
    inputs
        What the results have published.
    limits
        Those of a lab.
    progress
        Told the fields of view.
    """
    fovs = () if inputs.metadata is None else inputs.metadata.imaging.fovs
    found = list(_records(inputs, limits))
    for k, fov in enumerate(fovs, 1):
        found += _clock(inputs, fov, limits)
        found += _movie(inputs, fov, limits)
        found += _cells(inputs, fov, limits)
        progress(k, len(fovs), "fields of view judged")
    return tuple(found)


def _records(inputs: ReportInputs, limits: Limits) -> Iterator[QCResult]:
    made = [one for one in inputs.results if one.version]
    lost = {one.name: one.n_lost for one in made if one.n_lost}
    told = ", ".join(f"{n} of {name}" for name, n in lost.items())
    message = (
        f"{told} are gone or changed since." if lost else f"The files of {len(made)} results are there, unchanged."
    )
    yield judge("files_as_published", sum(lost.values()), message, ORIGIN, limits=limits)
    archive = next((one for one in made if one.name == _ARCHIVE), None)
    if archive is not None:
        n = archive.n_lost
        message = f"{n} archives are gone or changed since." if n else "Each tif was read back and compared by hash."
        yield judge("archive_verified", n, message, ORIGIN, limits=limits)


def _clock(inputs: ReportInputs, fov: Fov, limits: Limits) -> tuple[QCResult, ...]:
    times, f = inputs.dataset(fov.name, "mpci.times"), inputs.dataset(fov.name, "mpci.ROIActivityF")
    if times is None or inputs.metadata is None:
        return ()
    n_frames = None if f is None else int(np.shape(f)[0])
    return judge_clock(fov.name, np.asarray(times), bout_edges(inputs.metadata, fov), n_frames, limits)


def _movie(inputs: ReportInputs, fov: Fov, limits: Limits) -> tuple[QCResult, ...]:
    if fov.name not in inputs.planes:
        return ()
    motion = read_motion(inputs.planes[fov.name])
    found = judge_motion(fov.name, motion, fov.um_per_pixel, limits)
    with opened_movie(inputs, fov.name, fov.shape) as movie:
        if movie is None or len(movie) != motion.n_frames:
            return found
        return (*found, *judge_movie(fov.name, movie, motion, limits, field_stack(inputs, fov)))


def _cells(inputs: ReportInputs, fov: Fov, limits: Limits) -> tuple[QCResult, ...]:
    values: list[Any] = [inputs.dataset(fov.name, name) for name in _TRACES]
    if any(value is None for value in values) or inputs.metadata is None:
        return ()
    f, neuropil, spikes, types, bad = values
    rate, tau = inputs.metadata.imaging.fov_rate_hz, _tau(inputs, fov)
    traces = FovTraces(f, neuropil, spikes, np.asarray(types) > 0, np.asarray(bad, bool), rate, tau)
    return judge_cells(fov.name, traces, limits)


def _tau(inputs: ReportInputs, fov: Fov) -> float | None:
    """Read the decay time with which spikes were found; None where the settings of detection do not tell."""
    from ...imaging.detection.results import SETTINGS

    folder = inputs.detected.get(fov.name)
    if folder is None or not (folder / SETTINGS).is_file():
        return None
    tau = plane.load_dict(folder / SETTINGS).get("tau")
    return float(tau) if isinstance(tau, int | float) else None
