"""suite2p's results of one FOV as ALF datasets.

What belongs here: the renaming and reshaping from ``planeN`` to the names and shapes of ``meso_core.datasets``, ROI
identities, and the zip that keeps suite2p's own files. What does not: writing ALF files (``storage``), and datasets
that do not come from suite2p.
"""

from __future__ import annotations

import hashlib
import io
import os
import uuid
import zipfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np

from ..errors import InputFileError, MissingInputError
from ..opening import RECORD_BYTES, map_array, read_plain
from ..storage.files.atomic import replacing
from ..storage.files.hashing import FileHash
from .detection.results import DETECT_AGAIN, SETTINGS, load_classification, load_stat
from .fovs import plane

if TYPE_CHECKING:
    from ..datasets import DatasetValue

#: Namespace of ROI identities: ``uuid5(NAMESPACE_URL, "mpciROIs.uuids")``.
ROI_NAMESPACE = uuid.UUID("e86484e9-488e-542c-b5be-9fa178990bc1")

_TRACES = {
    "mpci.ROIActivityF": "F.npy",
    "mpci.ROINeuropilActivityF": "Fneu.npy",
    "mpci.ROIActivityDeconvolved": "spks.npy",
}
#: Joined to the ``ops.npy`` that older tools read; the later win.
_JOINED = ("db.npy", SETTINGS, "reg_outputs.npy", "detect_outputs.npy")
#: The date of every member of the zip, so that equal content gives equal bytes.
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)


def export_rois(folder: str | os.PathLike[str], *, identity: str) -> dict[str, DatasetValue]:
    """Read suite2p's results of one FOV as ALF datasets.

    Parameters
    ----------
    folder
        ``suite2p/planeN`` of a FOV whose ROIs were detected.
    identity
        What tells this FOV from every other, as in ``"SP035/2023-03-03/001/FOV_00"``; goes into the ROIs' UUIDs.

    Returns
    -------
    dict
        ==================================== ====================== ==============================================
        ``mpci.ROIActivityF``                (n_frames, n_rois) f4  also at bad frames, see :func:`roi_detection`
        ``mpci.ROINeuropilActivityF``        (n_frames, n_rois) f4
        ``mpci.ROIActivityDeconvolved``      (n_frames, n_rois) f4
        ``mpci.badFrames``                   (n_frames,) bool       the experimenter's, and those of large shifts
        ``mpciMeanImage.images``             (nY, nX) f8            after registration
        ``mpciROIs.stackPos``                (n_rois, 3) int        median y, x, px; z is 0: a FOV is one plane
        ``mpciROIs.mpciROITypes``            (n_rois,) i2           value of ``mpciROITypes.names``; a person's
                                                                    edits of ``iscell.npy`` count
        ``mpciROITypes.names``               table                  roi_values, roi_labels
        ``mpciROIs.cellClassifier``          (n_rois,) f8           probability
        ``mpciROIs.uuids``                   (n_rois,) str          from the content: equal masks of the same FOV have
                                                                    equal UUIDs, run for run
        ``mpciROIs.masks``                   (n_rois, nY, nX) f4    sparse GCXS, suite2p's ``lam``
        ``mpciROIs.neuropilMasks``           (n_rois, nY, nX) bool  sparse GCXS
        ==================================== ====================== ==============================================

    Raises
    ------
    MissingInputError
        If a file of suite2p is missing.
    InputFileError
        If files disagree in the number of ROIs or frames.
    """
    import pandas as pd

    folder = Path(folder)
    reg = plane.load_dict(folder / "reg_outputs.npy")
    stat = load_stat(folder)
    iscell = load_classification(folder)
    bad = np.asarray(reg["badframes"], bool)
    mean = np.asarray(reg["meanImg"], np.float64)
    datasets: dict[str, Any] = {}
    for name, file in _TRACES.items():
        trace = map_array(folder / file, DETECT_AGAIN)
        _check_shape(folder / file, trace.shape, (len(stat), len(bad)))
        datasets[name] = np.ascontiguousarray(trace.T, np.float32)
    _check_shape(folder / "iscell.npy", iscell.shape, (len(stat), 2))
    masks, neuropil = roi_masks(stat, mean.shape)
    return datasets | {
        "mpci.badFrames": bad,
        "mpciMeanImage.images": mean,
        "mpciROIs.stackPos": np.array([(*roi["med"], 0) for roi in stat], int).reshape(-1, 3),
        "mpciROIs.mpciROITypes": iscell[:, 0].astype(np.int16),
        "mpciROITypes.names": pd.DataFrame([(0, "no cell"), (1, "cell")], columns=["roi_values", "roi_labels"]),
        "mpciROIs.cellClassifier": iscell[:, 1].astype(np.float64),
        "mpciROIs.uuids": roi_uuids(stat, identity),
        "mpciROIs.masks": masks,
        "mpciROIs.neuropilMasks": neuropil,
    }


def roi_masks(stat: np.ndarray, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """Stack the masks of all ROIs.

    Parameters
    ----------
    stat
        (n_rois,) suite2p's dictionaries.
    shape
        Rows and columns of the FOV.

    Returns
    -------
    masks, neuropil_masks
        sparse.GCXS, (n_rois, nY, nX), float32 weights and bool.
    """
    import sparse

    full = (len(stat), *shape)
    if len(stat) == 0:
        return sparse.GCXS.from_numpy(np.zeros(full, np.float32)), sparse.GCXS.from_numpy(np.zeros(full, bool))
    surroundings = _surroundings(stat)
    ids = [np.repeat(np.arange(len(stat)), [*map(len, of)]) for of in ([roi["ypix"] for roi in stat], surroundings)]
    y, x, weight = (np.concatenate([roi[key] for roi in stat]) for key in ("ypix", "xpix", "lam"))
    around = np.unravel_index(np.concatenate(surroundings), shape)
    masks = sparse.COO(np.stack([ids[0], y, x]), weight.astype(np.float32), shape=full)
    neuropil = sparse.COO(np.stack([ids[1], *around]), np.ones(len(ids[1]), bool), shape=full)
    return sparse.GCXS.from_coo(masks), sparse.GCXS.from_coo(neuropil)


def _surroundings(stat: np.ndarray) -> list[np.ndarray]:
    """List the pixels of each ROI's neuropil, flat.

    suite2p's GUI notes none for a ROI that a person made: one that was merged has those of all that it was made of, for
    its neuropil is their mean; of one that was drawn they are not known.
    """
    own = [np.asarray(roi.get("neuropil_mask", ()), int).ravel() for roi in stat]
    for index, roi in enumerate(stat):
        members = np.asarray(roi.get("imerge", ())).ravel()
        if "neuropil_mask" in roi or members.dtype.kind not in "iu":
            continue
        parts = [own[member] for member in members if 0 <= member < len(stat)]
        own[index] = np.unique(np.concatenate(parts)) if parts else own[index]
    return own


def roi_uuids(stat: np.ndarray, identity: str) -> np.ndarray:
    """UUIDs derived from the ROIs' masks: pixels and weights, in the order of the pixels.

    Parameters
    ----------
    stat
        (n_rois,) suite2p's dictionaries.
    identity
        See :func:`export_rois`.

    Returns
    -------
    numpy.ndarray
        (n_rois,) str. ROIs of equal masks, which suite2p does not make but a person might, are counted.
    """
    seen: Counter[str] = Counter()
    uuids = []
    for roi in stat:
        order = np.lexsort((roi["xpix"], roi["ypix"]))
        parts = (roi["ypix"].astype("<i4"), roi["xpix"].astype("<i4"), roi["lam"].astype("<f4"))
        digest = hashlib.sha256(b"".join(part[order].tobytes() for part in parts)).hexdigest()
        name = f"{identity}/{digest}" + (f"/{seen[digest]}" if seen[digest] else "")
        seen[digest] += 1
        uuids.append(str(uuid.uuid5(ROI_NAMESPACE, name)))
    return np.array(uuids, dtype=str)


def zip_plane(folder: str | os.PathLike[str], target: str | os.PathLike[str]) -> FileHash:
    """Pack suite2p's own files of a FOV (all but movies and logs) as ``_suite2p_ROIData.raw.zip``.

    Unzipped anywhere, the folder opens in suite2p's GUI: ``settings.npy`` is that of detection, and ``ops.npy`` joins
    the settings and all that was found. Equal content gives equal bytes.

    Parameters
    ----------
    folder
        ``suite2p/planeN`` of a FOV whose ROIs were detected.
    target
        File to write.

    Returns
    -------
    FileHash
        What was written.

    Raises
    ------
    MissingInputError
        If ROIs were not detected.
    """
    folder, target = Path(folder), Path(target)
    names = {p.name for p in folder.iterdir() if p.suffix == ".npy" and not p.name.startswith(".")}
    if "stat.npy" not in names:
        raise MissingInputError.at(
            folder, expected="suite2p's results", found="no stat.npy", remedy="Detect ROIs first"
        )
    joined = SETTINGS in names
    if joined:
        names = names - {SETTINGS} | {"ops.npy", "settings.npy"}
    with replacing(target) as file, zipfile.ZipFile(cast("BinaryIO", file), "w") as packed:
        for name in sorted(names):
            info = zipfile.ZipInfo(name, _ZIP_DATE)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            packed.writestr(info, _content(folder, name, joined=joined))
    return file.content


def _content(folder: Path, name: str, *, joined: bool) -> bytes:
    """Read a file for the zip; what registration wrote is replaced by what detection adds to it."""
    if joined and name == "ops.npy":
        parts = [plane.load_dict(folder / part) for part in _JOINED]
        buffer = io.BytesIO()
        plane.dump_objects(buffer, {key: value for part in parts for key, value in part.items()})
        return buffer.getvalue()
    return read_plain(folder / (SETTINGS if joined and name == "settings.npy" else name), RECORD_BYTES)


def _check_shape(path: Path, found: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if found != expected:
        raise InputFileError.at(
            path,
            expected=f"shape {expected} (ROIs of stat.npy, frames of reg_outputs.npy)",
            found=str(found),
            remedy=f"Restore the files that belong together, or: {DETECT_AGAIN}",
        )
