"""What is told from the registered movie of a field, besides its light.

What belongs here: putting the measures together. What does not: their formulas (``quality``, ``flow``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from .flow import ResidualFlow, residual_flow
from .motion import FovMotion
from .quality import crispness_gain, likeness_of_ends


@dataclass(frozen=True, slots=True)
class RegisteredMovie:
    """How well a movie is registered; NaN, and None, for what cannot be told."""

    #: Crispness of the mean image after rigid registration over that before it.
    crispness_gain: float
    #: Correlation of the first with the last fifth: 1 where the tissue in view is the same.
    likeness_of_ends: float
    flow: ResidualFlow | None


def measure_registered(movie: NDArray[Any], motion: FovMotion) -> RegisteredMovie:
    """Measure a registered movie (n_frames, ny, nx)."""
    bad = motion.is_bad
    return RegisteredMovie(
        crispness_gain(movie, motion.y, motion.x, bad), likeness_of_ends(movie, bad), residual_flow(movie, bad)
    )
