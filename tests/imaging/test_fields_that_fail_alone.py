"""Which errors are about one field of view: those become a result, all others end the run."""

from __future__ import annotations

import errno
from functools import partial
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from meso_core import errors
from meso_core.errors import CurationError, MesoError, ProcessingError, SettingsError, StorageError, WorkStoppedError
from meso_core.imaging import FailedFov, alone
from meso_core.imaging.fovs.worker import error_class, of_the_machine
from meso_core.imaging.missing import missing_qc, refuse_nothing
from meso_core.qc import Verdict

OF_THE_RUN = (StorageError, SettingsError, WorkStoppedError, CurationError)
ALL = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, MesoError)]


def failing(error: BaseException) -> NoReturn:
    raise error


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_an_error_becomes_a_result_but_for_those_of_the_run(kind: type[MesoError]) -> None:
    error = kind.at("plane2/x", expected="frames", found="none", remedy="Look at it")
    if issubclass(kind, OF_THE_RUN):
        with pytest.raises(kind):
            alone(2, lambda: failing(error), Path("/data"))
    else:
        assert alone(2, lambda: failing(error), Path("/data")) == FailedFov(2, str(error))


@pytest.mark.parametrize("error", [ValueError("a fault"), MemoryError(), KeyboardInterrupt(), SystemExit(1)], ids=repr)
def test_a_crash_and_an_interrupt_are_no_result(error: BaseException) -> None:
    with pytest.raises(type(error)):
        alone(0, lambda: failing(error), Path("/data"))


def test_work_that_succeeds_is_handed_on() -> None:
    assert alone(1, lambda: "done", Path("/data")) == "done"


def test_the_reason_is_the_same_each_time_and_wherever_the_session_lies() -> None:
    for session, clock in ((Path("/data/s"), "10:01 x"), (Path("/mnt/lab/s"), "23:59 y")):
        error = ProcessingError(f"{session}/plane2: no. Read {session}/run.log.\nIt ends: {clock}")
        assert alone(2, partial(failing, error), session) == FailedFov(2, "plane2: no. Read run.log.")


@pytest.mark.parametrize(
    ("error", "machine"),
    [
        (MemoryError("x"), True),
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EIO, "Input/output error"), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes"), True),
        (RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"), False),
        (np.linalg.LinAlgError("Singular matrix"), False),
        (ValueError("out of memory is only a word here"), False),
        (ZeroDivisionError("x"), False),
    ],
    ids=lambda value: f"{type(value).__name__} {value}"[:40] if isinstance(value, Exception) else "",
)
def test_an_error_that_nobody_foresaw_is_of_the_machine_or_of_the_movie(error: Exception, machine: bool) -> None:
    assert of_the_machine(error) is machine


def test_what_a_worker_tells_keeps_its_kind() -> None:
    assert error_class("WorkStoppedError") is WorkStoppedError
    assert error_class("CurationError") is CurationError


def test_where_every_field_failed_all_reasons_are_told() -> None:
    refuse_nothing("S", ["one"], [FailedFov(1, "dark.")])
    with pytest.raises(ProcessingError, match=r"S: expected .*, found FOV_00: cut; FOV_01: dark\. Remove the causes"):
        refuse_nothing("S", [], [FailedFov(0, "cut."), FailedFov(1, "dark.")])


def test_there_is_a_verdict_for_each_field_that_is_missing_or_left_out() -> None:
    (whole,) = missing_qc(3, {})
    assert (whole.verdict, whole.value, whole.threshold) == (Verdict.PASS, 3, 3)
    failed, out = missing_qc(2, {"FOV_01": "dark."}, ["FOV_03"])
    assert (failed.verdict, failed.fov, failed.value, failed.threshold) == (Verdict.FAIL, "FOV_01", 2, 3)
    assert failed.message.startswith("FOV_01 is missing: dark. 2 of 3 fields of view")
    assert (out.verdict, out.fov) == (Verdict.PASS, "FOV_03")
