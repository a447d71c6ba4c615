"""Carrying out a plan: each record is sent once, and the ids that the server answers are kept.

What belongs here: sending, in the order of the plan. What does not: what is sent. A run that breaks off leaves records
that the next plan finds, so that it sends the rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ...errors import AlyxError, StalePlanError
from ...session import some
from ..plan import Action, Kind, Outcome, Part, Plan, Planned, Ref, Sent
from ..server.answers import AnswerLostError, RefusedError
from ..server.client import AlyxClient, address
from ..server.state import state_now
from .batches import send_datasets
from .note_pictures import picture

#: How often a plan is made again where the server has changed meanwhile, or an answer was lost.
_ATTEMPTS = 4
_FIRST_WAIT_S = 1.0


def carry_out(plan: Plan, client: AlyxClient, session_path: str | Path | None = None) -> Outcome:
    """Send what a plan says.

    Parameters
    ----------
    plan
        The plan.
    client
        Alyx client.
    session_path
        Session folder, from which the pictures of notes are read.

    Raises
    ------
    StalePlanError
        If the server does not hold any more what it held when the plan was made. Nothing was sent then, or only what
        the next plan finds.
    AlyxError
        If the plan holds conflicts, or the server refuses a record.
    AlyxUnavailableError
        If the server cannot be reached.
    """
    plan.insist_on_no_conflict()
    if not plan.work:
        return _outcome(plan, [_held(record, client) for record in plan.records])
    if state_now(plan, client) != plan.server_state:
        raise StalePlanError.at(
            plan.session,
            expected=f"a server that holds the same {plan.part.value} as when the plan was made",
            found="others: somebody or something has registered meanwhile",
            remedy="Make the plan again, look at it, and carry that one out",
        )
    if plan.part is Part.DATASETS:
        return _outcome(plan, send_datasets(plan, client))
    done: dict[Ref, Sent] = {}
    for record in plan.records:
        one = _held(record, client)
        if record.is_work:
            one = _send(record, {ref: sent.id for ref, sent in done.items()}, client, session_path)
        done[record.ref] = one
    return _outcome(plan, done.values())


def register(
    make_plan: Callable[[], Plan],
    client: AlyxClient,
    session_path: str | Path | None = None,
    *,
    unanswered: Iterable[Ref] = (),
    wait: Callable[[float], None] = time.sleep,
) -> tuple[Plan, Outcome]:
    """Make a plan and carry it out; where the server changed meanwhile or an answer was lost, look and plan again.

    What was sent without an answer is never sent again at once, for the server may still be at work on it: it is looked
    for a few times, and where it is not found, this ends with the error.

    Parameters
    ----------
    make_plan
        Makes the plan from what the server holds now.
    client, session_path
        As for :func:`carry_out`.
    unanswered
        Records that were sent a short time ago, without an answer.
    wait
        Waits for a number of seconds.

    Returns
    -------
    plan, outcome
        The plan that was carried out last, and what the server answered.

    Raises
    ------
    AnswerLostError
        If a record was sent, and is neither answered nor found.
    """
    lost = frozenset(unanswered)
    problem: AlyxError | None = None
    for attempt in range(_ATTEMPTS):
        if attempt:
            wait(_FIRST_WAIT_S * 2 ** (attempt - 1))
        plan = make_plan()
        created = [record.ref for record in plan.work if record.action is Action.CREATE]
        if missing := tuple(ref for ref in created if ref in lost):
            problem = _not_found(plan, missing)
            continue
        try:
            return plan, carry_out(plan, client, session_path)
        except StalePlanError as error:
            problem = error
        except AnswerLostError as error:
            problem, lost = error, frozenset(error.records)
    assert problem is not None, "the last attempt returns or has a problem"
    raise problem


def _not_found(plan: Plan, missing: tuple[Ref, ...]) -> AnswerLostError:
    error = AnswerLostError.at(
        plan.session,
        expected=f"in Alyx what was sent a moment ago: {some([f'{ref.kind.value} {ref.name}' for ref in missing])}",
        found="no answer, and no such record yet",
        remedy="The server may still be at work on it. Run this again in 10 minutes: what arrived is found, the rest "
        "is sent",
    )
    error.records = missing
    return error


def _send(record: Planned, ids: Mapping[Ref, str], client: AlyxClient, session_path: str | Path | None) -> Sent:
    data = {**record.payload, **{field: ids[ref] for field, ref in record.refs.items()}}
    endpoint = record.kind.endpoint
    if record.action is Action.CHANGE:
        client.rest(endpoint, "partial_update", id=record.id, data=data)
        return _held(record, client)
    files: dict[str, Any] = {}
    if record.kind is Kind.NOTE and session_path is not None:
        files = {"files": {"image": picture(Path(session_path), record.name)}}
    try:
        answer = client.rest(endpoint, "create", data=data, **files)
    except AnswerLostError as error:
        error.records = (record.ref,)
        raise
    except RefusedError as error:
        if error.status in (400, 500) and "unique set" in str(error):  # somebody else was a moment earlier
            raise StalePlanError(str(error)) from error
        raise
    return Sent.of(record, str(answer["id"]), address(client))


def _held(record: Planned, client: AlyxClient) -> Sent:
    return Sent.of(record, str(record.id or ""), address(client))


def _outcome(plan: Plan, records: Iterable[Sent]) -> Outcome:
    return Outcome(plan.part, plan.session, plan.eid, tuple(records), plan.remarks)
