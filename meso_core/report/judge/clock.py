"""Verdicts on when the frames of a field were taken.

What belongs here: the questions, and what a person is told. What does not: formulas (``measure``), and limits
(``meso_core.qc``).
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from ...qc import DEFAULT_LIMITS, Limits, QCResult, Verdict
from ..measure.clock import intervals
from .field_value import ORIGIN, Judge


def frames_match_timestamps(fov: str, n_frames: int, n_times: int) -> QCResult:
    """Ask whether a FOV has as many timestamps as frames."""
    verdict = Verdict.PASS if n_frames == n_times else Verdict.FAIL
    message = f"{fov}: {n_frames} frames, {n_times} timestamps"
    return QCResult("frames_match_timestamps", verdict, n_times, n_frames, message, ORIGIN, fov=fov)


def judge_clock(
    fov: str, times: NDArray[Any], edges: tuple[int, ...], n_frames: int | None, limits: Limits = DEFAULT_LIMITS
) -> tuple[QCResult, ...]:
    """Judge the times of a field's frames.

    Parameters
    ----------
    fov
        Its folder name.
    times
        ``mpci.times``, s.
    edges
        First frame of each bout, and the number of frames.
    n_frames
        Frames of its traces; None where there are none.
    limits
        Those of a lab.
    """
    told = Judge(fov, limits)
    found = []
    if n_frames is not None:
        found.append(frames_match_timestamps(fov, n_frames, len(times)))
    steps = intervals(times, edges if edges[-1] == len(times) else (0, len(times)))
    jitter = steps.jitter_ms / steps.usual_ms if steps.ms.size else float("nan")
    message = f"Frames follow each other every {steps.usual_ms:.2f} ms, give or take {steps.jitter_ms:.3f} ms."
    found.append(told("interval_jitter", jitter, message))
    message = f"{steps.n_gaps} gaps between frames of a bout; the longest interval is {steps.longest_ms:.1f} ms."
    found.append(told("interval_gaps", steps.n_gaps, message))
    return tuple(found)
