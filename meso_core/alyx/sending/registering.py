"""One part of a session told to Alyx, from the plan to the record of what became of it.

What belongs here: carrying a part out, and its record as text. A server that cannot be reached holds nothing up: the
record says *pending*, and a later run carries out what is due then. What a record says is read by ``ended``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from ...errors import AlyxUnavailableError
from ...json_text import json_text
from ..plan import Action, Outcome, Plan, Ref, Sent, summary
from ..server.answers import AnswerLostError
from ..server.client import AlyxClient
from .carry import register
from .ended import Ended, State

#: Makes the plan of one part from what the server holds.
PlanMaker: TypeAlias = Callable[[AlyxClient], Plan]

#: How long a server may still carry out a request whose answer was lost, s.
_MAY_STILL_COME_S = 600.0


@dataclass(frozen=True, slots=True)
class Registration:
    """What became of telling Alyx."""

    state: State
    #: Why, where it is pending or withheld.
    reason: str = ""
    #: Since when it is pending, ISO 8601; empty else.
    since: str = ""
    plans: tuple[Plan, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    #: Whether the server was seen to lack something.
    is_behind: bool = False
    #: Records that were sent without an answer, and are not found: the server may still be at work on them.
    unanswered: tuple[Ref, ...] = ()
    #: When they were sent, ISO 8601.
    unanswered_since: str = ""

    @property
    def did_nothing(self) -> bool:
        """Whether the server held everything before."""
        return self.state is State.REGISTERED and all(sent.action is Action.NOTHING for sent in self.sent)

    @property
    def sent(self) -> tuple[Sent, ...]:
        """Records that the server holds."""
        return tuple(sent for outcome in self.outcomes for sent in outcome.records)

    @property
    def summary(self) -> str:
        """What was done, or would be, in a sentence."""
        if self.state is State.PLANNED:
            return summary(self.plans)
        if self.state is State.REGISTERED:
            done = [outcome.summary for outcome in self.outcomes if outcome.summary != "nothing to do"]
            return "; ".join(done) or "nothing to do"
        return f"{self.state.value}: {self.reason}"

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a person should know."""
        return tuple(remark for plan in self.plans for remark in plan.remarks)

    def to_json(self) -> str:
        """Return the record that stays with the session, the same text where the server holds the same."""
        body: dict[str, Any] = {"state": self.state.value, "reason": self.reason, "since": self.since}
        if self.state is State.PLANNED:
            body["plans"] = [json.loads(plan.to_json()) for plan in self.plans]
        else:
            body["sessions"] = sorted({outcome.eid for outcome in self.outcomes if outcome.eid})
            body["records"] = [
                {"kind": one.kind.value, "name": one.name, "id": one.id, "link": one.link, "path": one.path}
                for one in self.sent
            ]
        if self.unanswered:
            body["unanswered"] = [{"kind": one.kind.value, "name": one.name} for one in self.unanswered]
            body["unanswered_since"] = self.unanswered_since
        return json_text({**body, "remarks": list(self.remarks)}, indent=1, nulls=True) + "\n"


def planned(makers: Sequence[PlanMaker], client: AlyxClient) -> Registration:
    """Make the plans of a part and send nothing; a server that is away is told as pending."""
    plans: list[Plan] = []
    try:
        plans.extend(make(client) for make in makers)
    except AlyxUnavailableError as error:
        return replace(pending(error), plans=tuple(plans))
    return Registration(State.PLANNED, plans=tuple(plans))


def registered(
    makers: Sequence[PlanMaker],
    client: AlyxClient,
    session_path: Path,
    *,
    earlier: Ended | None = None,
    wait: Callable[[float], None] = time.sleep,
) -> Registration:
    """Make the plans of a part, one after the other, and carry each out.

    Parameters
    ----------
    makers
        Make the plans.
    client
        Alyx client.
    session_path
        Session folder.
    earlier
        How the last attempt ended.
    wait
        Waits for a number of seconds.

    Raises
    ------
    AlyxError
        If a person has to act first.
    """
    seen, plans, outcomes = list[Plan](), list[Plan](), list[Outcome]()
    open_ = _still_open(earlier)
    try:
        for make in makers:
            look = partial(_seen, make, client, seen)
            plan, outcome = register(look, client, session_path, unanswered=open_, wait=wait)
            plans.append(plan)
            outcomes.append(outcome)
    except AlyxUnavailableError as error:
        is_behind = any(not plan.is_empty for plan in seen)
        return replace(pending(error, earlier), plans=tuple(plans), outcomes=tuple(outcomes), is_behind=is_behind)
    return Registration(State.REGISTERED, plans=tuple(plans), outcomes=tuple(outcomes))


def _seen(make: PlanMaker, client: AlyxClient, seen: list[Plan]) -> Plan:
    plan = make(client)
    seen.append(plan)
    return plan


def withheld(reasons: Sequence[str]) -> Registration:
    """Tell that a part may not be sent."""
    return Registration(State.WITHHELD, "; ".join(reasons))


def pending(error: AlyxUnavailableError, earlier: Ended | None = None) -> Registration:
    """Tell that a part waits for the server, since the first attempt that ended so."""
    now = _now()
    since = earlier.since if earlier is not None and earlier.state is State.PENDING else now
    records = error.records if isinstance(error, AnswerLostError) else ()
    open_ = _still_open(earlier)
    if earlier is not None and open_ and set(records) <= set(open_):  # nothing was sent after those
        return Registration(
            State.PENDING, str(error), since, unanswered=open_, unanswered_since=earlier.unanswered_since
        )
    return Registration(State.PENDING, str(error), since, unanswered=records, unanswered_since=now if records else "")


def _still_open(earlier: Ended | None) -> tuple[Ref, ...]:
    """Return the records of the last attempt on which the server may still be at work."""
    return earlier.unanswered if earlier is not None and _is_recent(earlier.unanswered_since) else ()


def _is_recent(moment: str) -> bool:
    return bool(moment) and time.time() - datetime.fromisoformat(moment).timestamp() < _MAY_STILL_COME_S


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
