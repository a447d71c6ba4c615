"""The pass over a movie: every frame to the reference, written as it comes.

What belongs here: the loop, its batches, and the binaries it writes. What does not: how shifts are found
(``phasecorr``) and applied (``warp``), and what is concluded from them (``registration``).
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from ...progress import Progress
from ..fovs import plane
from ..fovs.plane import FovJob
from .phasecorr import ShiftFinder, roll_frames
from .warp import Warper

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
    #: sha-256 of the raw frames of each channel.
    read: tuple[str, ...]
    #: File name → (bytes, sha-256) of what was written.
    written: Mapping[str, tuple[int, str]]


def register_frames(
    job: FovJob,
    raw: np.ndarray,
    chan2: np.ndarray | None,
    reference: np.ndarray,
    reg: Mapping[str, Any],
    device: Any,
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
    from suite2p.registration import bidiphase
    from suite2p.registration.register import compute_filters_and_norm

    masks = compute_filters_and_norm(
        reference,
        norm_frames=reg["norm_frames"],
        spatial_smooth=reg["smooth_sigma"],
        spatial_taper=reg["spatial_taper"],
        block_size=reg["block_size"] if reg["nonrigid"] else None,
        subpixel=reg["subpixel"],
        device=device,
    )
    lead = 1 if chan2 is not None and reg["align_by_chan2"] else 0
    on_cpu = device.type == "cpu"
    register = _on_cpu(masks, reg, job.shape, lead) if on_cpu else _on_gpu(masks, reg, device, lead)
    channels = [raw] if chan2 is None else [raw, chan2]
    names = (plane.REGISTERED, plane.REGISTERED_CHAN2)[: len(channels)]
    offsets: list[list[Any]] = []
    read = [hashlib.sha256() for _ in channels]
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(_Writer(job.folder / name, len(raw), job.shape)) for name in names]
        for start, stop in batches(len(raw), _FRAMES_AT_A_TIME if on_cpu else reg["batch_size"]):
            frames = [np.array(channel[start:stop]) for channel in channels]
            for digest, frame in zip(read, frames, strict=True):
                digest.update(frame.data)
            if reg["bidiphase"]:
                frames = [bidiphase.shift(f, int(reg["bidiphase"])) for f in frames]
            found, shifted = register(frames)
            offsets.append(found)
            for writer, channel in zip(writers, shifted, strict=True):
                writer.add(channel)
            progress(stop, len(raw), f"{job.folder.name}: frames registered")
    joined: list[Any] = [None if parts[0] is None else np.concatenate(parts) for parts in zip(*offsets, strict=True)]
    means = (writers[0].mean, writers[1].mean if chan2 is not None else None)
    y, x, fit, y1, x1, fit1 = joined
    written = {name: writer.content for name, writer in zip(names, writers, strict=True)}
    digests = tuple(digest.hexdigest() for digest in read)
    return Movement(masks[-2], masks[-1], y, x, fit, y1, x1, fit1, means, digests, written)


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
    masks: tuple[Any, ...], reg: Mapping[str, Any], device: Any, lead: int
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


class _Writer:
    """Writes a binary beside its place and renames it when it is complete; keeps the mean frame."""

    def __init__(self, path: Path, n_frames: int, shape: tuple[int, int]) -> None:
        self._path = path
        self._beside = path.with_name(f".{path.name}.part")
        self._n_frames = n_frames
        self._sha256, self._bytes = hashlib.sha256(), 0
        self.mean = np.zeros(shape, np.float32)

    @property
    def content(self) -> tuple[int, str]:
        """Bytes and sha-256 of what was written."""
        return self._bytes, self._sha256.hexdigest()

    def __enter__(self) -> _Writer:
        self._file = self._beside.open("wb")
        return self

    def add(self, frames: np.ndarray) -> None:
        self.mean += frames.sum(axis=0) / self._n_frames
        content = np.ascontiguousarray(frames, np.int16).data
        self._sha256.update(content)
        self._bytes += content.nbytes
        self._file.write(content)

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._file.flush()
            os.fsync(self._file.fileno())
        self._file.close()
        if kind is None:
            self._beside.replace(self._path)
        else:
            self._beside.unlink(missing_ok=True)
