"""``meso diff``: what differs between two runs of a session, or between two sessions."""

from __future__ import annotations

import sys

import click

from meso_core.errors import MesoError
from meso_core.json_text import json_text

from ..runs.settings.settings import load_settings


@click.command("diff")
@click.argument("session")
@click.argument("one", metavar="RUN1|SESSION2")
@click.argument("other", metavar="[RUN2]", default="now")
@click.option("--json", "as_json", is_flag=True, help="Print records.")
def command(session: str, one: str, other: str, as_json: bool) -> None:
    """Compare the results of SESSION after RUN1 with those after RUN2 (default: now), or with those of SESSION2.

    Runs are named by the start of their id. Settings, versions, inputs, numbers, files, and ROIs matched by their
    masks. The exit status is 1 where something differs.
    """
    from meso_core.lineage import diff_asset, versions_of

    from ..defs.catalogue import CATALOGUE
    from ..io.resources import Platform

    platform = Platform.open(load_settings())
    first = platform.find(session)
    try:
        second, runs = platform.find(one), ("now", "now")
    except MesoError:
        if "/" in one:  # a session, and not there
            raise
        second, runs = first, (one, other)
    present = first.present()
    before = versions_of(first, runs[0], present)
    after = versions_of(second, runs[1], present if second is first else second.present())
    made = {*before.manifests, *after.manifests}
    found = [diff_asset(asset, before, after) for asset in CATALOGUE if asset in made]
    if as_json:
        click.echo(json_text([difference.as_record() for difference in found], indent=1))
    for difference in () if as_json else found:
        runs_told = " → ".join(run[:8] or "–" for run in difference.runs)
        click.echo(f"{difference.asset:<28}{runs_told}{'  same' if difference.is_same else ''}")
        for text in (*difference.differences, *map(str, difference.rois), *difference.notes):
            click.echo(f"    {text}")
        for file in difference.files:
            click.echo(f"    {file.path}: {file.difference}")
    sys.exit(0 if all(difference.is_same for difference in found) else 1)
