"""``meso restore``: bring raw tifs back from their archive."""

from __future__ import annotations

import click

from ..runs.settings.settings import load_settings


@click.command("restore")
@click.argument("session")
def command(session: str) -> None:
    """Restore the raw tifs of SESSION, bit-identical, with their names and times."""
    from meso_core.archive import raw_place, restore
    from meso_core.progress import throttled

    from ..defs.catalogue import MADE_OF_TIFS
    from ..defs.running.remote_claims import kept_away
    from ..io.resources import Platform

    settings = load_settings()
    opened = Platform.open(settings).find(session)
    progress = throttled(click.echo)
    with kept_away(opened, MADE_OF_TIFS, "meso restore", click.echo), raw_place(opened, progress) as place:
        restored = restore(place, workers=settings.cores, progress=progress)
    if not restored:
        click.echo(f"{session}: nothing to restore: no bout has an archive, and no removed tifs are kept")
    for tif in restored:
        done = "put back" if tif.put_back else "restored" if tif.written else "was there, unchanged"
        recorded = tif.compared or tif.put_back
        compared = "" if recorded else ", not compared with a record: there is none of this archive"
        click.echo(f"{tif.path}  {tif.size / 1e6:.1f} MB  {done}{compared}")
