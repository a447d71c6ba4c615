"""``meso qc``: all verdicts on a session, and what a person says of it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from meso_core.counting import counted

from ..runs.settings.settings import load_settings
from .choice import say

if TYPE_CHECKING:
    from meso_core.qc import QCResult
    from meso_core.review import SessionQuality
    from meso_core.storage import Session

    from ..runs.settings.settings import MesoSettings


class _ShowsSessions(click.Group):
    """A group whose first argument may be a session: then ``show`` is meant."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See click; what is neither a command nor a wish for help belongs to ``show``."""
        if args and args[0] not in (*self.commands, "--help"):
            args = ["show", *args]
        return super().parse_args(ctx, args)


@click.group("qc", cls=_ShowsSessions, subcommand_metavar="SESSION... [--json] | set SESSION ...")
def command() -> None:
    """Show all verdicts on sessions, or say whether one is good (`meso qc set`).

    With --json they are printed as records, a session a line.
    """


@command.command("show", hidden=True)
@click.argument("sessions", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print records instead of a table, one session a line.")
def show(sessions: tuple[str, ...], as_json: bool) -> None:
    """Show the verdicts on SESSIONS, judged by the limits of now (MESO_QC_LIMITS).

    The exit status is 1 where one failed and no person has accepted the session since, or where one has rejected it.
    """
    from meso_core.json_text import json_text
    from meso_core.review import session_quality

    from ..io.resources import Platform

    settings = load_settings()
    platform, bad = Platform.open(settings), False
    for text in sessions:
        session = platform.find(text)
        name = platform.name(session.key)
        quality, stale = session_quality(session.path, settings.limits), _out_of_date(session, settings)
        if as_json:
            record = {"session": name, **quality.as_record(), "out_of_date": stale}
            click.echo(json_text(record, nulls=True))
        else:
            _tell(name, quality, stale)
        bad |= quality.is_bad({name: made.data_version for name, made in session.manifests().items()})
    sys.exit(1 if bad else 0)


def _out_of_date(session: Session, settings: MesoSettings) -> dict[str, list[str]]:
    """Asset whose verdicts are of a result that is not current → why."""
    from meso_core.qc import qc_path

    from ..defs.standing.standings import look_at

    seen = look_at(session)
    found = seen.standings(settings)
    judged = [name for name in found if qc_path(name) in seen.present.files]
    return {name: list(found[name].reasons) for name in judged if found[name].reasons}


def _tell(name: str, quality: SessionQuality, stale: dict[str, list[str]]) -> None:
    from .tables import text_table

    click.echo(f"{name}: {_in_words(quality)}")
    for said in quality.people:
        click.echo(f"  {said.told}")
    if not quality.all_results:
        return
    head = ("verdict", "check", "field", "value", "limit", "unit")
    click.echo(text_table(head, [_row(one) for one in quality.all_results], right=frozenset({3, 4})))
    for one in quality.all_results:
        if one.verdict:
            click.echo(f"{one.verdict.name.lower():<8}{one.check}{f' ({one.fov})' if one.fov else ''}: {one.message}")
    for asset, reasons in stale.items():
        say(f"out of date: {asset}: {'; '.join(reasons)}")


def _in_words(quality: SessionQuality) -> str:
    results = quality.all_results
    n_bad = {level: sum(one.verdict.name == level for one in results) for level in ("FAIL", "WARNING")}
    if not results:
        return "nothing was judged yet: meso run"
    return f"{counted(len(results), 'verdict')}, {n_bad['FAIL']} failed, {n_bad['WARNING']} ask for a look"


def _row(one: QCResult) -> tuple[str, ...]:
    from meso_core.qc import check_of, short

    return (
        "–" if one.is_open else one.verdict.name,
        one.check,
        one.fov or "–",
        short(one.value),
        short(one.threshold),
        check_of(one.check).unit,
    )


@command.command("set")
@click.argument("session")
@click.argument("says", type=click.Choice(["accept", "reject", "note"]))
@click.option("--by", "who", required=True, metavar="NAME", help="Your name; it is kept with the session.")
@click.option(
    "--note", default="", metavar="TEXT", help="Why; needed but for accepting a session in which nothing failed."
)
def set_verdict(session: str, says: str, who: str, note: str) -> None:
    """Keep with SESSION that a person accepts or rejects it, or a note.

    A session that was rejected keeps its raw tifs, and is not sent to Alyx. What was said before stays in its history.
    An accept lets Alyx be told of what is there now although something failed; what is made later is judged anew.
    """
    from ..defs.person import say_of_session
    from ..defs.reporting import REPORT
    from ..io.resources import Platform

    settings = load_settings()
    platform = Platform.open(settings)
    opened = platform.find(session)
    name = platform.name(opened.key)
    click.echo(f"{name}: {say_of_session(opened, says, who, note, settings.limits).told}")
    if opened.manifest(REPORT) is not None:
        say(f"the report of the session is out of date now; the sensor makes it again, or: meso report {name}")
