"""How a FOV moved, and what registration left of it.

What belongs here: reading suite2p's registration outputs of a FOV, and measures of shifts and images. What does not:
registering (``imaging``).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...imaging.fovs import plane

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class WorstComponent:
    """The principal component of the registered movie whose ends are furthest apart."""

    #: Counted from 1.
    number: int
    #: px: rigid shift between its ends, and the largest non-rigid one.
    rigid_px: float
    nonrigid_px: float
    #: Mean frames at its bottom and its top, (rows, columns).
    bottom: NDArray[Any]
    top: NDArray[Any]


@dataclass(frozen=True, slots=True)
class FovMotion:
    """Motion of one FOV, as registration found it."""

    #: (n_frames,) px: rigid shifts that were taken out.
    y: Floats
    x: Floats
    #: (n_frames,) px: largest shift of any block besides; None where registration was rigid.
    nonrigid: Floats | None
    #: (n_frames - 1,) px: largest displacement of any block from each frame to the next.
    step: Floats
    #: (n_frames,) suite2p's phase correlation with the reference; higher is more alike.
    correlation: Floats
    #: (n_frames,) whether it is left out of detection.
    is_bad: NDArray[np.bool_]
    reference: NDArray[Any]
    mean_image: NDArray[Any]
    worst: WorstComponent | None
    #: (n_components,) px: rigid shift between the ends of each component; empty where that was not measured.
    component_shifts: Floats
    #: First row and first column of the part that is in sight in all frames.
    corner: tuple[int, int] = (0, 0)

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return len(self.y)

    @property
    def range_px(self) -> float:
        """Distance between the furthest of the usual positions, px: 1st to 99th percentile along both axes."""
        low, high = np.percentile(np.stack([self.y, self.x]), [1, 99], axis=1)
        return float(np.hypot(*(high - low)))

    @property
    def jump_px(self) -> float:
        """Largest rigid step from one frame to the next, px, among frames that are not bad."""
        steps = np.hypot(np.diff(self.y), np.diff(self.x))
        good = ~(self.is_bad[1:] | self.is_bad[:-1])
        return float(steps[good].max()) if good.any() else 0.0


def read_motion(folder: Path) -> FovMotion:
    """Read what registration left in ``planeN``.

    Raises
    ------
    MissingInputError, InputFileError
        If ``reg_outputs.npy`` is not there, or is damaged.
    """
    outputs = plane.load_dict(folder / "reg_outputs.npy")
    rigid = np.stack([np.asarray(outputs[name], np.float64) for name in ("yoff", "xoff")])
    nonrigid, blocks = None, rigid[..., np.newaxis]
    if "yoff1" in outputs:
        own = np.stack([np.asarray(outputs[name], np.float64) for name in ("yoff1", "xoff1")])
        nonrigid, blocks = np.hypot(*own).max(axis=1), blocks + own
    worst, shifts = _components(outputs)
    return FovMotion(
        rigid[0],
        rigid[1],
        nonrigid,
        np.hypot(*np.diff(blocks, axis=1)).max(axis=1),
        np.asarray(outputs["corrXY"], np.float64),
        np.asarray(outputs["badframes"], bool),
        np.asarray(outputs["refImg"]),
        np.asarray(outputs["meanImg"]),
        worst,
        shifts,
        (int(outputs["yrange"][0]), int(outputs["xrange"][0])),
    )


def detected_images(folder: Path, shape: tuple[int, int], corner: tuple[int, int]) -> dict[str, NDArray[Any]]:
    """Read the maximum and the correlation image that detection left in ``planeN``, by name, in the FOV's full size.

    They cover the part of the FOV that is in sight in all frames, from ``corner`` on; around it they are NaN.
    """
    detected = plane.load_dict(folder / "detect_outputs.npy")
    top, left = corner
    images = {}
    for name, key in (("maximum", "max_proj"), ("correlation", "Vcorr")):
        part = np.asarray(detected.get(key, np.zeros(0)))
        if part.ndim == 2 and top + part.shape[0] <= shape[0] and left + part.shape[1] <= shape[1]:
            whole = np.full(shape, np.nan)
            whole[top : top + part.shape[0], left : left + part.shape[1]] = part
            images[name] = whole
    return images


def crispness(image: NDArray[Any]) -> float:
    """Measure how sharp an image is: the root of the mean squared gradient, over the image's mean.

    A mean image is the sharper, the less its frames move against each other (Frobenius norm of the gradient, as in
    NoRMCorre, Pnevmatikakis and Giovannucci 2017, J Neurosci Methods 291, 83; here per pixel and relative to the
    light, so that fields compare).
    """
    values = np.asarray(image, np.float64)
    along_y, along_x = np.gradient(values)
    mean = abs(values.mean())
    return float(np.sqrt((along_y**2 + along_x**2).mean()) / mean) if mean else float("nan")


def _components(outputs: dict[str, Any]) -> tuple[WorstComponent | None, Floats]:
    if outputs.get("regDX") is None or np.size(outputs["regDX"]) == 0:
        return None, np.zeros(0)
    shifts, ends = np.asarray(outputs["regDX"], np.float64), np.asarray(outputs["regPC"])
    k = int(shifts[:, 0].argmax())
    # copies: a part would keep all components in memory
    found = WorstComponent(k + 1, float(shifts[k, 0]), float(shifts[k, 2]), *ends[:, k].copy())
    return found, shifts[:, 0]
