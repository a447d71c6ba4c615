"""Which files are datasets, and whether the server knows their type and format.

What belongs here: names. The server matches a name in two ways: against the pattern of a dataset type, or, where a type
has no pattern, by ``object.attribute``. What it does not know it refuses, or one-api's client drops it in silence; so
that is asked here first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

#: Folders that Alyx takes; at others it cuts the path off in silence.
_COLLECTION = re.compile(r"(?:[\w.-]+/)*(?:[\w.-]+)?")
#: What meso keeps for itself, by the start of the path or of the name.
_OWN = (
    (r"reports/", "a report"),
    (r"alyx/", "the record of what Alyx was told"),
    (r"(?:.*/)?_meso_", "of meso alone"),
    (r".*\.zarr/", "a part of an archive in chunks, which Alyx has no dataset for"),
    (r"suite2p/(?:.*/)?(?!imaging\.frames)[^/]+", "a working file of suite2p; the zip beside the datasets holds it"),
    (r"alf/fovs\.locations\.json", "of meso alone"),
    (r"alf/FOV_\d+/mpci\.excludedFrames", "of meso alone; mpci.badFrames and mpci.mpciFrameQC tell of these frames"),
)


def left_out(path: str) -> str:
    """Say why a published file is no dataset of Alyx; empty where it is one."""
    return next((why for pattern, why in _OWN if re.match(pattern, path)), "")


@dataclass(frozen=True, slots=True)
class FileRules:
    """Names that a server takes."""

    #: Dataset types, as the server lists them.
    types: tuple[Mapping[str, Any], ...]
    #: Extensions, with the dot.
    extensions: frozenset[str]

    @classmethod
    def of(cls, types: Iterable[Mapping[str, Any]], formats: Iterable[Mapping[str, Any]]) -> FileRules:
        """Take the rules from the server's lists of dataset types and data formats."""
        return cls(tuple(types), frozenset(str(one["file_extension"]) for one in formats))

    def why_unknown(self, path: str) -> str:
        """Say why the server would not take a file, and what a person does; empty where it takes it."""
        from one.registration import get_dataset_type

        folder, _, name = path.rpartition("/")
        if not _COLLECTION.fullmatch(folder):
            return f"its folder {folder!r} holds a character at which Alyx cuts the path off: rename the folder"
        try:
            get_dataset_type(name, self.types)
        except ValueError as error:
            if str(error).startswith("Multiple"):
                return "the server has several dataset types for it: make their patterns narrower in Alyx"
            return f"the server has no dataset type for it: enter the dataset type {_type_of(name)} in Alyx"
        extension = "." + name.rpartition(".")[2]
        if extension not in self.extensions:
            return f"the server has no data format for {extension}: enter the format in Alyx"
        return ""


def _type_of(name: str) -> str:
    """Return ``object.attribute`` of a file name, without namespace and timescale."""
    from one.alf.spec import FILE_SPEC, regex

    parts = regex(FILE_SPEC).match(name)
    return f"{parts['object']}.{parts['attribute']}" if parts else name
