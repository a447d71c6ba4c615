"""``meso remove-raw``: remove raw tifs whose archive was verified; a dry run unless told otherwise."""

from __future__ import annotations

import sys

import click

from ..runs.settings import load_settings
from . import session_key


@click.command("remove-raw")
@click.argument("session")
@click.option("--yes", is_flag=True, help="Remove. Without it, only what would happen is shown.")
@click.option("--who", default="", help="Who overrides a verdict of quality control.")
@click.option("--why", default="", help="Why.")
def command(session: str, yes: bool, who: str, why: str) -> None:
    """Remove the raw tifs of SESSION, if their archive holds just these files and quality control allows it."""
    from meso_core.archive import remove_raw_tifs
    from meso_core.progress import throttled

    from ..defs.removal import plan_removal
    from ..io.resources import Platform

    opened = Platform.open(load_settings()).session(str(session_key(session)))
    plan = plan_removal(opened, who, why)
    for obstacle in plan.obstacles:
        click.echo(f"{'overridden' if plan.allowed else 'obstacle':<10}{obstacle.where}: {obstacle.message}")
    if not plan.allowed and not yes:
        click.echo("dry run: the gate is closed, --yes would remove nothing")
        sys.exit(1)
    if not yes:
        for planned in plan.removals:
            click.echo(f"{'remove':<10}{planned.path}  ({planned.size / 1e6:.1f} MB, in {planned.archive})")
        click.echo(f"dry run: nothing removed; --yes would free {plan.freed_bytes / 1e9:.2f} GB")
        return
    events = remove_raw_tifs(plan, progress=throttled(click.echo))
    for event in events:
        click.echo(f"{'removed':<10}{event.path}  ({event.size / 1e6:.1f} MB, in {event.archive})")
    click.echo(
        f"{len(events)} tifs removed, recorded in .meso/removals.jsonl; `meso restore {session}` brings them back"
    )
