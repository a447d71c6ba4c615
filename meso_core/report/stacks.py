"""The fields of a session in the reference stack of its window.

What belongs here: which stack tells of which field. What does not: cutting it (``scanimage``), and comparing.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path

from ..errors import MesoWarning, MetadataError
from ..scanimage.reference_field import FieldStack, cut_field, read_reference_metadata, tells_depths
from ..session import Fov
from ..session.imaging import ImagingMetadata
from .inputs import ReportInputs


def tells_any_depth(metadata_file: Path, fovs: Iterable[Fov]) -> bool:
    """Whether a reference stack, by its metadata, tells depths of any of the fields.

    Warns
    -----
    MesoWarning
        If its metadata are none of ScanImage's.
    """
    metadata = _metadata(metadata_file)
    return metadata is not None and any(tells_depths(metadata, fov) for fov in fovs)


def field_stack(inputs: ReportInputs, fov: Fov) -> FieldStack | None:
    """Cut a field out of the first reference stack of the session that shows it; None where none tells its depth.

    Raises
    ------
    InputFileError
        If a stack is damaged.
    """
    for files in inputs.references.values():
        metadata = _metadata(files.metadata)
        if metadata is not None and (found := cut_field(files.stack, metadata, fov)) is not None:
            return found
    return None


def _metadata(file: Path) -> ImagingMetadata | None:
    try:
        return read_reference_metadata(file)
    except MetadataError as error:
        warnings.warn(f"Depths are not told from this reference stack: {error}", MesoWarning, stacklevel=3)
        return None
