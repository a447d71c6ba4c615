"""A session in a line: what the index over all sessions tells of it.

What belongs here: the record, made of what was measured, and read back. What does not: the index (``index``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ...qc import Verdict, in_words
from ..inputs import ReportInputs
from .fields import FovFound

#: Points of the line that shows the activity of a session.
_POINTS = 48


@dataclass(frozen=True, slots=True)
class SessionLine:
    """What the index tells of a session; None for what is not known."""

    session: str
    subject: str
    date: str
    #: Name of a :class:`~meso_core.qc.Verdict`, and the sentence on the card.
    level: str
    verdict: str
    #: Number of verdicts by name of the verdict.
    verdicts: Mapping[str, int]
    n_fovs: int | None = None
    n_rois: int | None = None
    n_cells: int | None = None
    n_frames: int | None = None
    #: Share of frames left out of detection, largest of the fields, 0 to 1.
    bad_frames: float | None = None
    #: Range of rigid shifts, largest of the fields, µm.
    motion_um: float | None = None
    #: Median noise of cells, %/√Hz.
    noise_percent: float | None = None
    #: Mean dF/F of all cells over the session, from 0 to 100.
    activity: tuple[int, ...] = ()

    def as_record(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> SessionLine:
        """Read what :meth:`as_record` gave; fields of later versions are passed over.

        Raises
        ------
        ValueError, KeyError, TypeError
            If it is no such record.
        """
        known = {name: record[name] for name in cls.__slots__ if name in record}
        Verdict[known["level"]]
        return cls(**{**known, "activity": tuple(int(value) for value in known.get("activity", ()))})


def session_line(inputs: ReportInputs, found: Sequence[FovFound]) -> SessionLine:
    """Sum up a session."""
    verdicts = inputs.all_verdicts()
    level, words = in_words(verdicts)
    rois = [one.rois for one in found if one.rois is not None]
    moved = [(one.motion, one.fov.um_per_pixel) for one in found if one.motion is not None]
    noise = np.concatenate([np.zeros(0), *(r.activity.noise_percent[r.is_cell] for r in rois)])
    noise = noise[np.isfinite(noise)]
    frames = [motion.n_frames for motion, _ in moved]
    return SessionLine(
        str(inputs.session),
        inputs.session.subject,
        inputs.session.date,
        level.name,
        words,
        dict(sorted(Counter(v.verdict.name for v in verdicts).items())),
        len(found) or None,
        sum(r.n_rois for r in rois) if rois else None,
        sum(r.n_cells for r in rois) if rois else None,
        max(frames, default=None),
        max((round(float(motion.is_bad.mean()), 4) for motion, _ in moved), default=None),
        max((round(motion.range_px * um, 2) for motion, um in moved), default=None),
        round(float(np.median(noise)), 3) if noise.size else None,
        _activity(found),
    )


def _activity(found: Sequence[FovFound]) -> tuple[int, ...]:
    """Mean of the cells' dF/F over all fields, at equal steps of frames, from its least to its largest value."""
    lines = [one.rois.population for one in found if one.rois is not None and one.rois.n_cells]
    if not lines:
        return ()
    at = np.linspace(0, 1, _POINTS)
    line = np.mean([np.interp(at, np.linspace(0, 1, len(values)), values) for values in lines], axis=0)
    span = float(np.ptp(line))
    return tuple(round(100 * float(value - line.min()) / span) if span else 0 for value in line)
