"""``meso dev``: the user interface, on this machine only."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from ..runs.demo import made_demo_settings
from ..runs.settings import load_settings

_HOST = "127.0.0.1"


@click.command("dev")
@click.option("--port", type=int, default=3000, show_default=True)
@click.option("--demo", is_flag=True, help="Show the data that `meso demo` made.")
@click.option("--folder", type=click.Path(path_type=Path), help="With --demo: where it was made (default: ./demo).")
def command(port: int, demo: bool, folder: Path | None) -> None:
    """Open the user interface on http://127.0.0.1:PORT until Ctrl-C."""
    if folder is not None and not demo:
        raise click.UsageError("--folder tells where the demo is: give --demo too, or set MESO_ROOT and MESO_HOME")
    settings = made_demo_settings(folder) if demo else load_settings()

    from ..io.resources import Platform
    from ..runs.instance import in_use, open_instance, prepare_home
    from ..runs.run import register_sessions
    from ..web.one import alone, insist_on_free_port
    from ..web.services import serve

    os.environ.update(settings.as_environment())
    url = f"http://{_HOST}:{port}"
    insist_on_free_port(_HOST, port)
    with alone(prepare_home(settings), url):
        with open_instance(settings) as instance:
            platform = Platform.open(settings)
            register_sessions(
                instance, platform, platform.store.sessions(), pass_over=lambda why: click.echo(why, err=True)
            )
        click.echo(f"sessions  {settings.root}\nrecords   {settings.dagster_home}\nopen      {url}")
        sys.stdout.flush()
        with in_use(settings.dagster_home):
            serve(_HOST, port)
