"""``meso one-tables``: what ONE needs to load sessions without a database."""

from __future__ import annotations

from pathlib import Path

import click

from ..runs.settings import load_settings
from .choice import say


@click.command("one-tables")
@click.option(
    "--to", "folder", type=click.Path(path_type=Path, file_okay=False), help="Folder of the tables (default: the root)."
)
@click.option("--raw", is_flag=True, help="List the rig's datasets too; each is read for its hash.")
def command(folder: Path | None, *, raw: bool) -> None:
    """Write the tables with which ONE lists and loads the sessions below MESO_ROOT.

    Hashes come from the manifests, so no result is read. Write them again when sessions have come or changed.
    """
    from meso_core.lineage import write_one_tables
    from meso_core.progress import throttled

    from ..io.resources import Platform

    platform = Platform.open(load_settings())
    sessions = [platform.at(key) for key in platform.store.sessions()]
    root = platform.store.root
    written = write_one_tables(sessions, folder or Path(root), raw=raw, progress=throttled(say))
    click.echo(f"{written.n_sessions} sessions, {written.n_datasets} datasets: {written.sessions}, {written.datasets}")
    tables = f', tables_dir="{written.sessions.parent}"' if folder else ""
    click.echo(f'from one.api import ONE; one = ONE(mode="local", cache_dir="{root}"{tables})')
