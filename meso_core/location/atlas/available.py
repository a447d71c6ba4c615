"""Which atlas this machine has, told without loading it.

What belongs here: the answer by which two machines are compared. What does not: whether the volume is whole
(``volumes``).
"""

from __future__ import annotations

from pathlib import Path

from ..settings import LocationSettings
from .phantom import RECIPE
from .volumes import read_record


def known_atlas(settings: LocationSettings) -> str:
    """Tell the hash of what the label volume in the cache is made of.

    Parameters
    ----------
    settings
        Which atlas, and where its cache is.

    Returns
    -------
    str
        The recipe of the made-up brain; empty where this machine has made no volume of the atlas yet.
    """
    if settings.atlas == "phantom":
        return f"phantom, recipe {RECIPE}"
    res = settings.resolution_um
    name = settings.atlas_path.name if settings.atlas_path else f"annotation_{res}"
    notes = sorted(settings.cache_folder.expanduser().glob(f"{name.split('.')[0]}_*_{res}.json"), key=_age)
    record = read_record(notes[-1]) if notes else None
    return record.source_sha256[:12] if record else ""


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # it was made again just now
        return 0.0
