"""Errors of ``meso_core``, as Dagster shows them; its warnings are in ``io.tolerated``.

What belongs here: the frame around everything that calls ``meso_core`` in a step.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

import dagster as dg

from meso_core.errors import NO_MEMORY, MesoError, WorkStoppedError

from ..io.tolerated import tolerating
from ..runs.settings.engines import is_job_of_engine

Context: TypeAlias = dg.AssetExecutionContext | dg.OpExecutionContext


@contextmanager
def guarded(context: Context) -> Iterator[list[str]]:
    """Log what ``meso_core`` tolerates, and turn its errors into failures that name them.

    In a job of an engine, a worker that was killed for want of memory is tried once more: the engine gives it more.

    Any other exception is a fault of the code, not of the session: the log says of which session and asset, and it goes
    on as it is, with its traceback.

    Yields
    ------
    list of str
        Messages of the warnings, filled when the block ends.
    """
    try:
        with tolerating(context.log) as tolerated:
            yield tolerated
    except MesoError as error:
        if is_job_of_engine() and isinstance(error, WorkStoppedError) and NO_MEMORY in str(error):
            context.log.warning(f"{error} It is tried once more, with more memory where the engine can give it")
            raise dg.RetryRequested(max_retries=1) from error
        name = type(error).__name__
        raise dg.Failure(f"{name}: {error}", metadata={"error": name}, allow_retries=False) from error
    except (dg.RetryRequested, dg.Failure):
        raise
    except Exception as error:
        steps = getattr(context, "op_execution_context", context)  # an asset's context holds that of its step
        where, kind = f"{context.partition_key}, {steps.op_handle}", type(error).__name__
        context.log.exception(
            f"{where}: unexpected {kind}. This is a fault of meso rather than of the session's files: report it with "
            "its traceback; other sessions and assets go on"
        )
        raise
