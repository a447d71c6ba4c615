"""Activity of the cells: spikes, and the fluorescence that follows.

What belongs here: arrays over frames and cells, block by block. What does not: images.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..config import SimulationConfig


@dataclass(frozen=True, slots=True)
class Kinetics:
    """Response of an indicator: in time to one spike a difference of exponentials, in size a Hill curve of calcium."""

    rise_s: float
    decay_s: float
    #: Peak ΔF/F of one spike.
    amplitude: float
    #: Dissociation constant (nM), Hill coefficient, and brightness at saturation relative to none bound.
    dissociation_nm: float
    hill: float
    dynamic_range: float


#: Chen et al. 2013 (doi:10.1038/nature12354). Kinetics and amplitude from the mean responses to one action potential
#: in mouse V1: time to peak 179, 80 and 45 ms, half decay 550, 270 and 142 ms, ΔF/F 23, 13 and 19 %. The Hill curve
#: from the titration of the proteins. With it ten spikes give sixteen times the response of one, not ten (6s).
KINETICS = {
    "6s": Kinetics(0.066, 0.793, 0.23, 144, 2.90, 63.2),
    "6m": Kinetics(0.028, 0.390, 0.13, 167, 2.96, 38.1),
    "6f": Kinetics(0.0165, 0.205, 0.19, 375, 2.27, 51.8),
}
#: Calcium at rest, nM.
_RESTING_NM = 50.0


def relative_fluorescence(kinetics: Kinetics, spikes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute ΔF/F at the calcium of ``spikes`` simultaneous spikes."""

    def brightness(calcium: NDArray[np.float64]) -> NDArray[np.float64]:
        bound = 1 / (1 + (kinetics.dissociation_nm / calcium) ** kinetics.hill)
        return np.asarray(1 + (kinetics.dynamic_range - 1) * bound)

    rest = brightness(np.array(_RESTING_NM))
    # calcium that one spike adds, from the response to one spike
    bound = ((1 + kinetics.amplitude) * rest - 1) / (kinetics.dynamic_range - 1)
    per_spike = kinetics.dissociation_nm * (bound / (1 - bound)) ** (1 / kinetics.hill) - _RESTING_NM
    return np.asarray(brightness(_RESTING_NM + per_spike * spikes) / rest - 1)


#: Standard deviation of the logarithm of a cell's rate over time: its own part, and the part shared by all cells.
_OWN_DRIVE, _COMMON_DRIVE = 1.6, 0.4
_MAX_RATE_HZ = 60.0
#: Frames that are made at a time and share one stream of random numbers.
_BLOCK = 256


@dataclass(frozen=True, slots=True)
class ActivityBlock:
    """Some frames of all cells of a FOV."""

    first: int
    #: Spikes in each frame, u1 (n, n_cells).
    spikes: NDArray[np.uint8]
    #: ΔF/F at the end of each frame, f4 (n, n_cells).
    dff: NDArray[np.float32]


class _Decay:
    """First-order filter over time that keeps its state between blocks."""

    def __init__(self, dt: float, tau: float, width: int) -> None:
        self.keep = float(np.exp(-dt / tau))
        self._state = np.zeros((1, width))

    def __call__(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        from scipy.signal import lfilter

        out, self._state = lfilter([1.0], [1.0, -self.keep], values, axis=0, zi=self._state)
        return np.asarray(out)


class _Wander:
    """Stationary Gaussian process of unit variance, block by block."""

    def __init__(self, dt: float, tau: float, width: int) -> None:
        self._decay = _Decay(dt, tau, width)
        self._step = np.sqrt(1 - self._decay.keep**2)
        self._started = False

    def __call__(self, rng: np.random.Generator, n: int, width: int) -> NDArray[np.float64]:
        noise = self._step * rng.standard_normal((n, width))
        if not self._started:
            noise[0] /= self._step
            self._started = True
        return self._decay(noise)


def activity(config: SimulationConfig, fov: int, n_frames: int, n_cells: int, dt: float) -> Iterator[ActivityBlock]:
    """Simulate spikes and the indicator's response, some frames at a time.

    Mean rates are log-normal over cells (median 0.12 Hz, as in layer 2/3 of awake mice). Each cell's rate varies within
    a second, so spikes come in bursts; part of this variation is shared by all cells. All spikes of a frame occur at
    one random moment in it; the response is exact at the ends of the frames.
    """
    kinetics = KINETICS[config.indicator]
    rise, decay = (_Decay(dt, tau, n_cells) for tau in (kinetics.rise_s, kinetics.decay_s))
    peak_at = kinetics.rise_s * kinetics.decay_s / (kinetics.decay_s - kinetics.rise_s)
    peak_at *= np.log(kinetics.decay_s / kinetics.rise_s)
    peak = np.exp(-peak_at / kinetics.decay_s) - np.exp(-peak_at / kinetics.rise_s)
    own, common = _Wander(dt, 1.0, n_cells), _Wander(dt, 4.0, 1)
    rng = np.random.default_rng([config.seed, 300, fov])
    mean = np.minimum(0.12 * np.exp(rng.standard_normal(n_cells)), 3.0)
    for first in range(0, n_frames, _BLOCK):
        n = min(_BLOCK, n_frames - first)
        rng = np.random.default_rng([config.seed, 301, fov, first])
        drive = _OWN_DRIVE * own(rng, n, n_cells) + _COMMON_DRIVE * common(rng, n, 1)
        rate = mean * np.exp(drive - 0.5 * (_OWN_DRIVE**2 + _COMMON_DRIVE**2))
        spikes = np.minimum(rng.poisson(np.minimum(rate, _MAX_RATE_HZ) * dt), 255).astype(np.uint8)
        ago = dt * rng.random((n, n_cells))
        response = decay(spikes * np.exp(-ago / kinetics.decay_s)) - rise(spikes * np.exp(-ago / kinetics.rise_s))
        dff = relative_fluorescence(kinetics, np.maximum(response, 0) / peak)
        yield ActivityBlock(first, spikes, dff.astype(np.float32))
