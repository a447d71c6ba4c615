"""How the brain moves under the microscope.

What belongs here: displacement over time, its smooth deformation over a FOV, and slow axial drift. What does not:
applying it to images.

Sign: a displacement tells where the tissue moved to, in pixels [y, x] relative to its rest position, positive down and
right. suite2p stores this as ``yoff`` and ``xoff`` (it rolls a frame by the negative to undo it).

Source of the numbers: in a real movie before registration, frames are 0.7 px from their mean along the axis with more
motion; 1.4 µm (both axes) gives the same with pixels of 1.4 µm. The brain of a running mouse moves by a few µm in the
plane, mostly as a whole; deformation and slow axial drift are smaller.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..config import SimulationConfig

_F4 = NDArray[np.float32]
#: Correlation times (s) and shares of variance of displacement: body movements, posture, slow drift.
_TIMES_S = (0.25, 2.0, 120.0)
_SHARES = (0.45, 0.35, 0.20)
#: Largest displacement as a multiple of the standard deviation; the skull is fixed.
_LIMIT = 4.0
#: Number of smooth modes of deformation.
N_MODES = 4


@dataclass(frozen=True, slots=True)
class FovMotion:
    """Displacement of one FOV in each of its frames."""

    #: Rigid part, f4 (n_frames, 2), px [y, x].
    shifts: _F4
    #: Weights of the modes, f4 (n_frames, 2, N_MODES), px [y, x].
    weights: _F4
    #: Focal plane relative to its start, f4 (n_frames,), µm.
    axial: _F4


def _wander(rng: np.random.Generator, dt: NDArray[np.float64], tau: float, width: int) -> NDArray[np.float64]:
    """Stationary Gaussian process of unit variance and correlation time ``tau`` at steps ``dt``."""
    keep = np.exp(-dt / tau)
    kick = np.sqrt(1 - keep**2)[:, None] * rng.standard_normal((len(dt), width))
    kick[0] = rng.standard_normal(width)
    out = np.empty_like(kick)
    state = np.zeros(width)
    for i, k in enumerate(kick):
        state = state * keep[i] + k
        out[i] = state
    return np.asarray(out)


def brain_motion(config: SimulationConfig, times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Simulate the displacement of the whole brain at given times, f8 (n, 3): y, x and axial drift, µm.

    Animals move in episodes (running, licking), so the fast part is scaled by a slow, skewed envelope.
    """
    rng = np.random.default_rng([config.seed, 201])
    dt = np.diff(times, prepend=times[0])
    fast, middle, slow = (_wander(rng, dt, tau, 2) for tau in _TIMES_S)
    envelope = np.exp(0.7 * _wander(rng, dt, 6.0, 1))
    envelope /= np.sqrt(np.mean(envelope**2))
    parts = (fast * envelope, middle, slow)
    lateral = np.einsum("k,knj->nj", np.sqrt(_SHARES), np.stack(parts))
    lateral = config.motion_um / np.sqrt(2) * np.clip(lateral, -_LIMIT, _LIMIT)
    span = max(times[-1] - times[0], 1.0)
    progress = (times - times[0]) / span
    axial = (
        config.axial_drift_um * (progress - 0.5) + 0.25 * config.axial_drift_um * _wander(rng, dt, span / 4, 1)[:, 0]
    )
    return np.column_stack([lateral, axial])


def fov_motion(config: SimulationConfig, fov: int, brain: NDArray[np.float64], um: tuple[float, float]) -> FovMotion:
    """Compute the displacement of one FOV: that of the brain, and a deformation of its own.

    Parameters
    ----------
    brain
        :func:`brain_motion` at the FOV's frame times.
    um
        Size of a pixel (y, x), µm.
    """
    rng = np.random.default_rng([config.seed, 202, fov])
    n = len(brain)
    size = np.array(um)
    shifts = brain[:, :2] / size
    lively = np.abs(brain[:, :2]).mean(axis=1, keepdims=True) / max(config.motion_um, 1e-9)
    own = _wander(rng, np.ones(n), 3.0, 2 * N_MODES).reshape(n, 2, N_MODES)
    weights = config.nonrigid_um / np.sqrt(N_MODES) * own * (0.5 + lively[:, :, None]) / size[:, None]
    limit = 3 * config.nonrigid_um / np.sqrt(N_MODES) / size[:, None]
    weights = np.clip(weights, -limit, limit)
    return FovMotion(shifts.astype("f4"), weights.astype("f4"), brain[:, 2].astype("f4"))


def deformation_modes(ny: int, nx: int, margin: int) -> _F4:
    """Make smooth fields over a FOV and the margin beside it, f4 (N_MODES, ny, nx + 2 margin).

    They are the lowest cosines along the two axes: stretch along the slow axis (movement while a frame is scanned), and
    along the fast axis, shear, and bending. In the FOV each has zero mean and unit variance.
    """
    y = (np.arange(ny) + 0.5) / ny
    x = (np.arange(-margin, nx + margin) + 0.5) / nx
    along = [(1, 0), (0, 1), (1, 1), (2, 0)]
    modes = [np.cos(np.pi * a * y)[:, None] * np.cos(np.pi * b * x)[None, :] for a, b in along]
    return np.stack([m / m[:, margin : margin + nx].std() for m in modes]).astype("f4")
