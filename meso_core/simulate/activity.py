"""What the cells do: spikes, and the fluorescence they cause.

What belongs here: time. What does not: space.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .config import SimulationConfig


@dataclass(frozen=True, slots=True)
class Kinetics:
    """Response of an indicator to one spike, a difference of exponentials."""

    rise_s: float
    decay_s: float
    #: Peak ΔF/F of one spike.
    amplitude: float


#: From the mean responses to one action potential in mouse V1, Chen et al. 2013 (doi:10.1038/nature12354), figure 3:
#: time to peak 179, 80 and 45 ms, half decay 550, 270 and 142 ms, ΔF/F 23, 13 and 19 %.
KINETICS = {
    "6s": Kinetics(0.066, 0.793, 0.23),
    "6m": Kinetics(0.028, 0.390, 0.13),
    "6f": Kinetics(0.0165, 0.205, 0.19),
}
#: ΔF/F at which the indicator has used up half of its range.
_SATURATION = 8.0


def spike_counts(config: SimulationConfig, fov: int, n_frames: int, n_cells: int, dt: float) -> NDArray[np.uint8]:
    """Spikes per frame and cell, u1 (n_frames, n_cells).

    Mean rates are log-normal over cells (median 0.12 Hz, as in layer 2/3), and each cell's rate wanders within
    seconds, so spikes come in bursts; the population shares a part of that.
    """
    rng = np.random.default_rng([config.seed, 301, fov])
    mean = np.minimum(0.12 * np.exp(1.0 * rng.standard_normal(n_cells)), 3.0)
    common = 0.4 * _slow(rng, n_frames, 1, dt, 4.0)
    spikes = np.empty((n_frames, n_cells), np.uint8)
    for first in range(0, n_cells, 64):  # a few cells at a time, so that memory stays small
        cells = slice(first, min(first + 64, n_cells))
        drive = 1.6 * _slow(rng, n_frames, cells.stop - first, dt, 1.0) + common
        rate = mean[cells] * np.exp(drive - 0.5 * (1.6**2 + 0.4**2))
        spikes[:, cells] = np.minimum(rng.poisson(np.minimum(rate, 60.0) * dt), 255)
    return spikes


def _slow(rng: np.random.Generator, n: int, width: int, dt: float, tau: float) -> NDArray[np.float64]:
    from scipy.signal import lfilter

    keep = np.exp(-dt / tau)
    noise = rng.standard_normal((n, width))
    noise[0] /= np.sqrt(1 - keep**2)
    return np.asarray(lfilter([np.sqrt(1 - keep**2)], [1, -keep], noise, axis=0))


def relative_fluorescence(
    config: SimulationConfig, fov: int, spikes: NDArray[np.uint8], dt: float
) -> NDArray[np.float32]:
    """ΔF/F at the end of each frame, f4 (n_frames, n_cells).

    The response is exact at the frame times: the spikes of a frame fall together at a random moment of it.
    """
    from scipy.signal import lfilter

    kinetics = KINETICS[config.indicator]
    rng = np.random.default_rng([config.seed, 302, fov])
    rise, decay = kinetics.rise_s, kinetics.decay_s
    peak_at = rise * decay / (decay - rise) * np.log(decay / rise)
    peak = np.exp(-peak_at / decay) - np.exp(-peak_at / rise)
    out = np.empty(spikes.shape, np.float32)
    for cell in range(spikes.shape[1]):
        count = spikes[:, cell].astype(float)
        ago = dt * rng.random(len(count))
        total = sum(
            sign * lfilter([1.0], [1.0, -np.exp(-dt / tau)], count * np.exp(-ago / tau))
            for sign, tau in ((1, decay), (-1, rise))
        )
        linear = kinetics.amplitude * np.maximum(total, 0) / peak
        out[:, cell] = linear * _SATURATION / (_SATURATION + linear)
    return out
