"""``meso demo``: a whole session, simulated and processed, in about two minutes."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from ..runs.demo import demo_settings, how_to_open, simulate_demo
from .tables import made_table


@click.command("demo")
@click.option("--folder", type=click.Path(path_type=Path), help="Where everything goes (default: ./demo).")
def command(folder: Path | None) -> None:
    """Simulate a session, make every asset of it, and show what was made."""
    from ..defs.reporting import REPORT_FILE
    from ..io.resources import Platform
    from ..overview.refresh import overview_path, refresh_after_run
    from ..runs.run import run_session

    started = time.monotonic()
    settings = demo_settings(folder)
    click.echo(f"1. A session, as a mesoscope leaves it, below {settings.local_root}")
    made = simulate_demo(settings, say=lambda text: click.echo(f"  {text}"))
    if made.kept:
        click.echo("  was there already")
    click.echo(f"\n2. Every asset of {made.key}")
    summary = run_session(settings, made.key)
    session = Platform.open(settings).at(made.key)
    click.echo(f"\n3. What was made in {session.path}\n")
    click.echo(made_table(session, summary))
    figures = sorted(session.path.glob("reports/figures/*.png"))
    if figures:
        click.echo(f"\nfigures   {figures[0].parent} ({len(figures)})")
    refresh_after_run(settings, click.echo)
    click.echo(f"truth     {made.truth_path}")
    click.echo(f"report    {session.where(REPORT_FILE)}  (look at it first: it opens by double click)")
    click.echo(f"overview  {overview_path(settings)}")
    click.echo(f"interface {how_to_open(folder)}, then http://127.0.0.1:3000")
    click.echo(f"all in {time.monotonic() - started:.0f} s")
    sys.exit(0 if summary.success else 1)
