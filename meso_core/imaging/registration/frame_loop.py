"""The pass over a movie: every frame to the reference, written as it comes.

What belongs here: the loop, its batches, and the binaries it writes. What does not: how shifts are found
(``phasecorr``) and applied (``warp``), and what is concluded from them (``registration``).
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ...progress import Progress
from ...storage.files.atomic import HashedFile, replacing
from ...storage.files.hashing import FileHash
from ..fovs import plane
from ..fovs.job import FovJob
from .phasecorr import ShiftFinder, roll_frames
from .warp import Warper

if TYPE_CHECKING:
    import torch

#: Frames at a time on a CPU. Results do not depend on it: every frame is registered on its own, to a reference made
#: beforehand. A 512 × 512 frame takes 5 MB of spectra in the non-rigid step; four of them stay in the processor's
#: cache, and more only cost memory (measured: 1 to 10 frames are equally fast, suite2p's 500 three times slower).
_FRAMES_AT_A_TIME = 4

#: Offsets of a batch as numpy arrays (y, x, correlation, and the same in blocks, or None), and its shifted channels.
_Registered: TypeAlias = "tuple[list[Any], list[np.ndarray]]"


@dataclass(frozen=True)
class Movement:
    """Shifts of all frames, as suite2p names them, and the means of what was written."""

    rmin: Any
    rmax: Any
    yoff: np.ndarray
    xoff: np.ndarray
    corr: np.ndarray
    yoff1: np.ndarray | None
    xoff1: np.ndarray | None
    corr1: np.ndarray | None
    #: Functional and second channel.
    means: tuple[np.ndarray, np.ndarray | None]
    #: sha-256 of the raw frames of each channel; empty where the job's basis tells their version.
    read: tuple[str, ...]
    #: File name → content of what was written.
    written: Mapping[str, FileHash]


def register_frames(
    job: FovJob,
    raw: np.ndarray,
    chan2: np.ndarray | None,
    reference: np.ndarray,
    reg: Mapping[str, Any],
    device: torch.device,
    progress: Progress,
) -> Movement:
    """Shift every frame of both channels to the reference, in one pass, and write the registered binaries.

    Parameters
    ----------
    job
        The order; the binaries are written to its folder.
    raw, chan2
        (n_frames, ny, nx) int16, functional and second channel.
    reference
        (ny, nx) int16.
    reg
        suite2p's ``settings["registration"]``.
    device
        torch device.
    progress
        Told the frames.
    """
    masks = _masks(reference, reg, device)
    lead = 1 if chan2 is not None and reg["align_by_chan2"] else 0
    on_cpu = device.type == "cpu"
    register = _on_cpu(masks, reg, job.shape, lead) if on_cpu else _on_gpu(masks, reg, device, lead)
    channels = [raw] if chan2 is None else [raw, chan2]
    names = (plane.REGISTERED, plane.REGISTERED_CHAN2)[: len(channels)]
    digests = None if job.basis.inputs else [hashlib.sha256() for _ in channels]
    offsets = _Offsets(len(raw))
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(replacing(job.folder / name)) for name in names]
        movies = [_Movie(file, len(raw), job.shape) for file in files]
        for start, stop in batches(len(raw), _FRAMES_AT_A_TIME if on_cpu else reg["batch_size"]):
            found, shifted = register(_read(channels, start, stop, reg["bidiphase"], digests))
            offsets.put(start, found)
            for movie, frames in zip(movies, shifted, strict=True):
                movie.add(frames)
            progress(stop, len(raw), f"{job.folder.name}: frames registered")
    means = (movies[0].mean, movies[1].mean if chan2 is not None else None)
    written = {name: file.content for name, file in zip(names, files, strict=True)}
    read = tuple(digest.hexdigest() for digest in digests or ())
    y, x, fit, y1, x1, fit1 = offsets.arrays
    return Movement(masks[-2], masks[-1], y, x, fit, y1, x1, fit1, means, read, written)


def _masks(reference: np.ndarray, reg: Mapping[str, Any], device: torch.device) -> tuple[Any, ...]:
    from suite2p.registration.register import compute_filters_and_norm

    masks: tuple[Any, ...] = compute_filters_and_norm(
        reference,
        norm_frames=reg["norm_frames"],
        spatial_smooth=reg["smooth_sigma"],
        spatial_taper=reg["spatial_taper"],
        block_size=reg["block_size"] if reg["nonrigid"] else None,
        subpixel=reg["subpixel"],
        device=device,
    )
    return masks


def _read(
    channels: list[np.ndarray], start: int, stop: int, bidiphase: float, digests: list[hashlib._Hash] | None
) -> list[np.ndarray]:
    """Copy a batch of each channel into memory, hash it where asked, and shift its lines where they are to be."""
    from suite2p.registration import bidiphase as lines

    batch = [np.array(channel[start:stop]) for channel in channels]
    for digest, frames in zip(digests or (), batch, strict=False):
        digest.update(frames.data)
    return [lines.shift(frames, int(bidiphase)) for frames in batch] if bidiphase else batch


def _on_cpu(
    masks: tuple[Any, ...], reg: Mapping[str, Any], shape: tuple[int, int], lead: int
) -> Callable[[list[np.ndarray]], _Registered]:
    find = ShiftFinder(masks, reg, shape)
    warp = Warper(masks[-3], shape) if masks[-3] else None

    def register(frames: list[np.ndarray]) -> _Registered:
        y, x, fit, y1, x1, fit1, rolled = find(frames[lead])
        others = [rolled if i == lead else roll_frames(f, y.tolist(), x.tolist()) for i, f in enumerate(frames)]
        shifted = others if warp is None or y1 is None else [warp(f, y1, x1) for f in others]
        return [None if o is None else o.numpy() for o in (y, x, fit, y1, x1, fit1)], shifted

    return register


def _on_gpu(
    masks: tuple[Any, ...], reg: Mapping[str, Any], device: torch.device, lead: int
) -> Callable[[list[np.ndarray]], _Registered]:
    """suite2p's own functions: a GPU has the memory bandwidth that they ask for."""
    import torch
    from suite2p.registration.register import compute_shifts, shift_frames

    def register(frames: list[np.ndarray]) -> _Registered:
        there = [torch.from_numpy(f).to(device) for f in frames]
        y, x, fit, y1, x1, fit1 = compute_shifts(
            masks,
            there[lead].clone(),
            maxregshift=reg["maxregshift"],
            smooth_sigma_time=0,
            snr_thresh=reg["snr_thresh"],
            maxregshiftNR=reg["maxregshiftNR"],
        )[:6]
        shifted = [shift_frames(f, y, x, y1, x1, masks[-3], device=device) for f in there]
        return [None if o is None else o.cpu().numpy() for o in (y, x, fit, y1, x1, fit1)], shifted

    return register


def batches(n_frames: int, size: int) -> list[tuple[int, int]]:
    """Cut a movie in nearly equal batches; none is a lone frame, which suite2p's ``transform_data`` would flatten.

    Parameters
    ----------
    n_frames
        Frames of the movie.
    size
        Frames of a batch at most (three if it were one or two and a lone frame remained).
    """
    n_batches = max(1, min(-(-n_frames // size), n_frames // 2))
    edges = np.linspace(0, n_frames, n_batches + 1, dtype=int)
    return [(int(a), int(b)) for a, b in itertools.pairwise(edges)]


class _Offsets:
    """What is found in all frames, in arrays that are as long as the movie from the start.

    Kept one by one, the batches' small arrays would lie among the large ones that come and go, and no hole between them
    would take the next large one: a worker would grow with the movie (512 × 512: by 0.9 MB a frame, measured).
    """

    def __init__(self, n_frames: int) -> None:
        self._n_frames = n_frames
        self.arrays: list[Any] = []

    def put(self, start: int, found: list[Any]) -> None:
        """Copy what was found in the frames from ``start`` on; None stands for what is not looked for."""
        if not self.arrays:
            self.arrays = [None if f is None else self._long(f) for f in found]
        for mine, part in zip(self.arrays, found, strict=True):
            if mine is not None:
                mine[start : start + len(part)] = part

    def _long(self, part: np.ndarray) -> np.ndarray:
        """Make an array of all frames, with axes in memory as those of a batch: the order is saved with the values."""
        by_column = part.ndim > 1 and part.flags.f_contiguous
        return np.empty((self._n_frames, *part.shape[1:]), part.dtype, order="F" if by_column else "C")


class _Movie:
    """A registered binary that is being written, and its mean frame."""

    def __init__(self, file: HashedFile, n_frames: int, shape: tuple[int, int]) -> None:
        self._file = file
        self._n_frames = n_frames
        self.mean = np.zeros(shape, np.float32)

    def add(self, frames: np.ndarray) -> None:
        self.mean += frames.sum(axis=0) / self._n_frames
        self._file.write(np.ascontiguousarray(frames, np.int16).data)
