"""``meso lineage``: where a file comes from, and what was made from it; or which run made each result of a session."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from meso_core.counting import counted
from meso_core.json_text import json_text

from ..runs.settings.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meso_core.lineage import Lineage, RawInput, Step
    from meso_core.report import SessionLineage, ShownResult


@click.command("lineage")
@click.argument("what", metavar="FILE|ASSET|SESSION")
@click.argument("session", default="")
@click.option("--json", "as_json", is_flag=True, help="Print records.")
@click.option("--ro-crate", "crate", type=click.Path(path_type=Path), help="Write an RO-Crate into this folder.")
@click.option("--graph", type=click.Path(path_type=Path), help="Draw it into this SVG file.")
def command(what: str, session: str, as_json: bool, crate: Path | None, graph: Path | None) -> None:
    """Tell where FILE comes from, and what was made from it.

    Back to the raw tifs: runs, code, packages, settings, inputs with their hashes.

    FILE is a path of the shell, or one below the session; SESSION may be left out where the path tells it. With SESSION
    alone: which run made each of its results, and what the last audit found, as the interface shows it at
    /meso/lineage/SESSION.
    """
    from meso_core.session import named_session

    if not session and named_session(what) is not None:
        if graph is not None or crate is not None:
            raise click.UsageError("A picture and a crate are of a file or an asset: name one before the session.")
        _tell_session(what, as_json=as_json)
        return
    from meso_core.lineage import lineage_svg, write_crate
    from meso_core.storage import write_file

    from ..defs.lineage.traces import located, traced
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


def _tell_session(text: str, *, as_json: bool) -> None:
    """Print how each result of a session was made."""
    from ..io.resources import Platform
    from ..runs.status.session_lineage import session_lineage

    platform = Platform.open(load_settings())
    session = platform.find(text)
    found = session_lineage(platform, session, platform.name(session.key))
    if as_json:
        click.echo(json_text(found.as_record(), indent=1))
    else:
        click.echo("\n".join(_lines_of_session(found)))


def _lines_of_session(found: SessionLineage) -> Iterator[str]:
    yield f"{found.session}: {found.overall[2]}"
    for one in found.results:
        yield from _result_lines(one)
    audit = found.audit_damaged or found.audited[2]
    yield f"\n{audit}{f' ({found.audit.verdict.summary})' if found.audit else ''}"
    if found.since_audit:
        yield f"  published since: {', '.join(found.since_audit)}"
    yield f"  anew: meso audit {found.session}"


def _result_lines(one: ShownResult) -> Iterator[str]:
    made = one.lineage.manifest
    yield f"\n{one.name}: {one.state}{f', {one.why}' if one.why else ''}"
    if one.to_keep:
        yield f"  {one.to_keep}"
    if made is None:
        return
    by = made.made_by
    yield f"  {'made':<10}{made.published_at}, run {by.run_id}, host {by.host or 'not recorded'}"
    yield f"  {'code':<10}{by.code}, version of the asset {made.basis.code_version}"
    yield f"  {'content':<10}{made.data_version[:12]}, {counted(len(made.files), 'file')}, {made.total_bytes:,} bytes"
    if settings := [f"{other.name} = {other.value}" for other in one.lineage.settings]:
        yield f"  {'settings':<10}{', '.join(settings)}"
    if options := [f"{name} = {value}" for name, value in one.lineage.options.items()]:
        yield f"  {'options':<10}{', '.join(options)}"
    if packages := [f"{p.name} {p.used} → {p.now or 'none'}" for p in one.lineage.packages if not p.is_same]:
        yield f"  {'others now':<10}{', '.join(packages)}"
