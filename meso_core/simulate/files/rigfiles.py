"""The small files of a session folder.

What belongs here: frame QC, snapshots, experiment description. What does not: tifs, DAQ, imaging metadata.
"""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..config import SimulationConfig
from ..plan import FINE, GALVOS_FAULT, PMT_OFF

#: Labels that the rig's own tool uses.
_LABELS = {FINE: "ok", PMT_OFF: "PMT off", GALVOS_FAULT: "galvos fault"}


def write_frame_qc(folder: Path, fault: NDArray[np.uint8], bout: int, short_by: int = 0) -> None:
    """Write ``exptQC.mat`` and ``badframes.mat`` of one bout, one value per ScanImage frame.

    The order of the labels differs between bouts: on a rig it is the order in which faults occur.
    """
    order = (FINE, PMT_OFF, GALVOS_FAULT) if bout % 2 == 0 else (FINE, GALVOS_FAULT, PMT_OFF)
    frames = np.array(np.argsort(order), np.uint8)[fault][None, : fault.size - short_by]
    names = np.empty((1, len(order)), object)
    names[0] = [_LABELS[kind] for kind in order]
    _savemat(folder / "exptQC.mat", {"frameQC_frames": frames, "frameQC_names": names})
    _savemat(folder / "badframes.mat", {"badframes": np.flatnonzero(fault).astype(np.uint32)[None, :]})


def _savemat(path: Path, content: dict[str, NDArray[Any]]) -> None:
    """Save a version 5 MAT-file without the date in its header."""
    from scipy.io import savemat

    buffer = io.BytesIO()
    savemat(cast(str, buffer), content, format="5", do_compression=False)
    data = bytearray(buffer.getvalue())
    data[:116] = b"MATLAB 5.0 MAT-file, simulated".ljust(116)
    path.write_bytes(bytes(data))


def png(image: NDArray[np.uint8]) -> bytes:
    """Encode a grey picture (ny, nx)."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    ny, nx = image.shape
    rows = np.zeros((ny, nx + 1), np.uint8)
    rows[:, 1:] = image
    head = struct.pack(">IIBBBBB", nx, ny, 8, 0, 0, 0, 0)
    body = zlib.compress(rows.tobytes(), 6)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def grey(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Stretch an image to 0…255 between its 1st and 99.5th percentile."""
    low, high = np.percentile(image, (1, 99.5))
    return np.asarray(np.clip((image - low) / max(high - low, 1e-9) * 255, 0, 255), dtype=np.uint8)


def write_snapshots(session: Path, image: NDArray[np.float32]) -> None:
    """Write a picture of the screen with its caption, as experimenters leave them."""
    folder = session / "snapshots"
    folder.mkdir()
    (folder / "mean_image_FOV_00.png").write_bytes(png(grey(image)))
    (folder / "mean_image_FOV_00.txt").write_text(
        "Mean image of the first field before the session\n", encoding="utf-8"
    )


def write_description(session: Path, config: SimulationConfig) -> None:
    """Write ``_ibl_experiment.description.yaml``."""
    text = f"""devices:
  mesoscope:
    mesoscope:
      collection: raw_imaging_data*
      sync_label: neural_frames
procedures:
- Imaging
projects:
- simulated
sync:
  nidq:
    acquisition_software: timeline
    collection: raw_sync_data
    extension: npy
tasks: []
# simulated session {config.key}, genotype {config.genotype}
version: 1.0.0
"""
    (session / "_ibl_experiment.description.yaml").write_text(text, encoding="utf-8", newline="\n")
