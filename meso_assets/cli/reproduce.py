"""``meso reproduce``: make an asset again beside the session, and compare."""

from __future__ import annotations

import sys

import click

from ..runs.settings.settings import load_settings


@click.command("reproduce")
@click.argument("session")
@click.argument("asset")
def command(session: str, asset: str) -> None:
    """Make ASSET of SESSION again from its recorded inputs and settings, and compare the files bit by bit.

    It is made in a scratch folder (of TMPDIR); the session is only read. The exit status is 1 where something differs.
    """
    from ..defs.catalogue import CATALOGUE
    from ..io.resources import Platform
    from ..runs.reproduce import reproduce

    if asset not in CATALOGUE:
        raise click.BadParameter(f"expected one of {', '.join(CATALOGUE)}, found {asset}")
    settings = load_settings()
    done = reproduce(settings, Platform.open(settings).find(session), asset)
    for note in done.notes:
        click.echo(f"otherwise than then  {note}")
    for file in done.files:
        if not file.is_equal or file.difference:
            click.echo(f"{'equal' if file.is_equal else 'differs':<9}{file.path}: {file.difference}")
    n_equal = sum(file.is_equal for file in done.files)
    told = "bit-identical" if done.is_identical else "not reproduced"
    click.echo(f"{asset} of {done.session}, run {done.run_id}: {told} ({n_equal} of {len(done.files)} files equal)")
    sys.exit(0 if done.is_identical else 1)
