"""The work of suite2p's workers, done in this process.

A worker loads suite2p for each FOV and stage of a session, which takes longer than the small movies of tests. That
workers do the work, and give the same bytes, is shown by ``tests/imaging/test_process.py`` and by the session of
``tests/integration`` that the command line processes.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from meso_core.imaging import FovJob, FovResult, image_motion_registration, roi_detection


@contextmanager
def suite2p_may_warn() -> Iterator[None]:
    """Let pass what suite2p says of sparse masks and of pure noise, and what its dependencies say when they load."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import suite2p  # noqa: F401
    with warnings.catch_warnings():
        for message in ("Sparse invariant", "Sparse CSR tensor", "The given NumPy array is not writable", "Spatial"):
            warnings.filterwarnings("ignore", message)
        yield


def process_here(jobs: Sequence[FovJob], *, stages: Sequence[str], **_: Any) -> tuple[FovResult, ...]:
    """Do what :func:`meso_core.imaging.process_fovs` lets workers do."""
    results = []
    with suite2p_may_warn():
        for job in jobs:
            registered = image_motion_registration(job) if "registration" in stages else None
            detected = roi_detection(job) if "detection" in stages else None
            results.append(FovResult(job.options.fov, job.folder, registered, detected))
    return tuple(results)
