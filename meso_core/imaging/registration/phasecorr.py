"""Shifts of frames by phase correlation, as suite2p finds them, with less arithmetic and memory.

What belongs here: the part of registration that takes the time. What does not: the reference image, the loop over the
movie, and applying the shifts (``registration``).

The method is suite2p's (``registration.register.compute_shifts``): whitened correlation with the reference, the peak
within the allowed shift, and again in blocks, where maps of a poor peak are smoothed with their neighbours' and the
peak is interpolated to a tenth of a pixel. Four things are done otherwise, and give the same shifts:

- Frames are real, so half of their Fourier transform tells all of it.
- Of the correlation only the shifts that are allowed are looked at: ±26 px of 512, and ±8 of 128 in the blocks. They
  come from a product with the few rows of the inverse transform's matrix, not from a transform of everything.
- Cutting, clipping and tapering are one pass over the pixels, whitening is one pass over the spectrum (``kernels``).
- The signal-to-noise ratio of all maps is found at once, not in a loop over frames and blocks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

#: Margin of the correlation maps around the allowed shifts, px; suite2p's value.
_PAD = 3


def largest_shift(maxregshift: float, shape: tuple[int, ...]) -> int:
    """Largest rigid shift that is looked for along either axis, px, in frames of (ny, nx)."""
    side = min(shape)
    return int(min(round(maxregshift * side), side // 2))


class ShiftFinder:
    """Finds the rigid and non-rigid shifts of frames to one reference, on the CPU.

    Parameters
    ----------
    masks
        What suite2p's ``compute_filters_and_norm`` returns for the reference.
    reg
        suite2p's ``settings["registration"]``.
    shape
        Rows and columns of a frame.
    """

    def __init__(self, masks: tuple[Any, ...], reg: Mapping[str, Any], shape: tuple[int, int]) -> None:

        taper, offset, reference, taper_nr, offset_nr, reference_nr, blocks, low, high = masks
        bounds = (low, high)
        self._reach = largest_shift(reg["maxregshift"], shape)
        self._whole = _Correlator(taper, offset, reference, ([0], [0]), bounds, self._reach)
        self._blocks = blocks
        self._nonrigid = taper_nr is not None and reg["maxregshiftNR"] > 0
        if self._nonrigid:
            height, width = reference_nr.shape[-2:]
            corners = ([int(r[0]) for r in blocks[0]], [int(c[0]) for c in blocks[1]])
            self._reach_nr = int(min(round(reg["maxregshiftNR"]), min(height, width) // 2 - _PAD))
            self._parts = _Correlator(taper_nr, offset_nr, reference_nr, corners, bounds, self._reach_nr + _PAD)
            self._threshold = float(reg["snr_thresh"])
            self._subpixel = int(reg["subpixel"])

    def __call__(self, frames: np.ndarray) -> tuple[Any, ...]:
        """Find the shifts of a batch.

        Parameters
        ----------
        frames
            (n, ny, nx) int16.

        Returns
        -------
        y, x, correlation
            torch.Tensor (n,): whole pixels, int64, and the height of the peak.
        y1, x1, correlation1
            torch.Tensor (n, n_blocks) float32, px beyond the rigid shift; None without non-rigid registration.
        rolled
            numpy.ndarray (n, ny, nx) int16: the frames after the rigid shift.
        """
        import torch

        maps = self._whole(frames)
        n, side = len(maps), 2 * self._reach + 1
        peak, place = maps.reshape(n, -1).max(dim=1)
        y, x = torch.div(place, side, rounding_mode="floor") - self._reach, place % side - self._reach
        rolled = roll_frames(frames, y.tolist(), x.tolist())
        if not self._nonrigid:
            return y, x, peak, None, None, None, rolled
        return y, x, peak, *self._peaks(self._parts(rolled)), rolled

    def _peaks(self, correlated: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Find the interpolated peaks of the blocks' maps, (n, n_blocks, side, side)."""
        import torch

        _, _, _, _, smoothing, upsampling, n_up = self._blocks
        maps = np.ascontiguousarray(correlated.permute(1, 0, 2, 3).numpy())
        maps = _smooth_poor_maps(maps, smoothing, self._threshold)
        n_blocks, n, side, _ = maps.shape
        inner = maps[..., _PAD:-_PAD, _PAD:-_PAD].reshape(n_blocks, n, -1)
        y, x = np.divmod(inner.argmax(axis=-1), 2 * self._reach_nr + 1)
        window = np.arange(2 * _PAD + 1)
        flat = (y[..., None] + window)[..., :, None] * side + (x[..., None] + window)[..., None, :]
        around = np.take_along_axis(maps.reshape(n_blocks, n, -1), flat.reshape(n_blocks, n, -1), axis=-1)
        fine = torch.from_numpy(around.reshape(n_blocks * n, -1)) @ upsampling
        height, place = fine.reshape(n_blocks, n, -1).max(dim=-1)
        middle = n_up // 2
        y1 = (torch.div(place, n_up, rounding_mode="floor") - middle) / self._subpixel + torch.from_numpy(y)
        x1 = (place % n_up - middle) / self._subpixel + torch.from_numpy(x)
        return (y1 - self._reach_nr).T.float(), (x1 - self._reach_nr).T.float(), height.T


class _Correlator:
    """Whitened correlation of blocks of frames with one reference each, for shifts up to a reach."""

    def __init__(
        self,
        taper: torch.Tensor,
        offset: torch.Tensor,
        reference: torch.Tensor,
        corners: tuple[list[int], list[int]],
        bounds: tuple[float, float],
        reach: int,
    ) -> None:
        import torch

        ny, nx = reference.shape[-2:]
        n_half = nx // 2 + 1
        self._taper, self._offset = (
            np.ascontiguousarray(a.reshape(-1, ny, nx).numpy(), np.float32) for a in (taper, offset)
        )
        self._corners = [np.asarray(c, np.int64) for c in corners]
        self._low, self._high = (np.float32(b) for b in bounds)
        half = reference.reshape(-1, ny, nx)[..., :n_half].contiguous()
        self._reference = torch.view_as_real(half).reshape(-1, 2).numpy()
        shifts = torch.arange(-reach, reach + 1, dtype=torch.float64)
        turn_y = 2 * math.pi / ny * torch.outer(shifts, torch.arange(ny, dtype=torch.float64))
        self._inverse_y = (torch.polar(torch.ones_like(turn_y), turn_y) / ny).to(torch.complex64)
        turn_x = 2 * math.pi / nx * torch.outer(torch.arange(n_half, dtype=torch.float64), shifts)
        # every frequency but the first (and the middle one of an even number) stands for its mirror image too
        weight = torch.full((n_half, 1), 2.0 / nx, dtype=torch.float64)
        weight[0] = 1 / nx
        if nx % 2 == 0:
            weight[-1] = 1 / nx
        # Re(a · e) = Re a Re e − Im a Im e, with real and imaginary parts side by side as in memory
        parts = torch.stack((weight * torch.cos(turn_x), -weight * torch.sin(turn_x)), dim=1)
        self._inverse_x = parts.reshape(2 * n_half, -1).to(torch.float32)

    def __call__(self, frames: np.ndarray) -> torch.Tensor:
        """Correlate frames (n, ny, nx) int16; returns torch (n, n_blocks, 2 reach + 1, 2 reach + 1) float32."""
        import torch

        from .kernels import cut_and_taper, whiten_and_multiply

        images = np.empty((len(frames), *self._taper.shape), np.float32)
        cut_and_taper(frames, self._low, self._high, *self._corners, self._taper, self._offset, images)
        spectra = torch.fft.rfft2(torch.from_numpy(images))
        whiten_and_multiply(torch.view_as_real(spectra).reshape(len(frames), -1, 2).numpy(), self._reference)
        rows = torch.matmul(self._inverse_y, spectra)
        return torch.matmul(torch.view_as_real(rows).flatten(-2), self._inverse_x)


def roll_frames(frames: np.ndarray, y: Sequence[float], x: Sequence[float]) -> np.ndarray:
    """Take a whole-pixel shift out of each frame; what leaves at one edge enters at the other, as in suite2p."""
    rolled = np.empty_like(frames)
    for i in range(len(frames)):
        rolled[i] = np.roll(frames[i], (-int(y[i]), -int(x[i])), (0, 1))
    return rolled


def _smooth_poor_maps(maps: np.ndarray, smoothing: np.ndarray, threshold: float) -> np.ndarray:
    """Replace maps whose peak does not stand out by the average with their neighbours', once or twice as needed.

    ``maps`` is (n_blocks, n, side, side) f4, ``smoothing`` (n_blocks, n_blocks).
    """
    poor = peak_to_rest(maps) < threshold
    kernel = np.asarray(smoothing, np.float32)
    original = maps
    for power in (kernel, kernel @ kernel):
        if not poor.any():
            break
        smooth = (power @ original.reshape(len(maps), -1)).reshape(maps.shape)
        maps = np.where(poor[..., None, None], smooth, maps)
        poor &= peak_to_rest(smooth) < threshold
    return maps


def peak_to_rest(maps: np.ndarray) -> np.ndarray:
    """Ratio of each map's highest allowed peak to the highest value away from it, suite2p's signal-to-noise ratio.

    Parameters
    ----------
    maps
        (…, side, side) f4; shifts in the outer 3 px are not allowed.

    Returns
    -------
    numpy.ndarray
        (…,) f4.
    """
    side = maps.shape[-1]
    inner = maps[..., _PAD:-_PAD, _PAD:-_PAD]
    inner = inner.reshape(*inner.shape[:-2], -1)
    y, x = np.divmod(inner.argmax(axis=-1), side - 2 * _PAD)
    steps = np.arange(side)
    near_y = (steps >= y[..., None]) & (steps < y[..., None] + 2 * _PAD)
    near_x = (steps >= x[..., None]) & (steps < x[..., None] + 2 * _PAD)
    rest = np.where(near_y[..., :, None] & near_x[..., None, :], np.float32(0), maps).max(axis=(-2, -1))
    return np.asarray(inner.max(axis=-1) / np.maximum(np.float32(1e-10), rest))
