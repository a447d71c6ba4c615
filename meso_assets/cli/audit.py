"""``meso audit``: compare a session with its records."""

from __future__ import annotations

import sys

import click

from meso_core.json_text import json_text

from ..runs.settings import load_settings
from . import session_key


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
    from meso_core.lineage import accept_findings, keep_verdict, with_accepted
    from meso_core.progress import throttled

    from ..defs.audits import audited_sessions
    from ..io.resources import Platform
    from ..runs.instance import open_instance
    from .alyx import comparison

    settings = load_settings()
    platform = Platform.open(settings)
    compare = comparison(settings, platform) if with_alyx else lambda _: ()
    n_faulty = n_sessions = 0
    with open_instance(settings) as instance:
        keys = [platform.session(str(session_key(text))).key for text in sessions] or platform.store.sessions()
        progress = throttled(lambda text: click.echo(text, err=True))
        for key, verdict in audited_sessions(platform, keys, instance, deep=deep, progress=progress):
            n_sessions += 1
            if isinstance(verdict, Exception):
                n_faulty += 1
                click.echo(f"{key}: could not be audited: {verdict}", err=True)
                continue
            with platform.session(str(key)).recording() as path:
                if (why or who) and accept_findings(path, verdict, who, why):
                    verdict = with_accepted(path, verdict)
                keep_verdict(path, verdict)
            others = compare(key)
            n_faulty += bool(verdict.faults or others)
            if as_json:
                told = {"alyx": [one.as_record() for one in others]} if with_alyx else {}
                click.echo(json_text({**verdict.as_record(), **told}))
                continue
            click.echo(f"{key}: {verdict.summary}")
            for finding in verdict.findings:
                click.echo(f"  {finding.kind.value:<14}{finding}")
            for one in others:
                click.echo(f"  {one}")
    if not as_json:
        click.echo(f"{n_faulty} of {n_sessions} sessions with findings")
    sys.exit(1 if n_faulty else 0)
