"""The overview follows the runs: made again when one has ended.

What belongs here: noticing that. A run of a terminal makes it again itself (``cli.run``).
"""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from meso_core.errors import MesoError

from ..io.resources import Platform
from .refresh import overview_path, refresh

_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


@dg.sensor(
    name="overview_follows",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Makes the overview of all sessions (`/meso/overview`, `overview.html` in `MESO_HOME`) again when a "
    "run has ended, at most every half minute.",
)
def overview_follows(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SkipReason:
    """Keep the overview up to date; the first look is when the daemon starts."""
    return follow(context, platform)


def follow(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SkipReason:
    """Look for a run that ended since the last look; however many did, the page is made once."""
    last = last_end(context.instance)
    if last == context.cursor and overview_path(platform.settings).is_file():
        return dg.SkipReason("no run has ended since the overview was made")
    before = _identity(overview_path(platform.settings))
    try:
        file = refresh(platform.settings, context.instance, is_asked_for=False)
    except MesoError as error:
        return dg.SkipReason(f"the overview could not be made: {error}")
    if _identity(file) == before:  # the times of a share are not those of this machine
        return dg.SkipReason("the last look at all sessions took long: the overview is made again later")
    context.update_cursor(last)
    return dg.SkipReason(f"the overview was made again: {file}")


def last_end(instance: dg.DagsterInstance) -> str:
    """Tell how many runs have ended, and which last, and when; empty where none has.

    Machines tell times of their own: the run that ends last may not be the one that tells the latest time.
    """
    wanted = dg.RunsFilter(statuses=_ENDED)
    found = instance.get_run_records(wanted, limit=1, order_by="update_timestamp")
    if not found:
        return ""
    last = found[0]
    return f"{instance.get_runs_count(wanted)} {last.dagster_run.run_id} {last.update_timestamp.isoformat()}"


def _identity(file: Path) -> tuple[int, int] | None:
    """Tell a file from the one that is written in its place; None where there is none."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns
