"""How well registration and ROIs agree with a simulated FOV's truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

#: Edges of the bins of the cells' peak signal-to-noise ratio at their best pixel.
SNR_EDGES = (0.0, 0.5, 1.0, 2.0, 5.0, np.inf)


def residual_motion(folder: Path, truth: Any) -> float:
    """Return the rms over good frames, blocks and both axes of what registration left of the motion, px.

    A constant offset is no motion: the reference lies where it lies.
    """
    reg = np.load(folder / "reg_outputs.npy", allow_pickle=True).item()
    good = ~np.asarray(reg["badframes"], bool)
    rows, columns = _block_centres(folder, reg)
    found = np.stack([reg[k][:, None] + reg[k + "1"] for k in ("yoff", "xoff")], axis=-1)
    modes = np.asarray(truth.modes)[:, rows, columns]  # (n_modes, n_blocks)
    true = np.asarray(truth.shifts)[:, None, :] + np.einsum("tam,mb->tba", np.asarray(truth.weights), modes)
    difference = (found - true)[good]
    difference -= difference.mean(axis=0)
    return float(np.sqrt((difference**2).mean()))


def _block_centres(folder: Path, reg: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    settings = np.load(folder / "settings.npy", allow_pickle=True).item()
    ny, nx = reg["meanImg"].shape
    grids = []
    for side, block in zip((ny, nx), settings["registration"]["block_size"], strict=True):
        starts = np.linspace(0, side - block, int(np.ceil(1.5 * side / block))).astype(int)
        grids.append(starts + block // 2)
    y, x = np.meshgrid(*grids, indexing="ij")
    return y.ravel(), x.ravel()


@dataclass(frozen=True)
class RoiScores:
    """ROIs against true cells."""

    #: (n_cells,) peak signal-to-noise ratio of the true cells that lie within the FOV.
    snr: np.ndarray
    #: (n_cells,) index of the ROI that is this cell, -1 if none.
    roi: np.ndarray
    #: (n_rois,) index of the cell that an ROI is, -1 if none.
    cell: np.ndarray

    def recall(self) -> np.ndarray:
        """Share of the cells found, by bin of ``SNR_EDGES``; NaN for an empty bin."""
        return np.array([_mean(self.roi[self._bin(i)] >= 0) for i in range(len(SNR_EDGES) - 1)])

    def count(self) -> np.ndarray:
        """Cells by bin."""
        return np.array([self._bin(i).sum() for i in range(len(SNR_EDGES) - 1)])

    def precision(self, chosen: np.ndarray | slice = slice(None)) -> float:
        """Share of the ROIs that are a cell."""
        return _mean(self.cell[chosen] >= 0)

    def _bin(self, i: int) -> np.ndarray:
        return (self.snr >= SNR_EDGES[i]) & (self.snr < SNR_EDGES[i + 1])


def table(ours: RoiScores, plain: RoiScores) -> str:
    """Lay out cells found by signal-to-noise, by us and by plain suite2p, and the precision over all ROIs."""
    rows = ["peak SNR      cells  found by us  by plain suite2p"]
    bins = zip(SNR_EDGES, SNR_EDGES[1:], ours.count(), ours.recall(), plain.recall(), strict=False)
    rows += [f"{low:4.1f} to {high:4.1f}  {n:5d}  {mine:11.0%}  {their:16.0%}" for low, high, n, mine, their in bins]
    return "\n".join([*rows, f"precision of all ROIs: {ours.precision():.2f}, plain suite2p {plain.precision():.2f}"])


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def roi_scores(folder: Path, truth: Any, *, margin: int = 4, least: float = 0.4) -> RoiScores:
    """Match ROIs and true cells by the cosine of their masks, best first, one to one."""
    stat = np.load(folder / "stat.npy", allow_pickle=True)
    ny, nx = truth.ny, truth.nx
    cy, cx = np.asarray(truth.centres).T
    inside = np.flatnonzero((cy >= margin) & (cy < ny - margin) & (cx >= margin) & (cx < nx - margin))
    reg = np.load(folder / "reg_outputs.npy", allow_pickle=True).item()
    good = ~np.asarray(reg["badframes"], bool)
    # the mean displacement of the tissue from where the reference lies
    offset = [
        int(np.round((np.asarray(truth.shifts)[good, a] - reg[k][good]).mean())) for a, k in enumerate(("yoff", "xoff"))
    ]
    true = np.zeros((len(inside), ny * nx), np.float32)
    for i, cell in enumerate(inside):
        y, x, weight = truth.mask(int(cell))
        y, x = np.asarray(y, int) + offset[0], np.asarray(x, int) + offset[1]
        kept = (y >= 0) & (y < ny) & (x >= 0) & (x < nx)
        np.add.at(true[i], y[kept] * nx + x[kept], np.asarray(weight)[kept])
    found = np.zeros((len(stat), ny * nx), np.float32)
    for i, roi in enumerate(stat):
        found[i, roi["ypix"] * nx + roi["xpix"]] = roi["lam"]
    for masks in (true, found):
        masks /= np.maximum(np.linalg.norm(masks, axis=1, keepdims=True), 1e-9)
    alike = true @ found.T
    roi, cell = np.full(len(inside), -1), np.full(len(stat), -1)
    for flat in np.argsort(-alike, axis=None):
        i, j = divmod(int(flat), len(stat))
        if alike[i, j] < least:
            break
        if roi[i] < 0 and cell[j] < 0:
            roi[i], cell[j] = j, inside[i]
    return RoiScores(np.asarray(truth.snr)[inside], roi, cell)


def trace_correlations(folder: Path, truth: Any, scores: RoiScores, *, least_snr: float = 5.0) -> np.ndarray:
    """Return the correlation of F, neuropil taken out, with the true trace, of found cells, at good frames."""
    traces = np.load(folder / "F.npy") - 0.7 * np.load(folder / "Fneu.npy")
    reg = np.load(folder / "reg_outputs.npy", allow_pickle=True).item()
    good = ~np.asarray(reg["badframes"], bool)
    pairs = [(j, int(c)) for j, c in enumerate(scores.cell) if c >= 0 and truth.snr[c] >= least_snr]
    return np.array([np.corrcoef(traces[j][good], np.asarray(truth.traces)[good, c])[0, 1] for j, c in pairs])
