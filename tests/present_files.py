"""The files of a session in a folder of this machine, as one look finds them."""

from __future__ import annotations

from pathlib import Path

from meso_core.storage import PresentFiles, hash_file
from meso_core.storage.files.listing import files_below


def files_in(session_path: Path) -> PresentFiles:
    """List a session that is a folder of this machine."""
    return PresentFiles.of(files_below(session_path), lambda path: hash_file(session_path / path).sha256)
