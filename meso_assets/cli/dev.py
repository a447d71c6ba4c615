"""``meso dev``: the user interface, on this machine only."""

from __future__ import annotations

import os
import sys

import click

from ..demo import demo_settings
from ..settings import load_settings


@click.command("dev")
@click.option("--port", type=int, default=3000, show_default=True)
@click.option("--demo", is_flag=True, help="Show the data that `meso demo` made.")
def command(port: int, demo: bool) -> None:
    """Open the user interface on http://127.0.0.1:PORT until Ctrl-C."""
    from ..instance import open_instance
    from ..resources import Platform
    from ..running import register_sessions

    settings = demo_settings() if demo else load_settings()
    os.environ.update(settings.as_environment())
    with open_instance(settings) as instance:
        platform = Platform.open(settings)
        register_sessions(instance, platform, platform.store.sessions())
    click.echo(f"sessions  {settings.root}\nrecords   {settings.dagster_home}\nopen      http://127.0.0.1:{port}")
    arguments = ["dev", "-m", "meso_assets.definitions", "-h", "127.0.0.1", "-p", str(port)]
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "dagster", *arguments])  # so that signals reach Dagster itself
