"""``meso overview``: the page with sessions × assets."""

from __future__ import annotations

import click

from meso_core.machine import in_haste
from meso_core.progress import throttled

from .choice import say


@click.command("overview")
@click.option("--open", "is_opened", is_flag=True, help="Open it in the browser.")
def command(is_opened: bool) -> None:
    """Make the page with all sessions and how their assets stand, and print where it is.

    It is one file, overview.html below MESO_HOME, made again after each run. `meso dev` and `meso serve` show it at
    /meso/overview, where its links to runs and figures work.
    """
    from ..runs.status.dagster_records import asked_beside

    with in_haste(), asked_beside() as ask:  # what takes long to load comes after the other process has begun
        from ..overview.refresh import make_overview
        from ..runs.settings.settings import load_settings

        file = make_overview(load_settings(), ask, throttled(say))
    click.echo(file)
    if is_opened and click.launch(file.as_uri()) != 0:
        say("No browser could be opened: open this file yourself, or copy it to where there is one")
