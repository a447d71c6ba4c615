"""``meso restore``: bring raw tifs back from their archive."""

from __future__ import annotations

import click

from ..runs.settings import load_settings
from . import session_key


@click.command("restore")
@click.argument("session")
def command(session: str) -> None:
    """Restore the raw tifs of SESSION, bit-identical, with their names and times."""
    from meso_core.archive import restore
    from meso_core.progress import throttled

    from ..defs.claims import raw_tifs_claimed
    from ..io.resources import Platform

    settings = load_settings()
    opened = Platform.open(settings).session(str(session_key(session)))
    folder = opened.local_folder("restoring raw tifs")
    with raw_tifs_claimed(folder, "meso restore", click.echo):
        restored = restore(folder, workers=settings.cores, progress=throttled(click.echo))
    for tif in restored:
        done = "put back" if tif.put_back else "restored" if tif.written else "was there, unchanged"
        recorded = tif.compared or tif.put_back
        compared = "" if recorded else ", not compared with a record: there is none of this archive"
        click.echo(f"{tif.path}  {tif.size / 1e6:.1f} MB  {done}{compared}")
