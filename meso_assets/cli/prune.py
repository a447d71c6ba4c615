"""``meso prune``: thin the logs of old runs; results and the history of the assets stay."""

from __future__ import annotations

import click

from meso_core.progress import throttled

from ..runs.settings.settings import load_settings
from .choice import say
from .tables import text_table


@click.command("prune")
@click.option("--days", type=click.FloatRange(min=0), help="Runs that ended earlier are old [MESO_LOGS_KEPT_DAYS].")
@click.option("--dry-run", is_flag=True, help="Only tell what would be removed, and how much room that is.")
def command(days: float | None, dry_run: bool) -> None:
    """Remove from Dagster's records what old runs have left: lines of logs, what steps printed, old ticks.

    The list of runs, their steps and failures, warnings, and all materialisations, observations and checks stay. Runs
    may go on meanwhile. A schedule does the same every week.
    """
    from ..runs.instance import open_instance
    from ..runs.instance.pruning import prune

    settings = load_settings()
    days = settings.logs_kept_days if days is None else days
    with open_instance(settings) as instance:
        found = prune(instance, settings.dagster_home, days, dry_run=dry_run, progress=throttled(say))
    rows = [(one.what, f"{one.n:,}", f"{one.n_bytes / 1e6:,.1f}") for one in found]
    head = ("what", "would go" if dry_run else "removed", "MB" if dry_run else "MB freed")
    click.echo(text_table(head, rows, right=frozenset({1, 2})))
    total = sum(one.n_bytes for one in found) / 1e6
    click.echo(f"{total:,.1f} MB of runs that ended more than {days:g} days ago")
