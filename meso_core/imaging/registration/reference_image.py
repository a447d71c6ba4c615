"""The reference image that frames are registered to.

What belongs here: picking the frames and averaging them, as suite2p's ``compute_reference`` does. What does not: the
registration of the movie.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .phasecorr import ShiftFinder, roll_frames

if TYPE_CHECKING:
    import torch

_ITERATIONS = 8
#: Frames of the first guess; suite2p's value.
_ALIKE = 20
#: Frames correlated at a time, see ``registration``.
_BATCH = 4
#: Pixels whose products are summed at a time, so that float64 copies of all frames need not exist.
_PIXELS = 1 << 15


def reference_frames(frames: np.ndarray, nimg_init: int) -> np.ndarray:
    """Copy the frames, spread evenly over the movie, that the reference is made from.

    Parameters
    ----------
    frames
        (n_frames, ny, nx) int16.
    nimg_init
        How many.
    """
    picked = np.linspace(0, len(frames), 1 + min(nimg_init, len(frames)), dtype=int)[:-1]
    return np.array(frames[picked])


def make_reference(sample: np.ndarray, reg: Mapping[str, Any], device: torch.device) -> np.ndarray:
    """Make the reference image: eight times, align the frames to it, and average those that fit best.

    What suite2p's ``compute_reference`` gives if its batch holds all frames. suite2p 1.1.0 is right only then: its loop
    over batches keeps the correlations of the last batch alone, and picks frames of the first batch with them; its
    defaults, 100 and 400 frames, fall into it. With all frames in one batch it takes 4 GB and a minute for 512 × 512
    pixels; here frames pass a few at a time and the correlations of all are kept.

    Parameters
    ----------
    sample
        (nimg_init, ny, nx) int16; aligned in place, since its copies are what fills memory.
    reg
        suite2p's ``settings["registration"]``.
    device
        torch device; on a GPU suite2p's function does it, in one batch.

    Returns
    -------
    numpy.ndarray
        (ny, nx) int16.
    """
    import torch
    from suite2p.registration.register import compute_filters_and_norm, compute_reference

    if device.type != "cpu":
        settings = {**reg, "batch_size": len(sample)}
        return np.asarray(compute_reference(sample.copy(), settings=settings, device=device))
    image = _first_guess(sample)
    for iteration in range(_ITERATIONS):
        masks = compute_filters_and_norm(
            image, False, reg["smooth_sigma"], reg["spatial_taper"], block_size=None, device=device
        )
        find = ShiftFinder(masks, reg, image.shape)
        offsets = []
        for start in range(0, len(sample), _BATCH):
            *found, rolled = find(sample[start : start + _BATCH])
            sample[start : start + _BATCH] = rolled
            offsets.append(found[:3])
        y, x, fit = (torch.cat(parts) for parts in zip(*offsets, strict=True))
        best = torch.argsort(-fit)[: max(2, int(len(sample) * (1.0 + iteration) / (2 * _ITERATIONS)))]
        mean = np.zeros(image.shape)
        for index in best:
            mean += sample[index]
        mean /= len(best)
        drift = [-np.round(shift[best].double().mean().numpy()) for shift in (y, x)]
        image = np.asarray(roll_frames(mean[None], [drift[0]], [drift[1]])[0].astype(np.int16))
    return np.asarray(image, np.int16)


def _first_guess(frames: np.ndarray) -> np.ndarray:
    """Average the frame that resembles others most with those that it resembles."""
    flat = frames.reshape(len(frames), -1)
    means = flat.mean(axis=1, dtype=np.float64)
    products = np.zeros((len(flat), len(flat)))
    for start in range(0, flat.shape[1], _PIXELS):
        part = flat[:, start : start + _PIXELS] - means[:, None]
        products += part @ part.T
    scale = np.sqrt(np.diag(products))
    scale[scale == 0] = np.inf  # a frame without any structure resembles none
    correlations = products / np.outer(scale, scale)
    likeness = -np.sort(-correlations, axis=1)[:, 1:_ALIKE]
    seed = int(np.argmax(likeness.mean(axis=1)))
    alike = np.argsort(-correlations[seed], kind="stable")[:_ALIKE]
    guess = (flat[alike] - means[alike, None]).mean(axis=0)
    return np.asarray(guess.reshape(frames.shape[1:]), np.int16)
