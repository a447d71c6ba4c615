"""``meso report``: the page of a session, and the index over all pages."""

from __future__ import annotations

import sys

import click

from ..runs.settings import load_settings
from .choice import say


@click.command("report")
@click.argument("sessions", nargs=-1)
def command(sessions: tuple[str, ...]) -> None:
    """Make the report of SESSIONS: one page each, of what there is; what was not made is named in it.

    Each is subject/date/number. A page that is current is not made again; its place is printed.
    """
    from ..assets.report import REPORT_FILE
    from ..io.resources import Platform
    from ..runs.run import run_session
    from . import session_key

    if not sessions:
        raise click.UsageError("Name sessions.")
    settings, failed = load_settings(), False
    for text in sessions:
        key = session_key(text)
        summary = run_session(settings, key, assets=("session_report",))
        failed |= not summary.success
        if summary.success:
            click.echo(Platform.open(settings).session(str(key)).where(REPORT_FILE))
        else:
            say(f"{key}: no report was made; the log above tells why")
    sys.exit(1 if failed else 0)
