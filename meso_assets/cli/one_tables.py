"""``meso one-tables``: what ONE needs to load sessions without a database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from meso_core.counting import counted

from ..runs.settings.settings import load_settings
from .choice import say

if TYPE_CHECKING:
    from meso_core.storage import Session


@click.command("one-tables")
@click.option(
    "--to", "folder", type=click.Path(path_type=Path, file_okay=False), help="Folder of the tables (default: the root)."
)
@click.option("--raw", is_flag=True, help="List the rig's datasets too; each is read for its hash.")
def command(folder: Path | None, *, raw: bool) -> None:
    """Write the tables with which ONE lists and loads the sessions below MESO_ROOT, of several roots in each of them.

    Hashes come from the manifests, so no result is read. Write them again when sessions have come or changed.
    """
    from meso_core.lineage import write_one_tables
    from meso_core.progress import throttled

    from ..io.resources import Platform

    platform = Platform.open(load_settings())
    by_root: dict[str, list[Session]] = {}
    for key in platform.store.sessions():
        session = platform.at(key)
        by_root.setdefault(session.store.root, []).append(session)
    if folder and len(by_root) > 1:
        raise click.UsageError("Each root has tables of its own: leave --to out, or set MESO_ROOT to one root")
    for root, sessions in (by_root or {platform.store.root: []}).items():
        if len(by_root) > 1 and not sessions[0].store.is_local:
            say(f"{root} is left out, for ONE opens folders alone; mount it and give its path")
            continue
        made = write_one_tables(sessions, folder or Path(root), raw=raw, progress=throttled(say))
        told = f"{counted(made.n_sessions, 'session')}, {counted(made.n_datasets, 'dataset')}"
        click.echo(f"{told}: {made.sessions}, {made.datasets}")
        tables = f', tables_dir="{made.sessions.parent}"' if folder else ""
        click.echo(f'from one.api import ONE; one = ONE(mode="local", cache_dir="{root}"{tables})')
