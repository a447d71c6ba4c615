"""Reference images: the stack of the whole window that an experimenter takes before a bout, under its ALF names.

What belongs here: finding the one raw stack of a bout, its renamed copy, the stitched stack and the metadata where the
rig did not make them, and a picture. Aligning sessions by these images is not done here.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..archive.rawtif import hash_file_content
from ..errors import InputFileError, MesoWarning, MetadataError, MissingInputError, problem
from ..pictures import inline_png
from ..session import imaging_bouts, raw_tifs
from . import ImagingLayout, LocalTif, extract_imaging_meta
from .metadata.bouts import find_meta, read_meta

REFERENCE_FOLDER = "reference"
RAW_NAME, STACK_NAME, META_NAME = "referenceImage.raw.tif", "referenceImage.stack.tif", "referenceImage.meta.json"
#: Longest side of the picture, pixels.
_PICTURE_SIDE = 240

#: Depths, rows, columns: int16 where it is made here, any real number where the rig delivered it.
Stack = npt.NDArray[Any]
#: What tifffile raises for a damaged file.
_TIF_ERRORS = (ValueError, OSError, IndexError, KeyError, TypeError, struct.error)


@dataclass(frozen=True, slots=True)
class ReferenceImages:
    """What was made of a bout's reference stack."""

    bout: str
    #: Paths below the output folder: raw, stack, metadata.
    files: tuple[str, ...]
    #: Name of the raw stack as the rig left it.
    source: str
    sha256: str
    #: Depths, rows and columns of the stitched stack.
    shape: tuple[int, int, int]
    #: Which of the files were made here, the rig not having delivered them.
    made: tuple[str, ...]
    #: Brightest value over the depths, PNG, small enough for metadata.
    picture: bytes


def reference_images(
    session_path: Path,
    out_folder: Path,
    *,
    center_ml: float | None = None,
    center_ap: float | None = None,
) -> tuple[ReferenceImages, ...]:
    """Put the reference image of each bout under its ALF names.

    Parameters
    ----------
    session_path
        Session folder; ``raw_imaging_data_NN/reference`` of each bout holds one raw stack. Only read.
    out_folder
        Folder that mirrors the session, to which the files go.
    center_ml, center_ap
        Centre of the cranial window from bregma, mm; by default from the metadata of the bout. Only asked for where
        ``referenceImage.meta.json`` must be made.

    Returns
    -------
    tuple of ReferenceImages
        One per bout that has a reference folder; a MesoWarning names those that have none. It is no error, as in
        ibllib, whose task takes reference images as optional and asserts only that no bout has two.

    Raises
    ------
    MissingInputError
        If no bout has a reference folder, or one is without a raw stack.
    InputFileError
        If a folder holds several raw stacks, or files that are not what their names say.
    MetadataError
        If metadata must be made and the window's centre is not known.
    """
    session_path, out_folder = Path(session_path), Path(out_folder)
    bouts = imaging_bouts(session_path)
    with_reference = [b for b in bouts if (b / REFERENCE_FOLDER).is_dir()]
    if not with_reference:
        raise MissingInputError(
            problem(
                session_path,
                expected=f"raw_imaging_data_NN/{REFERENCE_FOLDER} with a reference stack",
                found="none",
                remedy="Copy the reference folder from the rig, or leave the asset out for this session",
            )
        )
    missing = [b.name for b in bouts if b not in with_reference]
    if missing:
        warnings.warn(f"{session_path}: no reference folder in {', '.join(missing)}", MesoWarning, stacklevel=2)
    return tuple(_reference_of(bout, out_folder / bout.name, center_ml, center_ap) for bout in with_reference)


def stitch_stack(tif: Path, meta: dict[str, Any]) -> Stack:
    """Average the frames of each depth and put its fields side by side, where they are in the window.

    Parameters
    ----------
    tif
        Raw reference stack, as ScanImage wrote it.
    meta
        Imaging metadata of it, from :func:`~meso_core.scanimage.extract_imaging_meta`.

    Returns
    -------
    ndarray of int16, shape (n_depths, ny, nx)
        0 where there is no field. A pixel is as large as one of the first field.
    """
    layout = ImagingLayout.from_meta(meta, str(tif))
    means = _mean_pages(tif, layout)
    corners = np.array([fov["Deg"]["topLeft"] for fov in meta["FOV"]], float)
    first = meta["FOV"][0]["Deg"]
    span = np.subtract(first["bottomRight"], first["topLeft"])
    pixels = np.array([layout.fovs[0].nx, layout.fovs[0].ny])
    starts = np.rint((corners - corners.min(axis=0)) / (span / pixels)).astype(int)
    shape = (
        max(y + f.ny for f, (_, y) in zip(layout.fovs, starts, strict=True)),
        max(x + f.nx for f, (x, _) in zip(layout.fovs, starts, strict=True)),
    )
    stack = np.zeros((layout.n_slices, *shape), np.int16)
    for fov, (x, y) in zip(layout.fovs, starts, strict=True):
        field = means[fov.slice_index, fov.row_start : fov.row_stop]
        stack[fov.slice_index, y : y + fov.ny, x : x + fov.nx] = np.rint(field)
    return stack


def picture_of(stack: Stack) -> bytes:
    """Brightest value over the depths as a grey PNG, from the 1st to the 99.7th percentile."""
    from matplotlib.image import imsave

    image = stack.max(axis=0).astype(np.float32)
    image = image[:: -(-max(image.shape) // _PICTURE_SIDE), :: -(-max(image.shape) // _PICTURE_SIDE)]
    low, high = np.percentile(image, [1, 99.7])
    file = io.BytesIO()
    imsave(file, np.clip((image - low) / max(high - low, 1), 0, 1), cmap="gray", vmin=0, vmax=1, metadata={})
    return inline_png(file.getvalue())


def _reference_of(bout: Path, out: Path, center_ml: float | None, center_ap: float | None) -> ReferenceImages:
    folder, target = bout / REFERENCE_FOLDER, out / REFERENCE_FOLDER
    raw = _raw_stack(folder)
    _check_raw(raw)
    target.mkdir(parents=True, exist_ok=True)
    made = []
    if (folder / META_NAME).is_file():
        _read_json(folder / META_NAME)
        _copy(folder / META_NAME, target / META_NAME)
    else:
        (target / META_NAME).write_text(json.dumps(_meta_of(raw, bout, center_ml, center_ap)), encoding="utf-8")
        made.append(META_NAME)
    if (folder / STACK_NAME).is_file():
        stack = _read_stack(folder / STACK_NAME)
        _copy(folder / STACK_NAME, target / STACK_NAME)
    else:
        stack = stitch_stack(raw, extract_imaging_meta([raw], 0.0, 0.0)[0])  # the centre has no part in it
        _write_stack(target / STACK_NAME, stack)
        made.append(STACK_NAME)
    _copy(raw, target / RAW_NAME)
    return ReferenceImages(
        bout=bout.name,
        files=tuple(f"{bout.name}/{REFERENCE_FOLDER}/{name}" for name in (RAW_NAME, STACK_NAME, META_NAME)),
        source=raw.name,
        sha256=hash_file_content(raw),
        shape=stack.shape,
        made=tuple(made),
        picture=picture_of(stack),
    )


def _raw_stack(folder: Path) -> Path:
    """Find the one raw stack of a reference folder; copies of the same content under both names count once."""
    tifs = [t for t in raw_tifs(folder) if not t.name.lower().endswith((".stack.tif", ".stack.tiff"))]
    named = [t for t in tifs if t.name == RAW_NAME]
    if len(tifs) > 1 and named and len({t.stat().st_size for t in tifs}) == 1:
        tifs = named if len({hash_file_content(t) for t in tifs}) == 1 else tifs
    if not tifs:
        raise MissingInputError(
            problem(folder, expected="one raw reference stack (tif)", found="none", remedy="Copy it from the rig")
        )
    if len(tifs) > 1:
        raise InputFileError(
            problem(
                folder,
                expected="one raw reference stack",
                found=", ".join(t.name for t in tifs),
                remedy="Keep the one that belongs to this bout and move the others away",
            )
        )
    return tifs[0]


def _check_raw(raw: Path) -> None:
    """Insist on a tif whose pages are all there; the rig may have delivered everything that else is made from it."""
    import tifffile

    try:
        with tifffile.TiffFile(raw) as file:
            ends = [sum(end) for page in file.pages for end in zip(page.dataoffsets, page.databytecounts, strict=True)]
        found = f"pages up to byte {max(ends)} of {raw.stat().st_size}" if ends else "no page"
        whole = bool(ends) and max(ends) <= raw.stat().st_size
    except _TIF_ERRORS as error:
        raise _no_stack(raw, str(error)) from error
    if not whole:
        raise _no_stack(raw, found)


def _no_stack(raw: Path, found: str) -> InputFileError:
    return InputFileError(
        problem(raw, expected="a whole tif, the raw reference stack", found=found, remedy="Copy it from the rig again")
    )


def _meta_of(raw: Path, bout: Path, center_ml: float | None, center_ap: float | None) -> dict[str, Any]:
    """Metadata of a raw stack, with the centre of the window given or that of the bout's own metadata."""
    if center_ml is None or center_ap is None:
        path = find_meta(bout)
        center = {} if path is None else read_meta(path).get("centerMM", {})
        if not {"ML", "AP"} <= center.keys():
            raise MetadataError(
                problem(
                    bout,
                    field="centerMM",
                    expected="the centre of the cranial window (ML, AP)",
                    found="no metadata of the bout that tell it",
                    remedy="Materialise imaging_metadata first, or set the window's centre",
                )
            )
        center_ml, center_ap = float(center["ML"]), float(center["AP"])
    return extract_imaging_meta([raw], center_ml, center_ap)[0]


def _mean_pages(tif: Path, layout: ImagingLayout) -> npt.NDArray[np.float64]:
    """Mean page of each depth, shape (n_depths, height, width)."""
    source = LocalTif(tif)
    page = source.tif.page
    total = np.zeros((layout.n_slices, page.height, page.width))
    count = np.zeros(layout.n_slices)
    number = 0
    for block in source.blocks(1 << 25):
        for pixels in block:
            frame, channel = divmod(number % layout.pages_per_volume, layout.n_channels)
            if frame < layout.n_slices and channel == layout.functional_channel:
                total[frame] += pixels
                count[frame] += 1
            number += 1
    if not count.all():
        raise InputFileError(
            problem(
                tif,
                expected=f"pages of all {layout.n_slices} depths",
                found=f"{number} pages",
                remedy="Copy the reference stack from the rig again",
            )
        )
    return total / count[:, None, None]


def _read_stack(path: Path) -> Stack:
    import tifffile

    try:
        stack = np.asarray(tifffile.imread(path))
    except _TIF_ERRORS as error:
        raise InputFileError(
            problem(path, expected="a stack of images", found=str(error), remedy="Move it away; it is made again")
        ) from error
    if stack.ndim < 2 or stack.size == 0 or stack.dtype.kind not in "iuf":
        found = f"{stack.dtype} of shape {stack.shape}"
        raise InputFileError(
            problem(path, expected="a stack of grey images", found=found, remedy="Move it away; it is made again")
        )
    return stack.reshape(-1, *stack.shape[-2:])


def _write_stack(path: Path, stack: Stack) -> None:
    import tifffile

    tifffile.imwrite(path, stack, photometric="minisblack", metadata=None, software=False)


def _read_json(path: Path) -> None:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise InputFileError(
            problem(path, expected="JSON", found=str(error), remedy="Move it away; it is made again")
        ) from error


def _copy(source: Path, target: Path) -> None:
    """Copy a file with its times; one that keeps its name is linked where the file system can."""
    if source.name == target.name:
        try:
            os.link(source, target)
        except OSError:  # another file system, or one without links
            shutil.copy2(source, target)
        return
    shutil.copy2(source, target)
    if hash_file_content(source) != hash_file_content(target):
        raise InputFileError(
            problem(source, expected="a file that rests while it is copied", found="other content", remedy="Try again")
        )
