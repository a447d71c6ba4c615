"""Which names are no data: what operating systems, file servers and copies that are not finished leave in folders.

What belongs here: the one decision, by name alone. It holds for files and folders, at every depth: tifs, DAQ, bouts,
sessions, subjects.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

PARTIAL_COPY = "a copy that is not finished"

#: Of copy programs and browsers; rsync writes ``.name.6XcHrs`` until a file is whole.
_PARTIAL = re.compile(
    r".+\.(part|partial|filepart|crdownload|tmp)|\..+\.(tiff?|mat|npy|json|htsv|ya?ml|bz2|png|txt)\.\w{6}",
    re.IGNORECASE | re.DOTALL,
)
_LEFT_BEHIND = {
    "thumbs.db": "Windows",
    "ehthumbs.db": "Windows",
    "desktop.ini": "Windows",
    "$recycle.bin": "Windows",
    "system volume information": "Windows",
    "@eadir": "a Synology server",
    "#recycle": "a Synology server",
    "#snapshot": "a Synology server",
    "@recycle": "a QNAP server",
    "__macosx": "macOS",
    "icon\r": "macOS",
    "lost+found": "Linux",
}


def why_ignored(path: str) -> str:
    """Say why a file or folder is no data; empty where it may be.

    Parameters
    ----------
    path
        Name, or path with forward slashes below the root, the session or the bout.

    Examples
    --------
    >>> why_ignored("raw_imaging_data_00/._x_00001.tif")
    'a hidden file'
    >>> why_ignored("x_00001.tif.part")
    'a copy that is not finished'
    >>> why_ignored("raw_imaging_data_00/x_00001.tif")
    ''
    """
    if "/" not in path:
        return _why(path)
    return next((why for part in path.split("/") if (why := _why(part))), "")


def ignored_among(paths: Iterable[str]) -> dict[str, str]:
    """Path → why it is no data, for those that are none; of an ignored folder, the folder alone."""
    found = {}
    for path in paths:
        parts = path.split("/")
        for depth, part in enumerate(parts, start=1):
            if why := _why(part):
                found["/".join(parts[:depth])] = why
                break
    return dict(sorted(found.items()))


def unfinished_copies(paths: Iterable[str]) -> tuple[str, ...]:
    """Name the copies that go on: a backup (``x~``) counts only where what it is the backup of is not there."""
    there = set(paths)
    found = [path for path, why in ignored_among(there).items() if why == PARTIAL_COPY]
    return tuple(path for path in found if not (path.endswith("~") and path[:-1] in there))


@lru_cache(maxsize=1 << 14)
def _why(name: str) -> str:
    if name.startswith("._"):  # macOS keeps there what another file system cannot, of partial copies too
        return "a hidden file"
    if _PARTIAL.fullmatch(name) or (name.endswith("~") and len(name) > 1):
        return PARTIAL_COPY
    if name.lower() in _LEFT_BEHIND:
        return f"left by {_LEFT_BEHIND[name.lower()]}"
    return "a hidden file" if name.startswith(".") else ""
