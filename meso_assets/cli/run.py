"""``meso run``: process sessions in the foreground."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from meso_core.progress import throttled

from ..runs.settings.secret_files import warn_of_open_files
from ..runs.settings.settings import load_settings
from .choice import chooses_sessions, say, wanted
from .tables import made_table, needs_table, text_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meso_core.session import SessionKey

    from ..runs.choosing import Wanted
    from ..runs.settings.settings import MesoSettings

#: While many sessions run, the overview is made again after this time, s.
_OFTEN_ENOUGH_S = 30.0


@click.command("run")
@chooses_sessions
@click.option("--assets", default="", help="Names, with commas between them; all by default.")
@click.option(
    "--dry-run", is_flag=True, help="List the sessions that would run (of one also what its steps need), and end."
)
@click.option("--suite2p", "options", multiple=True, metavar="NAME=VALUE", help="A suite2p option of these runs.")
@click.option("--genotype", default="", help="Alleles of the subjects, `;` between them; suite2p's tau follows.")
@click.option(
    "--discard-curation",
    is_flag=True,
    help="Give up labels edited in suite2p's window where ROIs are to be found anew.",
)
def command(
    sessions: tuple[str, ...],
    states: tuple[str, ...],
    since: datetime | None,
    assets: str,
    dry_run: bool,
    options: tuple[str, ...],
    genotype: str,
    discard_curation: bool,
) -> None:
    """Process SESSIONS, or some of their assets; what is current already is not made again.

    Each is subject/date/number, a subject, a subject and a date, a pattern ('SP03*/2023-03-*'), or the path of such a
    folder below MESO_ROOT. Without any, --missing, --stale, --failed or --since choose among all.
    """
    from ..io.resources import Platform

    settings = load_settings()
    warn_of_open_files()
    chosen = tuple(name.strip() for name in assets.split(",") if name.strip())
    suite2p = {**_tau_of(genotype), **dict(parse_option(text) for text in options)}
    keys = _keys(settings, wanted(sessions, states, since, chosen))
    if dry_run:
        click.echo("\n".join(map(Platform.open(settings).name, keys)) or "no session")
        if len(keys) == 1:
            _tell_needs(settings, keys[0], chosen, suite2p)
    elif not keys:
        click.echo("No session is to be run.")
    else:
        asked = {"assets": chosen, "suite2p": suite2p, "discard_curation": discard_curation}
        if len(keys) == 1:
            _run_one(settings, keys[0], asked)
        else:
            _run_many(settings, keys, asked)


def _keys(settings: MesoSettings, chosen: Wanted) -> Sequence[SessionKey]:
    from meso_core.session import named_session

    from ..io.resources import Platform
    from ..runs.many import wanted_sessions

    if not (chosen.texts or chosen.states or chosen.since):
        raise click.UsageError("Name sessions, or choose among all with --missing, --stale, --failed or --since.")
    one = named_session(chosen.texts[0]) if len(chosen.texts) == 1 else None
    if one and not (chosen.states or chosen.since):
        return [Platform.open(settings).named(chosen.texts[0])]  # the others need not be looked for
    return wanted_sessions(settings, chosen, say, throttled(say))


def _tell_needs(settings: MesoSettings, key: SessionKey, assets: tuple[str, ...], suite2p: dict[str, Any]) -> None:
    import dagster as dg

    from ..defs.needs import needs_rows
    from ..defs.preflight import Flight, look_ahead
    from ..defs.standing.standings import look_at
    from ..io.resources import Platform
    from ..runs.instance import open_instance
    from ..runs.run import chosen_assets

    platform = Platform.open(settings)
    there = (settings.dagster_home / "dagster.yaml").exists()
    with open_instance(settings) if there else dg.DagsterInstance.ephemeral() as instance:  # a dry run makes no home
        flight = Flight(platform, instance, look_at(platform.at(key)), chosen_assets(assets), suite2p)
        rows = needs_rows(flight, look_ahead(flight))
    click.echo("\n" + needs_table(rows) if rows else "\nnothing is due")


def _run_one(settings: MesoSettings, key: SessionKey, asked: dict[str, Any]) -> None:
    from ..io.resources import Platform
    from ..overview.refresh import refresh_after_run
    from ..runs.run import run_session

    summary = run_session(settings, key, **asked, tell=say)
    refresh_after_run(settings, say)
    opened = Platform.open(settings).at(key)
    click.echo("\n" + made_table(opened, summary))
    for asset, why in summary.partial.items():
        click.echo(f"\n{asset}: {why}", err=True)
    if summary.stopped:
        click.echo("\ninterrupted; run again, and it goes on where it was.", err=True)
    elif not summary.success:
        click.echo("\nSome assets failed; what was there before is still there. `meso status` tells why.", err=True)
    elif summary.partial:
        click.echo("\nThe other fields of view are published. A run again makes those that are missing.", err=True)
    if summary.partial or not summary.success:
        sys.exit(1)


def _run_many(settings: MesoSettings, keys: Sequence[SessionKey], asked: dict[str, Any]) -> None:
    from ..overview.refresh import refresh_after_run
    from ..runs.many import run_sessions

    ended = []
    for one in run_sessions(settings, keys, **asked, say=_set_off):
        ended.append(one)
        refresh_after_run(settings, say, older_than_s=0.0 if len(ended) == len(keys) else _OFTEN_ENOUGH_S)
    rows = [(one.session, f"{one.seconds:.1f}", one.result) for one in ended]
    click.echo("\n" + text_table(("session", "seconds", "result"), rows, right=frozenset({1})))
    if n_failed := sum(not one.success for one in ended):
        say(f"\n{n_failed} of {len(ended)} sessions did not come to their end. `meso status` tells why.")
        sys.exit(1)


def _set_off(text: str) -> None:
    say(f"\n{text}")  # from the log of the run before


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
