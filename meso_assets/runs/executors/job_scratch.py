"""A folder for what a job on a node writes for itself, gone when the job is.

What belongs here: making it, and clearing away those of jobs that were killed. It holds nothing that another step
reads: that is in the session and in the home.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from meso_core.storage.files.atomic import make_folder, storage_errors


@contextmanager
def own_scratch(name: str) -> Iterator[Path]:
    """Give a job a folder for temporary files on the disk of its node, and take it away with all that is in it.

    Folders of jobs that were killed on this node go too: nobody holds their lock.

    Raises
    ------
    StorageError
        If the folder of temporary files of the node (``TMPDIR``) cannot be written.
    """
    above = Path(tempfile.gettempdir()) / f"meso-jobs-{os.getuid()}"
    with storage_errors(above):
        make_folder(above)
        for other in above.glob("*.lock"):
            _clear(other)
        folder, lock = above / name, above / f"{name}.lock"
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        make_folder(folder)
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.unlink(missing_ok=True)
        os.close(descriptor)


def _clear(lock: Path) -> None:
    """Clear away the folder of a job that is gone."""
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    else:
        shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
        lock.unlink(missing_ok=True)
    finally:
        os.close(descriptor)
