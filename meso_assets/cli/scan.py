"""``meso scan``: what the sensor would see, without Dagster."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from meso_core.json_text import json_text
from meso_core.machine import in_haste
from meso_core.progress import silent, throttled

from ..runs.settings.settings import load_settings
from .choice import say
from .tables import text_table

if TYPE_CHECKING:
    from ..defs.sensors.arriving import SeenFolder

#: So many sessions are looked at in no time.
_FEW = 20


@click.command("scan")
@click.option("--all", "is_all", is_flag=True, help="Also list sessions in which nothing is to be made.")
@click.option("--json", "as_json", is_flag=True, help="Print a record of each folder instead of a table.")
def command(is_all: bool, as_json: bool) -> None:
    """Show what the sensor sees below MESO_ROOT: what is ready, waits (and for what), breaks a rule, is ignored.

    It asks the same rule as the sensor, and starts nothing. That a session which is ready was run before, and failed,
    only Dagster knows: `meso status` tells. The exit status is 1 where a folder breaks a rule or cannot be read.
    """
    from ..defs.sensors.arriving import FAULTS, seen_folders

    settings = load_settings()
    with in_haste():
        survey = settings.store().survey()
        progress = throttled(say) if len(survey.sessions) > _FEW else silent
        found = seen_folders(settings, survey, progress)
    click.echo(json_text([one.as_record() for one in found], indent=1) if as_json else _told(found, is_all=is_all))
    sys.exit(1 if any(one.state in FAULTS for one in found) else 0)


def _told(found: Sequence[SeenFolder], *, is_all: bool) -> str:
    from ..defs.sensors.arriving import Arriving

    listed = [one for one in found if is_all or one.state is not Arriving.CURRENT]
    rows = [(one.path, one.state.value, one.why) for one in listed]
    counts = Counter(one.state for one in found)
    total = ", ".join(f"{counts[state]} {state.value}" for state in Arriving if counts[state])
    table = [text_table(("folder", "state", "why"), rows), ""] if rows else []
    return "\n".join([*table, total or "no session, and no folder that looks like one"])
