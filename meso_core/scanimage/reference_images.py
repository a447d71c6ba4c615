"""Reference images: the stack of the whole window that an experimenter takes before a bout, under its ALF names.

What belongs here: finding the one raw stack of a bout, its renamed copy, the stitched stack and the metadata where the
rig did not make them, and a picture. What does not: aligning sessions by these images.
"""

from __future__ import annotations

import os
import shutil
import struct
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import InputFileError, MesoError, MesoWarning, MetadataError, MissingInputError
from ..json_text import json_text
from ..opening import is_there, open_plain, read_json
from ..pictures import grey_png, inline_picture
from ..session import imaging_bouts, raw_tifs
from ..storage import FileHash, hash_file
from ..storage.files.atomic import make_folder, making, replacing, write_file
from .metadata.bouts import find_meta, read_imaging_metadata
from .metadata.extract import meta_with_frames
from .reference_checks import taken_at
from .reference_stack import RECOPY, WITHOUT, Stack, stitch_stack
from .tiff.pages import MOST_BEHIND_BYTES

if TYPE_CHECKING:
    from tifffile import TiffFile

REFERENCE_FOLDER = "reference"
RAW_NAME, STACK_NAME, META_NAME = "referenceImage.raw.tif", "referenceImage.stack.tif", "referenceImage.meta.json"
#: Longest side of the picture, pixels.
_PICTURE_SIDE = 240

#: What tifffile raises for a damaged file.
_TIF_ERRORS = (
    ValueError, OSError, IndexError, KeyError, TypeError, AttributeError, ArithmeticError, MemoryError, RuntimeError,
    struct.error,
)  # fmt: skip
#: A stack of the whole window has some hundred megabytes, whatever a small file claims.
_MOST_STACK_BYTES = 1 << 32
MADE_AGAIN = "Move it away; it is made again"


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
    #: When the raw stack was taken, by the clock of the microscope's computer; None where it does not tell.
    taken_at: datetime | None
    #: Path below the output folder → size and hashes, of the files that were hashed while they were written.
    known_hashes: Mapping[str, FileHash]


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
        One per bout that has a reference folder; a MesoWarning names those that have none. They are optional, as in
        ibllib, whose task checks only that no bout has two.

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
        raise MissingInputError.at(
            session_path,
            expected=f"raw_imaging_data_NN/{REFERENCE_FOLDER} with a reference stack",
            found="none",
            remedy="Copy the reference folder from the rig, or do not run this asset for this session",
        )
    missing = [b.name for b in bouts if b not in with_reference]
    if missing:
        warnings.warn(f"{session_path}: no reference folder in {', '.join(missing)}", MesoWarning, stacklevel=2)
    return tuple(_reference_of(bout, out_folder / bout.name, center_ml, center_ap) for bout in with_reference)


def picture_of(stack: Stack) -> bytes:
    """Brightest value over the depths in grey, small enough for metadata, from the 1st to the 99.7th percentile."""
    image = stack.max(axis=0).astype(np.float32)
    image = image[:: -(-max(image.shape) // _PICTURE_SIDE), :: -(-max(image.shape) // _PICTURE_SIDE)]
    return inline_picture(grey_png(image))


def _reference_of(bout: Path, out: Path, center_ml: float | None, center_ap: float | None) -> ReferenceImages:
    folder, target = bout / REFERENCE_FOLDER, out / REFERENCE_FOLDER
    raw = _raw_stack(folder)
    _check_raw(raw)
    make_folder(target)
    place, made, known = f"{bout.name}/{REFERENCE_FOLDER}", [], {}
    if is_there(folder / META_NAME):
        read_json(folder / META_NAME, MADE_AGAIN)
        _link(folder / META_NAME, target / META_NAME)
    else:
        known[f"{place}/{META_NAME}"] = write_file(
            target / META_NAME, json_text(_meta_of(raw, bout, center_ml, center_ap), nulls=True).encode()
        )
        made.append(META_NAME)
    if is_there(folder / STACK_NAME):
        stack = read_stack(folder / STACK_NAME)
        _link(folder / STACK_NAME, target / STACK_NAME)
    else:
        stack = stitch_stack(raw, meta_with_frames([raw], 0.0, 0.0)[0])  # the centre has no part in it
        _write_stack(target / STACK_NAME, stack)
        made.append(STACK_NAME)
    content = known[f"{place}/{RAW_NAME}"] = _raw_copy(raw, target / RAW_NAME)
    return ReferenceImages(
        bout=bout.name,
        files=tuple(f"{place}/{name}" for name in (RAW_NAME, STACK_NAME, META_NAME)),
        source=raw.name,
        sha256=content.sha256,
        shape=stack.shape,
        made=tuple(made),
        picture=picture_of(stack),
        taken_at=taken_at(raw),
        known_hashes=known,
    )


def _raw_stack(folder: Path) -> Path:
    """Find the one raw stack of a reference folder; copies of the same content under both names count once."""
    tifs = [t for t in raw_tifs(folder) if not t.name.lower().endswith((".stack.tif", ".stack.tiff"))]
    named = [t for t in tifs if t.name == RAW_NAME]
    if len(tifs) > 1 and named and len({t.stat().st_size for t in tifs}) == 1:
        tifs = named if len({hash_file(t).sha256 for t in tifs}) == 1 else tifs
    if not tifs:
        raise MissingInputError.at(
            folder, expected="one raw reference stack (tif)", found="none", remedy=f"Copy it from the rig. {WITHOUT}"
        )
    if len(tifs) > 1:
        raise InputFileError.at(
            folder,
            expected="one raw reference stack",
            found=", ".join(t.name for t in tifs),
            remedy="Keep the one that belongs to this bout and move the others away",
        )
    return tifs[0]


def _check_raw(raw: Path) -> None:
    """Check that all pages of a tif are there; nothing else reads it if the rig delivered stack and metadata."""
    import tifffile

    try:
        with open_plain(raw) as opened, tifffile.TiffFile(opened) as file:
            ends = [sum(end) for page in file.pages for end in zip(page.dataoffsets, page.databytecounts, strict=True)]
        size = raw.stat().st_size
        found = f"pages up to byte {max(ends)} of {size}" if ends else "no page"
        whole = bool(ends) and max(ends) <= size <= 2 * max(ends) + MOST_BEHIND_BYTES
    except MesoError:
        raise
    except _TIF_ERRORS as error:
        raise _no_stack(raw, str(error)) from error
    if not whole:
        raise _no_stack(raw, found)


def _no_stack(raw: Path, found: str) -> InputFileError:
    return InputFileError.at(raw, expected="a complete tif, the raw reference stack", found=found, remedy=RECOPY)


def _meta_of(raw: Path, bout: Path, center_ml: float | None, center_ap: float | None) -> dict[str, Any]:
    """Metadata of a raw stack, with the centre of the window as given, or else from the bout's own metadata."""
    if center_ml is None or center_ap is None:
        path = find_meta(bout)
        if path is None:
            raise MetadataError.at(
                bout,
                field="centerMM",
                expected="the centre of the cranial window (ML, AP)",
                found="none in the metadata of the bout",
                remedy="Make the metadata of the bout first (`meso run SESSION --assets imaging_metadata`), or give "
                "center_ml and center_ap",
            )
        window = read_imaging_metadata(path).window
        center_ml, center_ap = window.ml_mm, window.ap_mm
    return meta_with_frames([raw], center_ml, center_ap)[0]


def read_stack(path: Path) -> Stack:
    """Read a stitched stack, (n_depths, ny, nx).

    Raises
    ------
    InputFileError
        If it is no stack of grey images.
    """
    with _opened_stack(path) as file:
        stack = np.asarray(file.asarray())
    if stack.ndim < 2 or stack.size == 0 or stack.dtype.kind not in "iuf":
        found = f"{stack.dtype} of shape {stack.shape}"
        raise InputFileError.at(path, expected="a stack of grey images", found=found, remedy=MADE_AGAIN)
    return stack.reshape(-1, *stack.shape[-2:])


def read_planes(path: Path) -> Iterator[npt.NDArray[Any]]:
    """Read a stitched stack depth by depth, each (ny, nx), for all of it may be larger than the memory.

    Raises
    ------
    InputFileError
        If it is damaged.
    """
    with _opened_stack(path) as file:
        if len(file.pages) == 1:  # ImageJ's, whose one page stands for all
            yield from read_stack(path)
        else:
            yield from (np.asarray(page.asarray()) for page in file.pages)


@contextmanager
def _opened_stack(path: Path) -> Iterator[TiffFile]:
    import tifffile

    try:
        with open_plain(path, limit=_MOST_STACK_BYTES) as opened, tifffile.TiffFile(opened) as file:
            if (unpacked := sum(page.nbytes for page in file.pages)) > _MOST_STACK_BYTES:
                raise ValueError(f"{unpacked} bytes once unpacked")
            yield file
    except MesoError:
        raise
    except _TIF_ERRORS as error:
        raise InputFileError.at(path, expected="a stack of images", found=str(error), remedy=MADE_AGAIN) from error


def _write_stack(path: Path, stack: Stack) -> None:
    import tifffile

    with making(path) as beside:
        tifffile.imwrite(beside, stack, photometric="minisblack", metadata=None, software=False)


def _link(source: Path, target: Path) -> None:
    """Give a file the same name in another folder, or copy it where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        _copied(source, target)


def _raw_copy(source: Path, target: Path) -> FileHash:
    """Copy the raw stack with its times and hash it on the way; one that has its ALF name already is linked."""
    if source.name == target.name:
        _link(source, target)
        return hash_file(source)
    return _copied(source, target)


def _copied(source: Path, target: Path) -> FileHash:
    with open_plain(source) as original:
        before = os.fstat(original.fileno())
        with replacing(target) as copy:
            shutil.copyfileobj(original, copy, 1 << 20)
    after = source.stat()
    if (after.st_size, after.st_mtime_ns) != (copy.content.size, before.st_mtime_ns):
        target.unlink()
        raise InputFileError.at(
            source,
            expected="a file that does not change while it is copied",
            found="its size or time changed",
            remedy="Wait until the copy from the rig has finished, then try again",
        )
    os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))
    return copy.content
