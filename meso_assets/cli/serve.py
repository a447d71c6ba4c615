"""``meso serve``: interface, sensors and runs as a service of a lab's machine."""

from __future__ import annotations

import ipaddress
import os
import sys
from typing import TYPE_CHECKING

import click

from meso_core.counting import counted
from meso_core.errors import StorageError
from meso_core.progress import throttled

from ..runs.settings.settings import load_settings
from .choice import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meso_core.session import SessionKey

    from ..runs.settings.settings import MesoSettings

LOOPBACK = "127.0.0.1"


@click.command("serve")
@click.option("--host", default=LOOPBACK, show_default=True, help="Address to listen on.")
@click.option("--port", type=int, default=3000, show_default=True, help="Port to listen on.")
def command(host: str, port: int) -> None:
    """Run interface, sensors and runs without anybody there, until SIGTERM.

    The interface has no login. It listens on this machine only, unless --host says otherwise: put a proxy with a login
    before it (docs/service.md, which has a unit of systemd too).
    """
    settings = load_settings()
    if not _is_loopback(host):
        click.echo(
            f"warning: whoever reaches {host}:{port} can start runs and read all data, for the interface has no login. "
            "Listen on 127.0.0.1, with a proxy with a login before it (docs/service.md)",
            err=True,
        )
        if not settings.ui_hosts:
            click.echo("warning: name the hosts by which it is opened in MESO_UI_HOSTS; others are refused", err=True)
    serve_sessions(settings, host, port)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def serve_sessions(settings: MesoSettings, host: str, port: int) -> None:
    """Make the sessions known, then run the services until they are told to end."""
    from ..io.resources import Platform
    from ..io.session_names import labs_by_subject
    from ..runs.instance import in_use, open_instance, prepare_home, size_pool
    from ..runs.run import register_sessions
    from ..runs.settings.secret_files import warn_of_open_files
    from ..web.one_interface import alone, insist_on_free_port
    from ..web.routes import path_prefix
    from ..web.services import serve

    warn_of_open_files()
    os.environ.update(settings.as_environment())
    url = f"http://{host}:{port}{path_prefix()}"
    insist_on_free_port(host, port)
    with alone(prepare_home(settings), url):
        platform = Platform.open(settings)
        keys = platform.store.sessions()
        _rename(settings, keys)
        with open_instance(settings) as instance:
            size_pool(instance, settings)
            register_sessions(
                instance,
                platform,
                keys,
                labs=labs_by_subject(keys),
                pass_over=lambda why: click.echo(why, err=True),
            )
        click.echo(f"sessions  {platform.store.root}\nrecords   {settings.dagster_home}\nopen      {url}")
        sys.stdout.flush()
        with in_use(settings.dagster_home):
            serve(host, port)


def _rename(settings: MesoSettings, keys: Sequence[SessionKey]) -> None:
    """Give sessions the names of today, where nobody else uses the records; they keep the earlier ones otherwise."""
    from ..runs.instance.renaming import bring_names_up_to_date

    try:
        done = bring_names_up_to_date(settings, keys, say, throttled(say))
    except StorageError as error:
        say(f"sessions keep their earlier names until the next start: {error}")
        return
    if done:
        say(f"{counted(len(done), 'session')} got another name, with all history; the last one: {done[-1]}")
