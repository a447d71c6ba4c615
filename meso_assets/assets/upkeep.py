"""Upkeep of the platform's own records, as a job that runs by the clock."""

import dagster as dg

from ..defs.guard import guarded
from ..io.resources import Platform
from ..runs.instance.pruning import prune, shown


class PruneConfig(dg.Config):
    """Choices of one pruning."""

    #: Only count what would be removed.
    dry_run: bool = False


@dg.op(
    name="records_pruned",
    out=dg.Out(dg.Nothing),
    description="Thin the logs of old runs, and remove old ticks; the history of the assets stays.",
)
def _records_pruned(context: dg.OpExecutionContext, platform: Platform, config: PruneConfig) -> None:
    settings = platform.settings
    with guarded(context):
        found = prune(context.instance, settings.dagster_home, settings.logs_kept_days, dry_run=config.dry_run)
    did = "would be removed" if config.dry_run else "removed"
    for what, told in shown(found).items():
        context.log.info(f"{did}: {what}: {told}")


@dg.job(description="Thin the logs of old runs, and remove old ticks. The same as `meso prune`.")
def prune_records() -> None:
    """Prune the records."""
    _records_pruned()


#: Runs by itself: what it removes is older than the days of the setting, and no result and no history of one.
prune_every_week = dg.ScheduleDefinition(
    name="prune_every_week",
    job=prune_records,
    cron_schedule="0 5 * * 0",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Thin logs of runs that ended before `MESO_LOGS_KEPT_DAYS`, and remove old ticks.",
)
