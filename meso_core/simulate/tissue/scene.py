"""The tissue in a FOV: cells, neuropil, vessels.

What belongs here: images and footprints at rest. What does not: time, motion, noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..config import SimulationConfig
from .geometry import FovPlace, pixel_um

_F4 = NDArray[np.float32]
#: Pixels around a FOV that motion may bring into view.
MARGIN = 16
#: Radius of a soma and of its nucleus, µm (layer 2/3 pyramidal cells).
_SOMA_UM, _NUCLEUS_UM = 6.0, 3.6
#: Neuropil fields that vary in time.
N_NEUROPIL = 6
#: Standard deviation of the logarithm of the neuropil's brightness: processes (1 µm), and patches (25 µm). With cells
#: and vessels the mean image then has the contrast and the autocorrelation of real ones.
_FINE, _COARSE = 0.35, 0.4
#: Axial half-width of the optical section with a soma in it, µm.
_AXIAL_UM = 7.0


@dataclass(frozen=True, slots=True)
class Scene:
    """One FOV with a margin around it; brightness in photons per pixel and frame."""

    #: Neuropil at rest, dimmed by vessels, f4 (ny + 2 margin, nx + 2 margin).
    base: _F4
    #: Parts of the neuropil that vary, f4 (N_NEUROPIL, …); zero mean.
    neuropil: _F4
    #: Index of cell, flat index into ``base``, and photons at rest: the footprints as triplets.
    cell: NDArray[np.int32]
    pixel: NDArray[np.int64]
    photons: _F4
    #: Centre [y, x] in pixels of the FOV without margin, f4 (n_cells, 2).
    centres: _F4
    #: Depth of the centre relative to the focal plane at rest, µm, f4 (n_cells,).
    depth: _F4


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], sigma: tuple[float, float]) -> _F4:
    """Make Gaussian noise of unit variance, smoothed by a Gaussian of ``sigma`` pixels (periodic)."""
    spectrum = np.fft.rfft2(rng.standard_normal(shape))
    fy = np.fft.fftfreq(shape[0])[:, None]
    fx = np.fft.rfftfreq(shape[1])[None, :]
    spectrum *= np.exp(-2 * np.pi**2 * ((fy * sigma[0]) ** 2 + (fx * sigma[1]) ** 2))
    field = np.fft.irfft2(spectrum, s=shape)
    field -= field.mean()
    return np.asarray(field / field.std(), dtype=np.float32)


def make_scene(config: SimulationConfig, fov: int, place: FovPlace) -> Scene:
    """Draw the tissue of one FOV."""
    rng = np.random.default_rng([config.seed, 401, fov])
    um = pixel_um(config, place)
    shape = (place.ny + 2 * MARGIN, place.nx + 2 * MARGIN)
    vessels = vessel_shadow(rng, shape, um)
    fine = smooth_noise(rng, shape, (1.0 / um[0], 1.0 / um[1]))
    coarse = smooth_noise(rng, shape, (25 / um[0], 25 / um[1]))
    texture = np.exp(_FINE * fine + _COARSE * coarse - 0.5 * (_FINE**2 + _COARSE**2))
    base = config.photons * texture * vessels
    fields = np.stack([smooth_noise(rng, shape, (w / um[0], w / um[1])) for w in np.linspace(20, 60, N_NEUROPIL)])
    neuropil = (0.05 * config.photons * fields * vessels).astype("f4")
    c = _cells(rng, config, shape, um, vessels)
    return Scene(base.astype("f4"), neuropil, c.cell, c.pixel, c.photons, c.centres, c.depth)


def vessel_shadow(rng: np.random.Generator, shape: tuple[int, int], um: tuple[float, float]) -> _F4:
    """Draw the transmission of surface vessels: dark, winding stripes, 0 to 1."""
    yy, xx = (np.arange(n) * u for n, u in zip(shape, um, strict=True))
    light = np.ones(shape, np.float32)
    area_mm2 = shape[0] * um[0] * shape[1] * um[1] * 1e-6
    for _ in range(rng.poisson(8 * area_mm2) + 1):
        angle = rng.uniform(0, np.pi)
        along = np.cos(angle) * xx[None, :] + np.sin(angle) * yy[:, None]
        across = -np.sin(angle) * xx[None, :] + np.cos(angle) * yy[:, None]
        middle = rng.uniform(across.min(), across.max())
        bend = rng.uniform(5, 25) * np.sin(along / rng.uniform(40, 120) + rng.uniform(0, 2 * np.pi))
        width = rng.uniform(3, 14)
        light *= 1 - rng.uniform(0.3, 0.75) * np.exp(-0.5 * ((across - middle - bend) / width) ** 2).astype("f4")
    return light


@dataclass(frozen=True, slots=True)
class _Cells:
    cell: NDArray[np.int32]
    pixel: NDArray[np.int64]
    photons: _F4
    centres: _F4
    depth: _F4


def _cells(
    rng: np.random.Generator,
    config: SimulationConfig,
    shape: tuple[int, int],
    um: tuple[float, float],
    vessels: _F4,
) -> _Cells:
    places = _places(rng, config, shape, um)
    depth = rng.uniform(-12, 12, len(places)).astype("f4")
    brightness = 1.3 * config.photons * np.exp(0.5 * rng.standard_normal(len(places)))
    oy, ox = (np.arange(-r, r + 1) for r in (int(np.ceil(1.7 * _SOMA_UM / u)) + 2 for u in um))
    cells, pixels, photons = [np.zeros(0, "i4")], [np.zeros(0, "i8")], [np.zeros(0, "f4")]
    for i, (cy, cx) in enumerate(places):
        iy, ix = round(cy), round(cx)
        weight = _soma(rng, ((iy + oy - cy) * um[0])[:, None], ((ix + ox - cx) * um[1])[None, :])
        ry, rx = np.broadcast_arrays((iy + oy)[:, None], (ix + ox)[None, :])
        keep = (weight > 0.02) & (ry >= 0) & (ry < shape[0]) & (rx >= 0) & (rx < shape[1])
        flat = ry[keep] * shape[1] + rx[keep]
        cells.append(np.full(flat.size, i, "i4"))
        pixels.append(flat)
        photons.append((brightness[i] * weight[keep] * vessels.ravel()[flat]).astype("f4"))
    joined = np.concatenate(cells), np.concatenate(pixels), np.concatenate(photons)
    return _Cells(*joined, (places - MARGIN).astype("f4"), depth)


def _places(
    rng: np.random.Generator, config: SimulationConfig, shape: tuple[int, int], um: tuple[float, float]
) -> NDArray[np.float64]:
    """Choose centres at random; somata do not overlap."""
    area = shape[0] * um[0] * shape[1] * um[1] * 1e-6
    wanted = rng.poisson(config.cells_per_mm2 * area)
    found = np.zeros((0, 2))
    for yx in rng.uniform(0, shape, (4 * wanted, 2)):
        far = ((found - yx) ** 2 @ np.array(um) ** 2) > (1.7 * _SOMA_UM) ** 2
        if far.all():
            found = np.vstack([found, yx])
        if len(found) == wanted:
            break
    return found


def _soma(rng: np.random.Generator, y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Draw a soma at offsets in µm: an ellipse with a soft rim, and a nucleus that is dark or nearly as bright."""
    angle, stretch = rng.uniform(0, np.pi), rng.uniform(1.0, 1.35)
    radius = _SOMA_UM * rng.uniform(0.85, 1.15)
    a = (np.cos(angle) * x + np.sin(angle) * y) / np.sqrt(stretch)
    b = (-np.sin(angle) * x + np.cos(angle) * y) * np.sqrt(stretch)
    r = np.hypot(a, b)
    rim = 0.8  # µm, lateral resolution
    soma = 1 / (1 + np.exp((r - radius) / rim))
    nucleus = rng.choice([0.75, 0.2], p=[0.75, 0.25]) / (1 + np.exp((r - _NUCLEUS_UM) / rim))
    return np.asarray(soma * (1 - nucleus))


def focus(depth: _F4, axial: _F4) -> _F4:
    """Compute the share of each cell's light that the focal plane gets, f4 (n_frames, n_cells)."""
    return np.asarray(np.exp(-0.5 * ((depth[None, :] - axial[:, None]) / _AXIAL_UM) ** 2), dtype=np.float32)


def at_depth(scene: Scene, um: float) -> _F4:
    """Draw the tissue at rest as a focal plane shows it that lies deeper than the field's by so much.

    Parameters
    ----------
    scene
        Tissue of a field.
    um
        Depth below the focal plane at rest, µm. As in the movie, cells leave the focus and the neuropil stays.

    Returns
    -------
    ndarray of float32
        Photons per pixel and frame, as ``scene.base``, margin included.
    """
    share = focus(scene.depth, np.full(1, um, np.float32))[0]
    light = np.bincount(scene.pixel, scene.photons * share[scene.cell], scene.base.size)
    return np.asarray(scene.base + light.reshape(scene.base.shape), dtype=np.float32)
