"""``meso remove-raw``: remove raw tifs whose archive was verified; a dry run unless told otherwise."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING

import click

from meso_core.counting import counted

from ..runs.settings.settings import load_settings

if TYPE_CHECKING:
    from meso_core.archive import KeptTif, RemovalPlan
    from meso_core.storage import Session

    from ..io.resources import Platform


@click.command("remove-raw")
@click.argument("sessions", nargs=-1)
@click.option("--yes", is_flag=True, help="Remove. Without it, only what would happen is shown.")
@click.option("--now", is_flag=True, help="Free the room of SESSIONS at once, not after MESO_REMOVED_KEPT_DAYS.")
@click.option("--who", default="", help="Who overrides a verdict of quality control.")
@click.option("--why", default="", help="Why.")
def command(sessions: tuple[str, ...], yes: bool, now: bool, who: str, why: str) -> None:
    """Remove the raw tifs of SESSIONS, if their archives hold just these files and quality control allows it.

    They are moved to .meso/removed, and their room is free after MESO_REMOVED_KEPT_DAYS: the schedule of the interface
    frees it, or this command does. Without SESSIONS, nothing is removed, and the room of all whose time is over is
    freed.
    """
    from ..defs.catalogue import MADE_OF_TIFS
    from ..defs.running.remote_claims import kept_away
    from ..io.resources import Platform

    platform = Platform.open(load_settings())
    if not sessions:
        _sweep(platform, yes=yes)
        return
    closed = []
    for name in sessions:
        session = platform.find(name)
        with kept_away(session, MADE_OF_TIFS, "meso remove-raw", click.echo) if yes else nullcontext():
            closed.append(not _remove(platform, session, yes=yes, now=now, who=who, why=why))
    sys.exit(1 if any(closed) else 0)


def _remove(platform: Platform, session: Session, *, yes: bool, now: bool, who: str, why: str) -> bool:
    """Remove the tifs of one session, or show what would happen; returns False where the gate is closed."""
    from meso_core.progress import throttled

    from ..defs.removal.removal import free, kept, plan_removal, remove, settle

    days, progress = 0.0 if now else platform.settings.removed_kept_days, throttled(click.echo)
    if yes:
        settle(session)
    plan = plan_removal(session, who, why, limits=platform.settings.limits)
    there = kept(session)
    before = [tif for tif in there if tif.event]
    if not plan.n_tifs and not there:
        name = platform.name(session.key)
        click.echo(f"{name}: no raw tifs are there. `meso restore {name}` brings those back that an archive holds")
        return True
    if not yes:
        _tell_kept(before, days)
        return _show(plan, days, anything_kept=bool(before))
    if plan.removals or not before:
        _tell_obstacles(plan)
        events = remove(session, plan, progress)
        for event in events:
            click.echo(f"{'removed':<10}{event.path}  ({event.size / 1e6:.1f} MB, in {event.archive})")
        click.echo(f"{counted(len(events), 'tif')} removed, recorded in .meso/removals.jsonl")
    _tell_freed(platform.name(session.key), free(session, days, progress))
    _tell_kept(kept(session), days)
    click.echo(f"`meso restore {platform.name(session.key)}` brings them back")
    return True


def _show(plan: RemovalPlan, days: float, *, anything_kept: bool) -> bool:
    if anything_kept and not plan.removals:
        click.echo("dry run: no other tifs are there to be removed")
        return True
    _tell_obstacles(plan)
    if not plan.allowed:
        click.echo("dry run: the gate is closed, --yes would remove nothing")
        return False
    for planned in plan.removals:
        click.echo(f"{'remove':<10}{planned.path}  ({planned.size / 1e6:.1f} MB, in {planned.archive})")
    when = f"after {days:g} days (MESO_REMOVED_KEPT_DAYS; at once with --now)" if days else "at once"
    click.echo(f"dry run: nothing removed; --yes would free {plan.freed_bytes / 1e9:.2f} GB {when}")
    return True


def _tell_obstacles(plan: RemovalPlan) -> None:
    for obstacle in plan.obstacles:
        click.echo(f"{'overridden' if plan.allowed else 'obstacle':<10}{obstacle.where}: {obstacle.message}")


def _tell_kept(kept: list[KeptTif] | tuple[KeptTif, ...], days: float) -> None:
    for tif in kept:
        when = f"{tif.frees_at(days):%Y-%m-%d %H:%M} UTC"
        click.echo(f"{'kept':<10}{tif.path}  ({tif.size / 1e6:.1f} MB, may be freed from {when})")


def _tell_freed(name: str, freed: tuple[KeptTif, ...]) -> None:
    if freed:
        size = sum(tif.size for tif in freed) / 1e9
        click.echo(
            f"{'freed':<10}{name}: {size:.2f} GB of {counted(len(freed), 'tif')}, compared with their archives again"
        )


def _sweep(platform: Platform, *, yes: bool) -> None:
    """Free the room of all sessions whose time is over, or list what is kept."""
    from meso_core.errors import MesoError

    from ..defs.removal.removal import kept, sweep

    failed, keys = False, platform.store.sessions()
    names = platform.names(keys, keys)
    if not yes:
        for key in keys:
            try:
                there = kept(platform.at(key))
            except MesoError as error:
                click.echo(f"{names[key]}: {error}", err=True)
                failed = True
                continue
            if there:
                click.echo(names[key])
                _tell_kept(there, platform.settings.removed_kept_days)
        click.echo("dry run: nothing freed; --yes frees the room of those whose time is over")
        sys.exit(2 if failed else 0)
    any_freed = False
    for key, freed in sweep(platform, keys):
        if isinstance(freed, MesoError):
            click.echo(f"{'kept':<10}{names[key]}: {freed}", err=True)
            failed = True
        else:
            _tell_freed(names[key], freed)
            any_freed |= bool(freed)
    if not any_freed and not failed:
        click.echo("nothing freed: of no session is the time of removed tifs over")
    sys.exit(2 if failed else 0)
