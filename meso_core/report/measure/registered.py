"""What is told from the registered movie of a field, besides its light.

What belongs here: putting the measures together. What does not: their formulas (``quality``, ``flow``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from ...scanimage.reference_field import FieldStack
from .axial import AxialDrift, axial_drift
from .bleed import bleed_through
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
    #: Share of the light of the channel with activity that shows in the other one; NaN where there is one alone.
    bleed: float = float("nan")
    #: Its depth in the reference stack; None where there is none that tells it.
    axial: AxialDrift | None = None


def measure_registered(
    movie: NDArray[Any], motion: FovMotion, second: NDArray[Any] | None = None, stack: FieldStack | None = None
) -> RegisteredMovie:
    """Measure a registered movie (n_frames, ny, nx), with that of the second channel and the stack where there are."""
    bad = motion.is_bad
    return RegisteredMovie(
        crispness_gain(movie, motion.y, motion.x, bad),
        likeness_of_ends(movie, bad),
        residual_flow(movie, bad),
        float("nan") if second is None else bleed_through(movie, second, bad),
        None if stack is None else axial_drift(movie, bad, stack),
    )
