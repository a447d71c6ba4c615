"""``meso run``: process one session in the foreground."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from ..runs.settings import load_settings
from . import session_key
from .tables import made_table


@click.command("run")
@click.argument("session")
@click.option("--assets", default="", help="Names, with commas between them; all by default.")
@click.option("--suite2p", "options", multiple=True, metavar="NAME=VALUE", help="A suite2p option of this run.")
@click.option("--genotype", default="", help="Alleles of this subject, `;` between them; suite2p's tau follows.")
def command(session: str, assets: str, options: tuple[str, ...], genotype: str) -> None:
    """Process SESSION (subject/date/number), or some of its assets."""
    from ..io.resources import Platform
    from ..runs.run import run_session

    key, settings = session_key(session), load_settings()
    chosen = tuple(name.strip() for name in assets.split(",") if name.strip())
    suite2p = {**_tau_of(genotype), **dict(parse_option(text) for text in options)}
    summary = run_session(settings, key, assets=chosen, suite2p=suite2p)
    opened = Platform.open(settings).session(str(key))
    click.echo("\n" + made_table(opened, summary))
    if not summary.success:
        click.echo("\nSome assets failed; what was there before is still there. `meso status` tells why.", err=True)
        sys.exit(1)


def _tau_of(genotype: str) -> dict[str, float]:
    """Return suite2p's ``tau`` for a genotype, if one was given."""
    if not genotype:
        return {}
    from meso_core.imaging import get_default_tau

    return {"tau": get_default_tau(genotype)}


def parse_option(text: str) -> tuple[str, Any]:
    """Read ``name=value``; the value is JSON, or else text."""
    name, equals, value = text.partition("=")
    if not equals:
        raise click.BadParameter(f"expected NAME=VALUE, found {text!r}")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
