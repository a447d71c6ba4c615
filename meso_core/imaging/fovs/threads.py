"""One thread per FOV, whatever the environment says.

What belongs here: holding the numerical libraries to one thread. FOVs run side by side in processes instead, because
frames are too small to share. And sums that are split among threads are rounded otherwise: with one thread, equal input
gives equal bytes on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread() -> Iterator[None]:
    """Hold torch, BLAS and OpenMP to one thread; also a decorator."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with one_blas_thread():
            yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Hold BLAS and OpenMP to one thread, without torch; also a decorator.

    It holds for all threads of the process: enter it once, around all that runs side by side.
    """
    import scipy.linalg  # has a BLAS of its own, which is held only if it is loaded by now
    from threadpoolctl import threadpool_limits

    assert scipy.linalg is not None
    with threadpool_limits(1):
        yield
