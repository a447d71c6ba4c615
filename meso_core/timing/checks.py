"""Whether the DAQ's pulses and the microscope's frames agree.

What belongs here: one question per function, each with a typed answer. What does not: finding pulses or bouts.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import MesoWarning, TimingError
from ..qc import QCResult, Verdict
from ..session.imaging import BoutMetadata
from .bouts import BoutEdges
from .counters import CounterEdges
from .timeline import SampleSteps

#: Steps between samples may differ from the usual one by this share of it.
_MOST_IRREGULAR = 0.25
#: The mean rate of samples may differ from the one that was asked for by this share, as two clocks may.
_MOST_OFF_THE_RATE = 5e-5
ORIGIN = "meso_core.timing.extract_frame_times"


@dataclass(frozen=True, slots=True)
class BoutTiming:
    """How the DAQ's pulses and the frames of one bout compare."""

    #: Name of the folder.
    name: str
    #: s, DAQ clock, first and last pulse of the bout.
    start: float
    end: float
    n_pulses: int
    #: Frames that the microscope took, by the number of the last one on file; those missing before it count too.
    n_frames: int

    @property
    def n_surplus(self) -> int:
        """Pulses at the end of the bout that no frame belongs to."""
        return self.n_pulses - self.n_frames


def check_counter(edges: CounterEdges) -> QCResult:
    """Ask whether the frame counter counted without errors; a wrap is not one."""
    n_odd = edges.n_resets + edges.n_multiple
    message = f"{edges.samples.size} pulses counted, {edges.n_wraps} counter wraps"
    if n_odd:
        message += f", {edges.n_resets} resets, {edges.n_multiple} samples with several edges; check the frame clock"
        warnings.warn(message, MesoWarning, stacklevel=3)
    return QCResult("frame_counter_is_clean", _verdict(n_odd > 0), n_odd, 0, message, ORIGIN)


def check_samples(steps: SampleSteps, nominal_hz: float | None = None) -> QCResult:
    """Ask whether the DAQ's samples follow each other at equal intervals, and as often as it was asked for."""
    off = max(steps.longest_s - steps.usual_s, steps.usual_s - steps.shortest_s) / steps.usual_s
    message, why = f"samples every {steps.usual_s * 1e3:.6g} ms", ""
    if off > _MOST_IRREGULAR:
        why = f", but steps from {steps.shortest_s * 1e3:.4g} to {steps.longest_s * 1e3:.4g} ms in the timestamps"
    elif not steps.of_samples:
        why = ", but the timestamps are of other samples than those of the recording"
    elif nominal_hz is not None and abs(steps.usual_s * nominal_hz - 1) > _MOST_OFF_THE_RATE:
        why = f" by the timestamps, but {nominal_hz:g} a second were asked for"
    if why:
        message += f"{why}: were they saved in lower precision, or are they of another recording? So are frame times"
        warnings.warn(message, MesoWarning, stacklevel=3)
    return QCResult("daq_samples_are_regular", _verdict(bool(why)), round(off, 4), _MOST_IRREGULAR, message, ORIGIN)


def check_bouts_have_folders(found: BoutEdges, n_folders: int) -> QCResult:
    """Ask whether each bout on the DAQ has an imaging folder."""
    n_bouts = len(found.edges)
    message = f"{n_bouts} bouts by {found.source}, {n_folders} imaging folders"
    if n_bouts > n_folders:
        message += "; check that the folders that are missing were left out on purpose"
        warnings.warn(message, MesoWarning, stacklevel=3)
    return QCResult("bouts_have_folders", _verdict(n_bouts > n_folders), n_folders, n_bouts, message, ORIGIN)


def check_bout(bout: BoutTiming, pulses: NDArray[np.float64], metadata: BoutMetadata) -> tuple[QCResult, ...]:
    """Ask whether pulses and frames of a bout agree in number, and from frame to frame.

    Parameters
    ----------
    bout
        How many there are of both.
    pulses
        (n_pulses,) f8, s.
    metadata
        Which frames are on file, and their times by the microscope's clock.

    Raises
    ------
    TimingError
        If there are fewer pulses than frames: then it is not known which frames they belong to.
    """
    if bout.n_surplus < 0:
        widest = int(np.diff(pulses).argmax()) if pulses.size > 1 else 0
        found = f"{bout.n_pulses} pulses between {bout.start:.3f} s and {bout.end:.3f} s"
        if pulses.size > 1:
            found += f", {pulses[widest + 1] - pulses[widest]:.3f} s apart at most, at {pulses[widest]:.3f} s"
        raise TimingError.at(
            bout.name,
            expected=f"a DAQ pulse for each of the {bout.n_frames} frames up to the last one on file",
            found=found,
            remedy="If the DAQ stopped early or the frame clock was unplugged, give this bout a session of its "
            "own, without frame_times; the others get theirs",
        )
    message = f"{bout.name}: {bout.n_pulses} pulses for {bout.n_frames} frames"
    if bout.n_surplus:
        message += f"; the last {bout.n_surplus} pulses were dropped, check whether the last tif is complete"
        warnings.warn(message, MesoWarning, stacklevel=3)
    numbers = QCResult("frames_match_pulses", _verdict(bout.n_surplus > 0), bout.n_surplus, 0, message, ORIGIN)
    return numbers, _check_intervals(bout, pulses[metadata.frame_index], metadata)


def _check_intervals(bout: BoutTiming, pulses: NDArray[np.float64], metadata: BoutMetadata) -> QCResult:
    """Compare intervals, not times: the clocks of DAQ and microscope start apart and drift apart."""
    check, stamps = "pulse_intervals_match_scanimage", metadata.frame_times
    if pulses.size < 2:
        return QCResult(check, Verdict.PASS, None, None, f"{bout.name}: too few frames to compare", ORIGIN)
    differences = np.abs(np.diff(pulses) - np.diff(stamps))
    worst, limit = float(differences.max()), float(np.median(np.diff(stamps))) / 2
    message = f"{bout.name}: intervals of DAQ and ScanImage differ by {worst * 1e3:.2f} ms at most"
    if worst > limit:
        message += (
            f", at frame number {int(metadata.frame_index[differences.argmax() + 1]) + 1}; a pulse is missing there, "
            "or a frame that no number tells of, and later times belong to neighbouring frames"
        )
        warnings.warn(message, MesoWarning, stacklevel=4)
    verdict = Verdict.FAIL if worst > limit else Verdict.PASS
    return QCResult(check, verdict, round(worst, 6), round(limit, 6), message, ORIGIN)


def check_volumes(bout: BoutTiming, volume_times: NDArray[np.float64], frames_per_volume: int) -> QCResult:
    """Ask whether the volume counter rose once per volume."""
    slack = (bout.end - bout.start) / max(2 * (bout.n_pulses - 1), 1)  # half a frame
    n = int(np.count_nonzero((volume_times >= bout.start - slack) & (volume_times <= bout.end + slack)))
    expected = -(-bout.n_pulses // frames_per_volume)
    message = f"{bout.name}: {n} volumes counted, {expected} by the frame pulses"
    return QCResult("volumes_match_frames", _verdict(abs(n - expected) > 1), n, expected, message, ORIGIN)


def _verdict(odd: bool) -> Verdict:
    return Verdict.WARNING if odd else Verdict.PASS
