"""``meso dev``: the user interface, on this machine only."""

from __future__ import annotations

from pathlib import Path

import click

from ..runs.demo import made_demo_settings
from ..runs.settings.settings import load_settings
from .serve import LOOPBACK, serve_sessions


@click.command("dev")
@click.option("--port", type=int, default=3000, show_default=True, help="Port to listen on.")
@click.option("--demo", is_flag=True, help="Show the data that `meso demo` made.")
@click.option("--folder", type=click.Path(path_type=Path), help="With --demo: where it was made (default: ./demo).")
def command(port: int, demo: bool, folder: Path | None) -> None:
    """Open the user interface on http://127.0.0.1:PORT until Ctrl-C."""
    if folder is not None and not demo:
        raise click.UsageError("--folder tells where the demo is: give --demo too, or set MESO_ROOT and MESO_HOME")
    serve_sessions(made_demo_settings(folder) if demo else load_settings(), LOOPBACK, port)
