"""``meso simulate``: write a session as the rig leaves it, and beside it what is true of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from meso_core.session import IMAGING_META_FILE

from ..runs.settings.settings import load_settings


class _Simulate(click.Command):
    """Lists the faults below the options; they are looked up only when help is asked for."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  click's signature
        from meso_core.simulate import FAULTS

        with formatter.section("Faults"):
            formatter.write_dl(list(FAULTS.items()))


@click.command("simulate", cls=_Simulate)
@click.option("--root", type=click.Path(path_type=Path), help="Folder of sessions (default: MESO_ROOT).")
@click.option(
    "--preset",
    type=click.Choice(["tiny", "demo", "bench", "real"]),
    default="tiny",
    show_default=True,
    help="Size: tiny 3 small fields, 120 frames; demo 600 frames; bench 4 fields of 512 x 512, 1200 frames; "
    "real 8 of them, 8000 frames.",
)
@click.option(
    "--from-meta",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help=f"Geometry, rates and header of a real {IMAGING_META_FILE}, instead of a preset.",
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="FAULT",
    help="What shall be wrong, see below, as NAME or (where, as a share) NAME@0.5; several times.",
)
@click.option("--seed", type=int, help="Seed of the random numbers.")
@click.option("--subject", help="Name of the subject (default: SP035).")
@click.option("--date", help="Date of the session, YYYY-MM-DD.")
@click.option("--number", help="Number of the session on that date, as in 001.")
@click.option("--lab", help="Put the session below lab/Subjects.")
def command(
    root: Path | None, preset: str, from_meta: Path | None, faults: tuple[str, ...], **changes: str | int | None
) -> None:
    """Simulate a session with ground truth."""
    from meso_core.progress import throttled
    from meso_core.simulate import config_from_meta, simulate_session
    from meso_core.simulate import preset as preset_named
    from meso_core.storage import storage_errors

    config = config_from_meta(from_meta) if from_meta else preset_named(preset)
    given: dict[str, Any] = {name: value for name, value in changes.items() if value is not None}
    config = replace(config, **given)
    root = root or load_settings().local_root
    with storage_errors(root):
        made = simulate_session(root, config, faults=faults, progress=throttled(click.echo))
    there = "  (was there already, left as it is)" if made.kept else ""
    click.echo(f"session  {made.key}{there}\nfolder   {made.session_path}\ntruth    {made.truth_path}")
