"""``meso status``: sessions × assets."""

from __future__ import annotations

from pathlib import Path

import click

from meso_core.errors import StorageError
from meso_core.json_text import json_text
from meso_core.session import Survey
from meso_core.storage import LocalStore, file_system_of

from ..runs.settings import load_settings
from . import session_key
from .tables import text_table


@click.command("status")
@click.argument("sessions", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print records instead of a table.")
def command(sessions: tuple[str, ...], as_json: bool) -> None:
    """Show for each session which assets are done, stale, failed or missing, and why.

    SESSIONS are all sessions below MESO_ROOT, unless some are named. Folders that look like sessions and are none are
    listed with the reason.
    """
    from ..defs.catalogue import CATALOGUE
    from ..io.resources import Platform
    from ..runs.instance import open_instance
    from ..runs.status import State, session_status

    settings = load_settings()
    platform = Platform.open(settings)
    survey = Survey(tuple(session_key(text) for text in sessions), ()) if sessions else platform.store.survey()
    passed_over = survey.passed_over
    found, remarks = {}, {}
    with open_instance(settings) as instance:
        for key in survey.sessions:
            found[str(key)], remarks[str(key)] = session_status(platform, instance, key)
    if as_json:
        records = [cell.as_record() for cells in found.values() for cell in cells]
        records += [_record(passed.path, "passed over", passed.reason) for passed in passed_over]
        records += [_record(key, "remark", text) for key, texts in remarks.items() for text in texts]
        click.echo(json_text(records, indent=1))
        return
    assets = list(CATALOGUE)
    rows = [(key, *(cell.state.value for cell in cells)) for key, cells in found.items()]
    numbers = [str(i) for i in range(1, len(assets) + 1)]
    click.echo(text_table(("session", *numbers), rows))
    click.echo("\n" + "\n".join(f"{number:>3}  {asset}" for number, asset in zip(numbers, assets, strict=True)))
    shown = [c for cells in found.values() for c in cells if c.why]
    reasons = list(
        dict.fromkeys(  # what makes a whole session unreadable is told once
            f"{c.session}  {'' if c.state is State.UNREADABLE else f'{c.asset} '}{c.state.value}: {c.why}"
            for c in shown
        )
    )
    reasons += [f"{key}  {text}" for key, texts in remarks.items() for text in texts]
    reasons += [f"passed over: {passed}" for passed in passed_over]
    if reasons:
        click.echo("\n" + "\n".join(reasons))
    if isinstance(platform.store, LocalStore):
        click.echo(f"\ndisk of {platform.store.root}: {_disk(Path(platform.store.root))}")


def _disk(folder: Path) -> str:
    """Say what the disk can do; who may only read there cannot try."""
    try:
        return str(file_system_of(folder))
    except StorageError as error:
        return f"not tried, for nothing can be written there ({error.__cause__})"


def _record(session: str, state: str, why: str) -> dict[str, str]:
    """Give a remark the form of a record of an asset, which it is not about."""
    return {"session": session, "asset": "", "state": state, "why": why, "published_at": ""}
