"""``meso instance``: look after Dagster's records; results do not depend on them."""

from __future__ import annotations

import sys

import click

from meso_core.progress import throttled

from ..runs.settings.settings import load_settings
from .choice import say


@click.group("instance")
def command() -> None:
    """Check, back up or repair Dagster's records (the history of runs, in MESO_HOME)."""


@command.command("check")
def check() -> None:
    """Read all records, and list runs that were found dead; ends with 1 if something is damaged."""
    from ..runs.instance import on_server, prepare_home
    from ..runs.instance.records import MAIN, backups, databases, keeps_sqlite, what_is_wrong

    home = prepare_home(load_settings())
    if not keeps_sqlite(home):
        address = on_server.address_of(home)
        if address is None:
            click.echo(f"{home / 'dagster.yaml'} names another database: look after the records there")
            return
        on_server.insist_on_answer(home)
        click.echo(
            f"PostgreSQL at {on_server.shown(address)} answers; whether its tables are whole is its own business"
        )
        _tell_dead_runs()
        return
    names = databases(home)
    found = {name: wrong for name in names if (wrong := what_is_wrong(home / name, thorough=True))}
    bad = {name: wrong for name, wrong in found.items() if wrong != "not there"}
    for name in [*MAIN, *(name for name in bad if name not in MAIN)]:
        click.echo(f"{name:<23} {found.get(name, 'whole')}")
    newest = next(iter(backups(home)), None)
    click.echo(
        f"{len(names) - len(MAIN)} logs of runs; last backup: {newest or 'none (`meso instance backup` makes one)'}"
    )
    if bad:
        click.echo(
            "`meso instance repair` sets the damaged files aside and goes on from the last backup, or anew", err=True
        )
        sys.exit(1)
    _tell_dead_runs()


@command.command("backup")
def backup() -> None:
    """Copy the records into a folder of MESO_HOME (those in PostgreSQL by pg_dump); runs may go on meanwhile."""
    from ..runs.instance import prepare_home
    from ..runs.instance.dumps import back_up_server
    from ..runs.instance.records import back_up, keeps_sqlite

    home = prepare_home(load_settings())
    click.echo(f"records copied to {back_up(home) if keeps_sqlite(home) else back_up_server(home)}")


@command.command("repair")
def repair() -> None:
    """Set damaged records aside and go on from the last backup, or anew; nothing is deleted, no result is touched."""
    from ..runs.instance import prepare_home, records, sole_use

    home = prepare_home(load_settings())
    if not records.keeps_sqlite(home):
        click.echo(f"{home / 'dagster.yaml'} names a database server: restore a back-up of it there (docs/records.md)")
        return
    with sole_use(home):
        done = records.repair(home)
        made = records.make_missing(home)
    for one in done:
        click.echo(str(one))
    if not done:
        click.echo("missing records were made anew" if made else "nothing is damaged")
    _tell_dead_runs()


@command.command("rename")
def rename() -> None:
    """Give sessions the names of today, with their history: those of earlier versions, and of subjects of two labs.

    `meso dev` and `meso serve` do the same when they start. Killed, it goes on where it was when it is run again.
    """
    from ..io.resources import Platform
    from ..runs.instance.renaming import bring_names_up_to_date

    settings = load_settings()
    keys = Platform.open(settings).store.sessions()
    done = bring_names_up_to_date(settings, keys, say, throttled(say))
    for one in done:
        click.echo(str(one))
    if not done:
        click.echo("no session was given another name")


@command.command("migrate")
def migrate() -> None:
    """Bring the records from SQLite to the PostgreSQL server of MESO_POSTGRES, with the whole history.

    Stop `meso dev` and `meso serve` first. Nothing is changed in the files, and the home names the server only when
    both answer the same. Killed, or run again, it does no harm.
    """
    from ..runs.instance.migration import migrate as bring_over

    done = bring_over(load_settings(), throttled(say))
    click.echo("the records are in PostgreSQL already" if done is None else str(done))


def _tell_dead_runs() -> None:
    """Open the records, which marks dead runs, and tell what is going on."""
    from ..runs.instance import open_instance

    with open_instance(load_settings(), tell=click.echo):
        pass
