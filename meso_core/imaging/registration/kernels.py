"""The inner loops of registration, compiled by numba.

What belongs here: elementwise passes over frames and spectra that numpy or torch would make in several steps, each
through memory. Imported only where frames are registered; the first import on a computer compiles, later ones load.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

#: Added to magnitudes before they divide; suite2p's value.
_EPSILON = np.float32(1e-5)


def _cut_and_taper(
    frames: NDArray[np.int16],
    low: np.float32,
    high: np.float32,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    taper: NDArray[np.float32],
    offset: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Cut blocks from frames, clip them, and taper them towards a constant.

    Parameters
    ----------
    frames
        (n, ny, nx) int16.
    low, high
        Bounds to clip to, float32.
    rows, columns
        (n_blocks,) int64, first row and column of each block.
    taper, offset
        (n_blocks, height, width) float32; ``out = clip(frame) * taper + offset``.
    out
        (n, n_blocks, height, width) float32.
    """
    n, n_blocks, height, width = out.shape
    for t in range(n):
        for b in range(n_blocks):
            for i in range(height):
                line = frames[t, rows[b] + i, columns[b] : columns[b] + width]
                for j in range(width):
                    value = min(max(np.float32(line[j]), low), high)
                    out[t, b, i, j] = value * taper[b, i, j] + offset[b, i, j]


def _whiten_and_multiply(spectra: NDArray[np.float32], reference: NDArray[np.float32]) -> None:
    """Divide spectra by their magnitude and multiply them with the reference's, in place.

    Parameters
    ----------
    spectra
        (n, n_values, 2) float32, real and imaginary parts.
    reference
        (n_values, 2) float32.
    """
    n, n_values, _ = spectra.shape
    for t in range(n):
        for k in range(n_values):
            re, im = spectra[t, k, 0], spectra[t, k, 1]
            scale = np.float32(1) / (np.sqrt(re * re + im * im) + _EPSILON)
            ref_re, ref_im = reference[k, 0], reference[k, 1]
            spectra[t, k, 0] = (re * ref_re - im * ref_im) * scale
            spectra[t, k, 1] = (re * ref_im + im * ref_re) * scale


cut_and_taper = njit(
    "void(int16[:,:,::1], float32, float32, int64[::1], int64[::1],"
    " float32[:,:,::1], float32[:,:,::1], float32[:,:,:,::1])",
    cache=True,
    nogil=True,
)(_cut_and_taper)
whiten_and_multiply = njit("void(float32[:,:,::1], float32[:,::1])", cache=True, nogil=True, error_model="numpy")(
    _whiten_and_multiply
)
