"""``meso alyx``: what Alyx would be told of a session, what it holds, and what a person lets through."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING

import click

from meso_core.counting import counted

from ..runs.settings.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from meso_core.alyx import AlyxFinding
    from meso_core.session import SessionKey

    from ..io.resources import Platform
    from ..runs.settings.settings import MesoSettings


@click.group("alyx")
def command() -> None:
    """Show what Alyx would be told, and compare what it holds; nothing is sent from here.

    The server is MESO_ALYX_URL, the user comes from ALYX_USER and ALYX_PASSWORD or ALYX_TOKEN. The assets of group
    alyx send (`meso run SESSION --assets alyx_fov_records,alyx_snapshots,alyx_datasets,alyx_session_qc`,
    with MESO_ALYX=online).
    """


@command.command("plan")
@click.argument("session")
@click.option("--json", "as_json", is_flag=True, help="Print the plans as JSON.")
def plan(session: str, as_json: bool) -> None:
    """Tell what would be created and changed on the server for SESSION, field by field."""
    import json

    from meso_core.alyx import summary
    from meso_core.json_text import json_text

    from ..defs.alyx.parts import session_plans
    from ..io.alyx import Alyx
    from ..io.resources import Platform

    settings = load_settings()
    opened, alyx = Platform.open(settings).find(session), Alyx.open(settings)
    with warnings.catch_warnings():
        if as_json:
            warnings.simplefilter("ignore")
        found = session_plans(opened, alyx, alyx.connect())
    if as_json:
        plans = [json.loads(one.to_json()) for one in found.plans]
        told = {"plans": plans, "without": list(found.without), "withheld": list(found.withheld)}
        click.echo(json_text(told, indent=1))
    else:
        for one in found.plans:
            click.echo(one.as_text())
        for why in found.without:
            click.echo(f"no plan for {why}")
        for why in found.withheld:
            click.echo(f"withheld, {why}")
        click.echo(summary(found.plans))
    sys.exit(1 if any(one.conflicts for one in found.plans) else 0)


@command.command("audit")
@click.argument("sessions", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print records instead of sentences, one session a line.")
def audit(sessions: tuple[str, ...], as_json: bool) -> None:
    """Compare what the server holds with files and records, both ways.

    SESSIONS are all sessions below MESO_ROOT, unless some are named. The exit status is 1 where something is to be
    done.
    """
    from meso_core.json_text import json_text

    from ..io.resources import Platform

    settings = load_settings()
    platform = Platform.open(settings)
    keys = [platform.find(text).key for text in sessions] or platform.store.sessions()
    compare, n_faulty = comparison(settings, platform), 0
    names = platform.names(keys, None if sessions else keys)
    for key in keys:
        findings = compare(key)
        n_faults = sum(one.is_fault for one in findings)
        n_faulty += bool(n_faults)
        if as_json:
            click.echo(json_text({"session": str(key), "findings": [one.as_record() for one in findings]}))
            continue
        click.echo(f"{names[key]}: {counted(n_faults, 'finding') if n_faults else 'no findings'}")
        for one in findings:
            click.echo(f"  {one}")
    if not as_json:
        click.echo(f"{n_faulty} of {counted(len(keys), 'session')} with findings")
    sys.exit(1 if n_faulty else 0)


def comparison(settings: MesoSettings, platform: Platform) -> Callable[[SessionKey], Sequence[AlyxFinding]]:
    """Make the function that compares a session with the server, over one connection.

    A session that cannot be compared is a finding, so that the others go on.
    """
    from meso_core.alyx import AlyxFinding, Reason
    from meso_core.errors import AlyxUnavailableError, MesoError

    from ..defs.alyx.parts import session_findings
    from ..io.alyx import Alyx

    alyx = Alyx.open(settings)
    client = alyx.connect()

    def compare(key: SessionKey) -> Sequence[AlyxFinding]:
        try:
            return session_findings(platform.at(key), alyx, client)
        except AlyxUnavailableError:  # it would be so for the others too
            raise
        except MesoError as error:
            return (AlyxFinding(Reason.NOT_COMPARED, "session", str(key), str(error)),)

    return compare


@command.command("allow")
@click.argument("session")
@click.option("--who", required=True, help="Your name; it is kept with the session.")
@click.option("--why", required=True, help="The reason; it is kept with the session.")
def allow(session: str, who: str, why: str) -> None:
    """Let SESSION be sent although quality control forbids it; what was made with the phantom is never sent.

    It holds for the results that are there now: what is made again and fails is withheld again.
    """
    from meso_core.alyx import allow as keep

    from ..defs.alyx.gate import failed_versions
    from ..io.resources import Platform

    settings = load_settings()
    platform = Platform.open(settings)
    opened = platform.find(session)
    name, failed = platform.name(opened.key), failed_versions(opened, settings.limits)
    if not failed:
        raise click.ClickException(f"{name}: quality control forbids nothing, so there is nothing to allow")
    with opened.recording() as folder:
        override = keep(folder, who, why, failed)
    names = ", ".join(failed)
    click.echo(f"{name}: {names} as now, allowed by {override.who}: {override.why}. Run the assets of group alyx again")
