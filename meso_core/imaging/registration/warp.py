"""Applying non-rigid shifts to frames.

What belongs here: the interpolation between blocks' shifts and of the pixels, as suite2p's ``nonrigid.transform_data``
does it, operation for operation, so that registered pixels are equal; only the order of coordinates in memory differs,
which spares a copy that takes half of suite2p's time. What does not: finding the shifts (``phasecorr``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch


class Warper:
    """Shifts frames by what was found in their blocks, on the CPU.

    Parameters
    ----------
    blocks
        What suite2p's ``make_blocks`` returns.
    shape
        Rows and columns of a frame.
    """

    def __init__(self, blocks: tuple[Any, ...], shape: tuple[int, int]) -> None:
        import torch

        ny, nx = shape
        self._grid = tuple(blocks[2])
        rows = np.array(blocks[0][:: self._grid[1]]).mean(axis=1).astype(int)
        columns = np.array(blocks[1][: self._grid[1]]).mean(axis=1).astype(int)
        self._between = (int(rows.max() - rows.min()), int(columns.max() - columns.min()))
        self._around = (int(columns.min()), nx - int(columns.max()), int(rows.min()), ny - int(rows.max()))
        y, x = torch.meshgrid(torch.arange(ny, dtype=torch.float), torch.arange(nx, dtype=torch.float), indexing="ij")
        self._places = torch.stack((x, y))
        self._last = torch.tensor([nx - 1.0, ny - 1.0])[:, None, None]

    def __call__(self, frames: np.ndarray, y1: torch.Tensor, x1: torch.Tensor) -> np.ndarray:
        """Shift a batch.

        Parameters
        ----------
        frames
            (n, ny, nx) int16, after the rigid shift.
        y1, x1
            torch.Tensor (n, n_blocks) float32, px.

        Returns
        -------
        numpy.ndarray
            (n, ny, nx) int16; what would come from outside repeats the edge.
        """
        import torch
        from torch.nn import functional

        coarse = torch.stack((x1.reshape(-1, *self._grid), y1.reshape(-1, *self._grid)), dim=1)
        field = functional.interpolate(coarse, size=self._between, mode="bilinear", align_corners=True)
        field = functional.pad(field, self._around, mode="replicate")
        field += self._places
        field /= self._last
        field *= 2
        field -= 1
        sampled = functional.grid_sample(
            torch.from_numpy(frames).float().unsqueeze(1),
            field.permute(0, 2, 3, 1),
            mode="bilinear",
            padding_mode="border",
            align_corners=True,
        )
        return np.asarray(sampled.squeeze(1).short().numpy())
