"""Running the stages of many FOVs side by side, within the cores and memory that there are.

What belongs here: how many workers, their environment, and the messages between them and us. What does not: the work.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import NO_MEMORY, MesoError, WorkStoppedError
from ...json_text import json_text
from ...machine import cores_at_hand, memory_at_hand, side_by_side
from ...progress import Progress, silent
from ..detection.fov import DetectionResult, detection_state, load_detection
from ..registration.fov import RegistrationResult, load_registration, registration_is_whole
from . import plane
from .job import FovJob, detection_basis
from .marker import read_marker
from .plane import DETECTION, REGISTRATION, STAGES
from .worker import error_class

#: Environment of a worker. Much of suite2p's time on CPUs is page faults: its large arrays are freed after every batch
#: and taken again for the next, and glibc hands them back to the kernel in between. These settings make glibc keep them
#: (512 × 512, one thread: suite2p's own registration 53 → 31 ms per frame; the loop here needs 7 either way, but
#: detection is suite2p's). They are read when a process starts, hence workers are started anew and never forked.
ALLOCATOR_ENV: Mapping[str, str] = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
    "MALLOC_TOP_PAD_": str(1 << 26),
    "MALLOC_ARENA_MAX": "1",
}
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass(frozen=True)
class FovResult:
    """What the stages left for one FOV; None for a stage that was not asked for."""

    fov: int
    folder: Path
    registration: RegistrationResult | None
    detection: DetectionResult | None


def process_fovs(
    jobs: Sequence[FovJob],
    *,
    stages: Sequence[str] = STAGES,
    workers: int | None = None,
    progress: Progress = silent,
) -> tuple[FovResult, ...]:
    """Register FOVs and find their ROIs, side by side; finished ones return at once.

    Parameters
    ----------
    jobs
        One order per FOV, see :func:`fov_jobs`.
    stages
        ``"registration"``, ``"detection"``, or both.
    workers
        Number of processes; default from cores and memory, see :func:`choose_workers`.
    progress
        Told the frames registered over all FOVs, and each FOV's steps.

    Returns
    -------
    tuple of FovResult
        In the order of ``jobs``.

    Raises
    ------
    MesoError
        The first FOV's error, in the order of ``jobs``, after the other FOVs have finished; they stay whole, and a
        second call resumes at those that are not.
    """
    stages = [s for s in STAGES if s in stages]
    pending = {i: open_stages for i, job in enumerate(jobs) if (open_stages := _open_stages(job, stages))}
    if pending:
        n_workers = min(workers or choose_workers(jobs), len(pending))
        failures = _Crew([(i, jobs[i], pending[i]) for i in pending], n_workers, progress).run()
        if failures:
            first = min(failures)
            if len(failures) > 1:
                failures[first].add_note(f"{len(failures)} of {len(jobs)} FOVs failed; the others are whole.")
            raise failures[first]
    return tuple(_result(job, stages, pending.get(i, ())) for i, job in enumerate(jobs))


def _open_stages(job: FovJob, stages: Sequence[str]) -> list[str]:
    """Stages that a worker has to run. After a registration the worker itself looks whether detection is whole."""
    if REGISTRATION in stages and not registration_is_whole(job):
        return list(stages)
    return [DETECTION] if DETECTION in stages and not _is_detected(job) else []


def _is_detected(job: FovJob) -> bool:
    marker = read_marker(job.folder, REGISTRATION)
    if marker is None:
        return False
    return detection_state(job.folder, detection_basis(job, marker.outputs)) in ("whole", "curated")


def _result(job: FovJob, stages: Sequence[str], done_now: Collection[str]) -> FovResult:
    return FovResult(
        job.options.fov,
        job.folder,
        load_registration(job.folder, resumed=REGISTRATION not in done_now) if REGISTRATION in stages else None,
        load_detection(job.folder, resumed=DETECTION not in done_now) if DETECTION in stages else None,
    )


def choose_workers(jobs: Sequence[FovJob]) -> int:
    """Choose the number of workers for these FOVs: one per core, fewer if memory is short.

    One process of one thread per core registers more frames per second than one process of all cores: FFTs of single
    frames are too small to share.
    """
    largest = max((memory_needed(job) for job in jobs), default=1)
    return side_by_side(largest, cores=cores_at_hand(), memory=memory_at_hand())


def memory_needed(job: FovJob) -> int:
    """Estimate a worker's peak for a FOV, bytes; the frames are counted by the size of its movie."""
    ny, nx = job.shape
    raw = job.folder / plane.RAW
    path = next((p for p in (raw, plane.find_movie(job.folder, plane.REGISTERED)) if p.is_file()), None)
    return fov_memory((ny, nx), path.stat().st_size // (2 * ny * nx) if path else 0, job.options.settings)


def fov_memory(shape: tuple[int, int], n_frames: int, settings: Mapping[str, Any]) -> int:
    """Estimate a worker's peak for a FOV, bytes: the larger of making the reference and of detection.

    An upper estimate: libraries take 1 GB (measured); frames of the reference and what sorting them needs stay below 6
    bytes per pixel and frame (a 512 × 512 FOV with 400 of them peaks at 2.3 GB, measured); suite2p's
    detection holds about four float32 copies of the binned movie.

    Parameters
    ----------
    shape, n_frames
        Of the movie: rows and columns, frames.
    settings
        suite2p's settings of the FOV.
    """
    bin_size = max(1, round(settings["tau"] * settings["fs"]))
    n_bins = min(settings["detection"]["nbins"], n_frames // bin_size)
    reference: int = 6 * min(settings["registration"]["nimg_init"], n_frames)
    return int(1.5e9 + shape[0] * shape[1] * max(reference, 16 * n_bins))


class _Crew:
    """Workers, and the queue of FOVs that they take from."""

    def __init__(self, tasks: Sequence[tuple[int, FovJob, list[str]]], n_workers: int, progress: Progress) -> None:
        self._tasks: queue.Queue[tuple[int, FovJob, list[str]]] = queue.Queue()
        for task in tasks:
            self._tasks.put(task)
        self._n_workers = n_workers
        self._progress = progress
        self._lock = threading.Lock()
        self._failures: dict[int, MesoError] = {}
        self._unexpected: list[BaseException] = []
        self._processes: set[subprocess.Popen[str]] = set()

    def run(self) -> dict[int, MesoError]:
        """Run all tasks; return the index and the error of those that failed."""
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(self._n_workers)]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            for process in list(self._processes):
                process.kill()
        if self._unexpected:
            raise self._unexpected[0]
        return self._failures

    def _work(self) -> None:
        process: subprocess.Popen[str] | None = None
        try:
            while True:
                try:
                    index, job, stages = self._tasks.get_nowait()
                except queue.Empty:
                    break
                try:
                    for stage in stages:
                        if process is not None and process.poll() is not None:
                            self._stop(process)
                            process = None
                        process = process or self._start()
                        self._converse(process, job, stage)
                except MesoError as error:
                    self._failures[index] = error
        except BaseException as error:  # noqa: BLE001  raised again by run(), in the caller's thread
            self._unexpected.append(error)
        finally:
            if process is not None:
                self._stop(process)

    def _start(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "meso_core.imaging.fovs.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **ALLOCATOR_ENV, **dict.fromkeys(_THREADS, "1")},
            text=True,
        )
        self._processes.add(process)
        return process

    def _stop(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        try:
            process.stdin.write("stop\n")
            process.stdin.flush()
        except OSError:  # it has died, which was reported where its answer was awaited
            process.kill()
        with contextlib.suppress(OSError):  # closing writes again what a dead worker did not read
            process.stdin.close()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
        self._processes.discard(process)

    def _converse(self, process: subprocess.Popen[str], job: FovJob, stage: str) -> None:
        """Order one stage and listen until it is done, has failed, or the worker is gone."""
        assert process.stdin is not None
        assert process.stdout is not None
        order = {"job": json.loads(job.to_json()), "stage": stage}
        try:
            process.stdin.write(json_text(order) + "\n")
            process.stdin.flush()
        except OSError as error:
            raise _died(process, job, stage) from error
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "progress":
                with self._lock:
                    self._progress(event["done"], event["total"], event["what"])
            elif event["event"] == "failed":
                raise error_class(event["kind"])(event["message"])
            else:
                return
        raise _died(process, job, stage)


def _died(process: subprocess.Popen[str], job: FovJob, stage: str) -> WorkStoppedError:
    code = process.wait()
    how = f"exit code {code}" if code >= 0 else f"a worker that was killed by signal {-code}"
    hint = f" ({NO_MEMORY}, most often)" if code == -9 else ""
    return WorkStoppedError.at(
        job.folder,
        expected=f"the worker to finish {stage}",
        found=f"{how}{hint}. Its log ends: {job.log_tail()}",
        remedy="Free memory, or set MESO_CORES to fewer, and run again; finished FOVs are not repeated",
    )
