"""``meso run``: process sessions in the foreground."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from ..runs.settings import load_settings
from .tables import made_table, text_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meso_core.session import SessionKey

    from ..runs.settings import MesoSettings


@click.command("run")
@click.argument("sessions", nargs=-1)
@click.option("--assets", default="", help="Names, with commas between them; all by default.")
@click.option("--missing", "states", flag_value="missing", multiple=True, help="Only sessions that lack an asset.")
@click.option(
    "--stale", "states", flag_value="stale", multiple=True, help="Only sessions with one that is out of date."
)
@click.option("--failed", "states", flag_value="failed", multiple=True, help="Only with one that failed or was killed.")
@click.option(
    "--since", metavar="YYYY-MM-DD", type=click.DateTime(["%Y-%m-%d"]), help="Only sessions from this day on."
)
@click.option("--dry-run", is_flag=True, help="List the sessions that would run, and end.")
@click.option("--suite2p", "options", multiple=True, metavar="NAME=VALUE", help="A suite2p option of these runs.")
@click.option("--genotype", default="", help="Alleles of the subjects, `;` between them; suite2p's tau follows.")
def command(
    sessions: tuple[str, ...],
    assets: str,
    states: tuple[str, ...],
    since: Any,  # noqa: ANN401  a datetime, or None
    dry_run: bool,
    options: tuple[str, ...],
    genotype: str,
) -> None:
    """Process SESSIONS, or some of their assets; what is current already is not made again.

    Each is subject/date/number, a subject, a subject and a date, a pattern ('SP03*/2023-03-*'), or the path of such a
    folder below MESO_ROOT. Without any, --missing, --stale, --failed or --since choose among all.
    """
    settings = load_settings()
    chosen = tuple(name.strip() for name in assets.split(",") if name.strip())
    suite2p = {**_tau_of(genotype), **dict(parse_option(text) for text in options)}
    keys = _keys(settings, sessions, states, f"{since:%Y-%m-%d}" if since else "", chosen)
    if dry_run:
        click.echo("\n".join(map(str, keys)) or "no session")
    elif not keys:
        click.echo("No session is to be run.")
    elif len(keys) == 1:
        _run_one(settings, keys[0], chosen, suite2p)
    else:
        _run_many(settings, keys, chosen, suite2p)


def _keys(
    settings: MesoSettings, sessions: tuple[str, ...], states: tuple[str, ...], since: str, assets: tuple[str, ...]
) -> Sequence[SessionKey]:
    from meso_core.session import named_session

    from ..runs.many import Wanted, wanted_sessions
    from ..runs.status import State

    if not (sessions or states or since):
        raise click.UsageError("Name sessions, or choose among all with --missing, --stale, --failed or --since.")
    one = named_session(sessions[0]) if len(sessions) == 1 else None
    if one and not (states or since):
        return [one]  # it need not be looked for
    also = {"failed": {State.FAILED, State.INTERRUPTED}}
    of_states = frozenset(state for name in states for state in also.get(name, {State(name)}))
    return wanted_sessions(settings, Wanted(sessions, of_states, since, assets), _say)


def _run_one(settings: MesoSettings, key: SessionKey, assets: tuple[str, ...], suite2p: dict[str, Any]) -> None:
    from ..io.resources import Platform
    from ..runs.run import run_session

    summary = run_session(settings, key, assets=assets, suite2p=suite2p)
    opened = Platform.open(settings).session(str(key))
    click.echo("\n" + made_table(opened, summary))
    if not summary.success:
        click.echo("\nSome assets failed; what was there before is still there. `meso status` tells why.", err=True)
        sys.exit(1)


def _run_many(
    settings: MesoSettings, keys: Sequence[SessionKey], assets: tuple[str, ...], suite2p: dict[str, Any]
) -> None:
    from ..runs.many import run_sessions

    ended = list(run_sessions(settings, keys, assets=assets, suite2p=suite2p, say=_say))
    rows = [(one.session, f"{one.seconds:.1f}", one.result) for one in ended]
    click.echo("\n" + text_table(("session", "seconds", "result"), rows, right=frozenset({1})))
    if n_failed := sum(not one.success for one in ended):
        _say(f"{n_failed} of {len(ended)} sessions did not come to their end. `meso status` tells why.")
        sys.exit(1)


def _say(text: str) -> None:
    """Tell what is no result: a blank line sets it off from a run's log."""
    click.echo(f"\n{text}", err=True)


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
