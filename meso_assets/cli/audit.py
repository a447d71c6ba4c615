"""``meso audit``: compare a session with its records."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from meso_core.counting import counted
from meso_core.json_text import json_text

from ..runs.settings.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meso_core.alyx import AlyxFinding

    from ..defs.lineage.auditing import Audited


@click.command("audit")
@click.argument("sessions", nargs=-1)
@click.option("--deep", is_flag=True, help="Read all published files and compare their content, not sizes and times.")
@click.option("--json", "as_json", is_flag=True, help="Print records instead of sentences, one session a line.")
@click.option("--alyx", "with_alyx", is_flag=True, help="Also compare with the server of MESO_ALYX_URL, both ways.")
@click.option(
    "--accept", "why", default="", metavar="WHY", help="Leave lost or edited records as they are, and say why."
)
@click.option("--who", default="", help="With --accept: your name; both are kept with the session.")
def command(sessions: tuple[str, ...], deep: bool, as_json: bool, with_alyx: bool, why: str, who: str) -> None:
    """Compare files on disk, manifests and Dagster's log.

    SESSIONS are all sessions below MESO_ROOT, unless some are named. The exit status is 1 where something is to be
    done.
    """
    from meso_core.progress import throttled

    from ..defs.lineage.auditing import AuditOrder
    from ..defs.lineage.audits import audited_sessions
    from ..io.resources import Platform
    from ..io.session_names import Registered
    from ..runs.instance import open_instance
    from ..runs.status.status import names_of
    from .alyx import comparison

    settings = load_settings()
    platform = Platform.open(settings)
    compare = comparison(settings, platform) if with_alyx else lambda _: ()
    n_faulty = n_sessions = 0
    with open_instance(settings) as instance:
        survey = None if sessions else platform.store.survey()
        keys = [platform.find(text).key for text in sessions] if survey is None else survey.sessions
        unreachable = () if survey is None else survey.unreachable
        for root in unreachable:
            click.echo(f"{root}; its sessions are not audited", err=True)
        names = names_of(settings, Registered.of(instance), keys, survey)
        progress = throttled(lambda text: click.echo(text, err=True))
        order = AuditOrder(deep, who, why)
        for one in audited_sessions(keys, settings, instance, order, progress=progress):
            n_sessions += 1
            others = compare(one.key) if one.verdict is not None else ()
            n_faulty += one.verdict is None or bool(one.verdict.faults or any(other.is_fault for other in others))
            _tell(one, names[one.key], others if with_alyx else None, as_json=as_json)
            if one.verdict is not None and one.error is not None:
                click.echo(f"{names[one.key]}: the verdict is not kept with the session: {one.error}", err=True)
    if not as_json:
        click.echo(f"{n_faulty} of {counted(n_sessions, 'session')} with findings")
    sys.exit(1 if n_faulty or unreachable else 0)


def _tell(one: Audited, name: str, others: Sequence[AlyxFinding] | None, *, as_json: bool) -> None:
    """Print what was found, and what the server of Alyx has otherwise, where it was asked."""
    if one.verdict is None:
        click.echo(f"{name}: could not be audited: {one.error}", err=True)
    elif as_json:
        told = {} if others is None else {"alyx": [other.as_record() for other in others]}
        click.echo(json_text({**one.verdict.as_record(), **told}))
    else:
        click.echo(f"{name}: {one.verdict.summary}")
        for finding in one.verdict.findings:
            click.echo(f"  {finding.kind.value:<16}{finding}")
        for other in others or ():
            click.echo(f"  {other}")
