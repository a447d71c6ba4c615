"""Which labels of a session a person has edited since they were published.

What belongs here: which files to compare. How two of them differ is in ``meso_core.curation``.
"""

from __future__ import annotations

import re

from meso_core.curation import hand_edit
from meso_core.session import fov_name
from meso_core.storage import Manifest, PresentFiles, Session

_CLASSIFICATION = re.compile(r"suite2p/plane(\d+)/iscell\.npy")


def labels_edited(session: Session, present: PresentFiles, manifest: Manifest) -> tuple[str, ...]:
    """Say which labels were edited in suite2p's GUI: how many, when and by whom.

    Parameters
    ----------
    session, present
        The session, and its files.
    manifest
        What was published of the ROIs.
    """
    found = []
    for record in manifest.files:
        plane = _CLASSIFICATION.fullmatch(record.path)
        if plane is None or record.path not in present.files or present.is_unchanged(record):
            continue
        published = f"alf/{fov_name(int(plane[1]))}/mpciROIs.mpciROITypes.npy"
        there = [path for path in (record.path, published) if path in present.files]
        if (edit := hand_edit(session.fetch(there), record.path, published)) is not None:
            found.append(str(edit))
    return tuple(found)
