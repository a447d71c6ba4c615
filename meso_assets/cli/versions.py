"""``meso versions``: earlier versions of results, listed, brought back, removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..runs.settings.settings import load_settings

if TYPE_CHECKING:
    from meso_core.storage import Session


class _ListByDefault(click.Group):
    """``meso versions SESSION`` lists; a session never has the name of a command, for it has a slash."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put in the command that is left out."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group("versions", cls=_ListByDefault, subcommand_metavar="SESSION [ASSET] | COMMAND [ARGS]...")
def command() -> None:
    """List earlier versions of results, which MESO_KEEP_VERSIONS keeps: `meso versions SESSION [ASSET]`."""


@command.command("list")
@click.argument("session")
@click.argument("asset", default="")
def list_command(session: str, asset: str) -> None:
    """List the versions of SESSION, or of one ASSET: when and by which run each was made, its size, why it went."""
    from ..runs.versions import listed

    there = [version for versions in listed(_session(session), asset).values() for version in versions]
    for version in there:
        made = version.manifest
        told = f"{made.published_at}  run {made.made_by.run_id[:8]}" if made else "no record"
        click.echo(f"{version.asset:<28}{version.data_version[:12]}  {told}  {version.total_bytes / 1e6:.1f} MB")
        click.echo(f"    replaced: {version.why_replaced}")
        if version.lacking:
            click.echo(f"    cannot be restored, files are missing or changed: {', '.join(version.lacking[:3])}")
    if not there:
        kept = load_settings().keep_versions
        click.echo(f"no earlier version is kept (MESO_KEEP_VERSIONS is {kept})")


@command.command("restore")
@click.argument("session")
@click.argument("asset")
@click.argument("version")
def restore_command(session: str, asset: str, version: str) -> None:
    """Bring back a VERSION of ASSET (the start of its name); what it replaces is kept in turn."""
    from meso_core.progress import throttled

    from ..runs.instance import open_instance
    from ..runs.versions import restored

    chosen = _session(session)
    with open_instance(load_settings()) as instance:
        manifest = restored(chosen, asset, version, instance, throttled(click.echo))
    click.echo(f"{asset} is version {manifest.data_version[:12]} of run {manifest.made_by.run_id[:8]} again")


@command.command("clean")
@click.argument("session")
@click.argument("assets", metavar="[ASSET…]", nargs=-1)
@click.option("--keep", "n_kept", type=click.IntRange(min=0), help="How many stay (default: MESO_KEEP_VERSIONS).")
def clean_command(session: str, assets: tuple[str, ...], n_kept: int | None) -> None:
    """Remove the oldest versions of SESSION, of all its assets or some."""
    from ..runs.versions import cleaned

    gone = cleaned(_session(session), assets, load_settings().keep_versions if n_kept is None else n_kept)
    for version in gone:
        click.echo(f"removed {version.asset} {version.data_version[:12]}, {version.total_bytes / 1e6:.1f} MB")
    click.echo(f"versions removed: {len(gone)}")


def _session(text: str) -> Session:
    from ..io.resources import Platform

    return Platform.open(load_settings()).find(text)
