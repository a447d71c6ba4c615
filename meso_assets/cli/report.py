"""``meso report``: the page of a session, and the index over all pages."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from meso_core.counting import counted

from ..runs.settings.settings import MesoSettings, load_settings
from .choice import say


@click.command("report")
@click.argument("sessions", nargs=-1)
@click.option("--index", is_flag=True, help="Write one table over the reports of all sessions.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="With --index: the file to write (default: session_reports.html in the first root that is a folder).",
)
def command(sessions: tuple[str, ...], index: bool, output: Path | None) -> None:
    """Make the report of SESSIONS: one page each, of what there is; what was not made is named in it.

    Each is subject/date/number. A page that is current is not made again. Places of the pages are printed.
    """
    if not sessions and not index:
        raise click.UsageError("Name sessions, or give --index.")
    settings = load_settings()
    failed = [text for text in sessions if not _made(settings, text)]
    if index:
        from meso_core.progress import throttled

        from ..io.resources import Platform
        from ..runs.status.report_index import write_index

        target, n = write_index(Platform.open(settings), output, throttled(say))
        click.echo(f"{target}  ({counted(n, 'session')})")
    sys.exit(1 if failed else 0)


def _made(settings: MesoSettings, text: str) -> bool:
    from ..defs.reporting import REPORT, REPORT_FILE
    from ..io.resources import Platform
    from ..runs.run import run_session

    platform = Platform.open(settings)
    key = platform.named(text)
    if not run_session(settings, key, assets=(REPORT,)).success:
        say(f"{key}: no report was made; the log above tells why")
        return False
    click.echo(platform.at(key).where(REPORT_FILE))
    return True
