"""``meso lineage``: where a file comes from, and what was made from it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from meso_core.counting import counted
from meso_core.json_text import json_text

from ..runs.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meso_core.lineage import Lineage, RawInput, Step


@click.command("lineage")
@click.argument("what", metavar="FILE|ASSET")
@click.argument("session", default="")
@click.option("--json", "as_json", is_flag=True, help="Print records.")
@click.option("--ro-crate", "crate", type=click.Path(path_type=Path), help="Write an RO-Crate into this folder.")
@click.option("--graph", type=click.Path(path_type=Path), help="Draw it into this SVG file.")
def command(what: str, session: str, as_json: bool, crate: Path | None, graph: Path | None) -> None:
    """Tell where FILE comes from, and what was made from it.

    Back to the raw tifs: runs, code, packages, settings, inputs with their hashes.

    FILE is a path of the shell, or one below the session; SESSION may be left out where the path tells it.
    """
    from meso_core.lineage import lineage_svg, write_crate
    from meso_core.storage import write_file

    from ..defs.traces import located, traced
    from ..io.resources import Platform

    platform = Platform.open(load_settings())
    opened, subject = located(platform, what, session)
    found = traced(platform, opened, subject)
    if graph is not None:
        write_file(graph.absolute(), lineage_svg(found).encode())
        click.echo(f"picture  {graph}", err=as_json)
    if crate is not None:
        click.echo(f"crate    {write_crate(opened, found, crate.absolute())}", err=as_json)
    if as_json:
        click.echo(json_text(found.as_record(), indent=1))
    elif graph is None and crate is None:
        click.echo("\n".join(_lines(found)))


def _lines(found: Lineage) -> Iterator[str]:
    yield f"{found.subject} of {found.session}"
    if found.file:
        yield f"  {found.file.size:,} bytes, sha-256 {found.file.sha256}"
    for step in reversed(found.steps):
        yield from _step_lines(step, found)
    yield "\nfrom the rig and from people"
    for raw in found.raw:
        yield from _raw_lines(raw)
    yield "\nmade from it"
    for step in found.onward:
        yield f"  {step.asset:<28}{step.manifest.published_at}  {'; '.join(step.reasons)}".rstrip()
    if not found.onward:
        yield "  nothing"


def _step_lines(step: Step, found: Lineage) -> Iterator[str]:
    manifest, made = step.manifest, step.manifest.made_by
    times = {one.manifest.digest: one.manifest.published_at for one in found.steps}
    yield f"\n{manifest.asset}{' (replaced since)' if step.is_replaced else ''}"
    yield f"  {'made':<10}{manifest.published_at}, run {made.run_id}, host {made.host or 'not recorded'}"
    yield f"  {'code':<10}{made.code}, version of the asset {manifest.basis.code_version}"
    yield f"  {'packages':<10}{', '.join(f'{name} {version}' for name, version in made.packages.items())}"
    settings = [f"{name} = {json_text(value)}" for name, value in {**manifest.basis.settings, **made.options}.items()]
    yield f"  {'settings':<10}{', '.join(settings) or 'none'}"
    for name, version in manifest.basis.inputs.items():
        digest = step.inputs.get(name, "")
        when = f", published {times[digest]}" if digest in times else ""
        yield f"  {'from':<10}{name} {version[:12]}{when}"
    yield f"  {'manifest':<10}{manifest.digest}, {counted(len(manifest.files), 'file')}"
    for reason in step.reasons:
        yield f"  {'stale':<10}{reason}"


def _raw_lines(raw: RawInput) -> Iterator[str]:
    there = "" if raw.is_same else "  (changed since: these are the files that are there now)"
    yield f"  {raw.name} {raw.version[:12]}, {counted(len(raw.files), 'file')}{there}"
    for file in raw.files:
        digest = raw.hashes.get(file.path)
        yield f"    {file.path}  {file.size:,} bytes{f', sha-256 {digest}' if digest else ''}"
