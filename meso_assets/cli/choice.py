"""How commands let a person choose sessions: the same words everywhere."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from ..runs.choosing import Wanted

F = TypeVar("F", bound=Callable[..., None])
#: Where a command keeps subjects until its sessions are read.
_SUBJECTS = "meso.subjects"


def _day(_context: click.Context, _parameter: click.Parameter, told: str | None) -> datetime | None:
    """Read a day of the calendar, or say in which form it is read."""
    if told is None:
        return None
    with suppress(ValueError):
        if re.fullmatch(r"\d{4}-\d\d-\d\d", told, re.ASCII):
            return datetime.strptime(told, "%Y-%m-%d")
    today = f"{datetime.now():%Y-%m-%d}"
    raise click.BadParameter(f"expected a day as year, month and day, YYYY-MM-DD, found {told!r}. Today is {today}.")


def chooses_sessions(command: F) -> F:
    """Give a command SESSIONS and the options that choose among them; :func:`wanted` reads them."""
    for option in (
        click.option(
            "--since", metavar="YYYY-MM-DD", callback=_day, help="Only since this day, as in 2023-03-01."
        ),
        _state("failed", "Only sessions in which an asset failed, wholly or for a field of view, or was killed."),
        _state("stale", "Only sessions in which an asset is out of date."),
        _state("missing", "Only sessions that lack an asset."),
        click.option(
            "--subject", metavar="NAME", multiple=True, is_eager=True, expose_value=False, callback=_keep_subjects,
            help="Only sessions of this subject; the same as its name among SESSIONS.",
        ),
        click.argument("sessions", nargs=-1, callback=_with_subjects),
    ):  # fmt: skip
        command = option(command)
    return command


def _keep_subjects(context: click.Context, _parameter: click.Parameter, subjects: tuple[str, ...]) -> None:
    context.meta[_SUBJECTS] = subjects


def _with_subjects(context: click.Context, _parameter: click.Parameter, sessions: tuple[str, ...]) -> tuple[str, ...]:
    return (*sessions, *context.meta[_SUBJECTS])


def _state(name: str, text: str) -> Callable[[F], F]:
    return click.option(f"--{name}", "states", flag_value=name, multiple=True, help=text)


def wanted(
    sessions: tuple[str, ...], states: tuple[str, ...], since: datetime | None, assets: tuple[str, ...] = ()
) -> Wanted:
    """Make of the options what ``runs`` understands."""
    from ..runs.choosing import Wanted
    from ..runs.status.cells import State

    of_states = {State(name) for name in states} | ({State.INTERRUPTED, State.PARTIAL} if "failed" in states else set())
    return Wanted(sessions, frozenset(of_states), f"{since:%Y-%m-%d}" if since else "", assets)


def say(text: str) -> None:
    """Tell what is no result."""
    click.echo(text, err=True)
