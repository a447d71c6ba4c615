"""``meso status``: sessions × assets."""

from __future__ import annotations

import click

from meso_core.json_text import json_text

from ..runs.settings import load_settings
from . import session_key
from .tables import text_table


@click.command("status")
@click.argument("sessions", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print records instead of a table.")
def command(sessions: tuple[str, ...], as_json: bool) -> None:
    """Show for each session which assets are done, stale, failed or missing, and why.

    SESSIONS are all sessions below MESO_ROOT, unless some are named.
    """
    from ..defs.catalogue import CATALOGUE
    from ..io.resources import Platform
    from ..runs.instance import open_instance
    from ..runs.status import State, session_status

    settings = load_settings()
    platform = Platform.open(settings)
    keys = [session_key(text) for text in sessions] or list(platform.store.sessions())
    with open_instance(settings) as instance:
        found = {str(key): session_status(platform, instance, key) for key in keys}
    if as_json:
        click.echo(json_text([cell.as_record() for cells in found.values() for cell in cells], indent=1))
        return
    assets = list(CATALOGUE)
    rows = [(key, *(cell.state.value for cell in cells)) for key, cells in found.items()]
    numbers = [str(i) for i in range(1, len(assets) + 1)]
    click.echo(text_table(("session", *numbers), rows))
    click.echo("\n" + "\n".join(f"{number:>3}  {asset}" for number, asset in zip(numbers, assets, strict=True)))
    shown = [c for cells in found.values() for c in cells if c.why]
    reasons = list(
        dict.fromkeys(  # what makes a whole session unreadable is told once
            f"{c.session}  {'' if c.state is State.UNREADABLE else f'{c.asset} '}{c.state.value}: {c.why}"
            for c in shown
        )
    )
    if reasons:
        click.echo("\n" + "\n".join(reasons))
