"""``meso restore``: bring raw tifs back from their archive."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from meso_core.counting import counted

from ..runs.settings.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meso_core.archive import RestoredTif


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
    for tif in restored:
        done = "put back" if tif.put_back else "restored" if tif.written else "was there, unchanged"
        recorded = tif.compared or tif.put_back
        compared = "" if recorded else ", not compared with a record: there is none of this archive"
        click.echo(f"{tif.path}  {tif.size / 1e6:.1f} MB  {done}{compared}")
    click.echo(f"{session}: {_in_words(restored)}")


def _in_words(restored: Sequence[RestoredTif]) -> str:
    """Sum up what was done; what was there already is not counted as restored."""
    n_done = sum(tif.written for tif in restored)
    if not restored:
        return "nothing to restore: no bout has an archive, and no removed tifs are kept"
    if not n_done:
        return f"nothing to restore: all that was archived is there, unchanged ({counted(len(restored), 'tif')})"
    there = f", {len(restored) - n_done} there before" if n_done < len(restored) else ""
    return f"{counted(n_done, 'tif')} restored{there}"
