"""How well registration and ROIs agree with a simulated FOV's truth."""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

#: Edges of the bins of the cells' true peak signal-to-noise ratio.
SNR_EDGES = (0.0, 2.0, 3.0, 4.0, 5.0, 7.0, np.inf)
#: Edges of the bins of the ROIs' measured one: the traces of noise alone have peaks of 3 to 5.
ROI_SNR_EDGES = (0.0, 5.0, 7.0, 10.0, 15.0, np.inf)


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

    #: (n_cells,) true peak signal-to-noise ratio of the cells that lie within the FOV.
    snr: np.ndarray
    #: (n_cells,) index of the ROI that is this cell, -1 if none.
    roi: np.ndarray
    #: (n_rois,) index of the cell that an ROI is, -1 if none.
    cell: np.ndarray
    #: (n_rois,) measured peak signal-to-noise ratio of the ROIs' traces, neuropil taken out.
    roi_snr: np.ndarray

    def recall(self) -> np.ndarray:
        """Share of the cells found, by bin of ``SNR_EDGES``; NaN for an empty bin."""
        return np.array([_mean(self.roi[chosen] >= 0) for chosen in _bins(self.snr, SNR_EDGES)])

    def precision(self) -> np.ndarray:
        """Share of the ROIs that are a cell, by bin of ``ROI_SNR_EDGES``; NaN for an empty bin."""
        return np.array([_mean(self.cell[chosen] >= 0) for chosen in _bins(self.roi_snr, ROI_SNR_EDGES)])

    @staticmethod
    def joined(parts: list[RoiScores]) -> RoiScores:
        """Scores of several FOVs as one; indices keep their meaning within the FOV alone."""
        return RoiScores(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(RoiScores)))


def _bins(values: np.ndarray, edges: tuple[float, ...]) -> list[np.ndarray]:
    return [(values >= low) & (values < high) for low, high in pairwise(edges)]


def table(ours: RoiScores, plain: RoiScores) -> str:
    """Lay out recall by the cells' signal-to-noise and precision by the ROIs', beside plain suite2p's."""
    rows = ["recall: true peak SNR     cells   ours  plain suite2p"]
    counts = [int(chosen.sum()) for chosen in _bins(ours.snr, SNR_EDGES)]
    rows += _rows(SNR_EDGES, counts, ours.recall(), plain.recall())
    rows += ["precision: measured SNR    ROIs   ours  plain suite2p"]
    counts = [int(chosen.sum()) for chosen in _bins(ours.roi_snr, ROI_SNR_EDGES)]
    rows += _rows(ROI_SNR_EDGES, counts, ours.precision(), plain.precision())
    return "\n".join(rows)


def _rows(edges: tuple[float, ...], counts: list[int], ours: np.ndarray, plain: np.ndarray) -> list[str]:
    bins = zip(pairwise(edges), counts, ours, plain, strict=True)
    return [f"{low:14.1f} to {high:4.1f}  {n:6d}  {mine:5.0%}  {their:13.0%}" for (low, high), n, mine, their in bins]


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
    return RoiScores(np.asarray(truth.snr)[inside], roi, cell, _measured_snr(folder, good))


def corrected_traces(folder: Path) -> np.ndarray:
    """Traces with the neuropil taken out as suite2p does before it deconvolves, f4 (n_rois, n_frames)."""
    return np.load(folder / "F.npy") - 0.7 * np.load(folder / "Fneu.npy")


def _measured_snr(folder: Path, good: np.ndarray) -> np.ndarray:
    """Peak above the median by the noise, which is told from the differences of neighbouring frames."""
    traces = corrected_traces(folder)[:, good]
    noise = 1.4826 * np.median(np.abs(np.diff(traces, axis=1)), axis=1) / np.sqrt(2)
    return (traces.max(axis=1) - np.median(traces, axis=1)) / noise


@dataclass(frozen=True)
class TraceScores:
    """Correlation, over good frames, of the traces of found cells with what is true of them; each (n,)."""

    #: F, neuropil taken out, with the brightness of the cell alone.
    corrected: np.ndarray
    #: F with the true fluorescence of the cell's footprint, neuropil and neighbours included.
    raw: np.ndarray
    #: What the true mask reads in the same movie, the same neuropil taken out, with the brightness of the cell.
    true_mask: np.ndarray


def trace_scores(folder: Path, truth: Any, *, least_snr: float) -> TraceScores:
    """Compare the traces of the cells of at least this true peak signal-to-noise that were found."""
    scores = roi_scores(folder, truth)
    corrected, raw = corrected_traces(folder), np.load(folder / "F.npy")
    frames = np.memmap(folder / "imaging.frames_motionRegistered.bin", np.int16, "r").reshape(-1, truth.ny, truth.nx)
    reg = np.load(folder / "reg_outputs.npy", allow_pickle=True).item()
    good = ~np.asarray(reg["badframes"], bool)
    found = []
    for roi, cell in enumerate(scores.cell):
        if cell < 0 or truth.snr[cell] < least_snr:
            continue
        own = np.asarray(truth.traces[:, cell])
        y, x, weight = truth.mask(int(cell))
        read = (frames[:, y, x] @ weight) / weight.sum() - (raw - corrected)[roi]
        pairs = (corrected[roi], own), (raw[roi], own + truth.background[:, cell]), (read, own)
        found.append([np.corrcoef(a[good], b[good])[0, 1] for a, b in pairs])
    return TraceScores(*np.array(found).reshape(-1, 3).T)
